// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// memory/allocator.h: the part of the allocator's interface that the engine needs and a program
// does not.
//
// The entry of a block in the block map has the engine's record of the block; null: the engine does
// not track it. The death hook is called by LibTorch's deleter only. The engine itself frees with
// release().
#pragma once

#include "memory/block_map.h"

#include <neap/memory.h>

#include <c10/core/Allocator.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace neap::memory {

inline constexpr std::int64_t kAlignment = 64;
// From now on a child of fork() finds the allocator whole. Who registers handlers of his own, and
// holds locks while he allocates, calls it before: the last handlers lock first.
void prepare_for_forks();
// REQUIRES: `data` is that of a block in use.
inline BlockEntry& entry_of(const void* data) noexcept { return BlockMap::find(data); }
// Pairs with the deleter's load, from any thread. A deleter that still reads an old record checks
// again under the engine's lock, so release order is enough. Stronger order would cost a locked
// instruction at each storage's birth and death.
inline void set_record(void* data, void* record) noexcept {
  entry_of(data).record.store(record, std::memory_order_release);
}

// The allocator asks it when the budget is full. The engine implements it.
class Reclaimer {
 public:
  virtual ~Reclaimer() = default;
  // Evicts until at least `bytes` more are cached, or nothing more can be evicted. Returns how many
  // bytes became cached; 0 when nothing can be evicted. Called by any thread, without a lock of the
  // allocator.
  virtual std::int64_t reclaim(std::int64_t bytes) = 0;
  // Throws BudgetExceeded, with what the engine knows.
  [[noreturn]] virtual void refuse(std::int64_t need, std::int64_t in_use, std::int64_t budget) = 0;
  // Called when this thread begins to wait for another one. True: it must call end_wait()
  // afterwards.
  virtual bool begin_wait() noexcept { return false; }
  virtual void end_wait() noexcept {}
};

// Null: nothing can be evicted. REQUIRES: no allocation of another thread can still use the old
// one.
void set_reclaimer(Reclaimer* reclaimer) noexcept;

// Declares that its thread waits for another one and touches no tensor. Allocations of other
// threads can then evict. Otherwise they would wait for an operator of this thread, while this
// thread waits for them.
class Waiting {
 public:
  Waiting() noexcept;
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;
  ~Waiting();

 private:
  Reclaimer* reclaimer_;  // null: no end_wait() is needed
};

// Called by LibTorch's deleter for a block with a record, from any thread, even after static
// destruction. True: the engine keeps the bytes and calls release() later. Must not throw.
using DeathHook = bool (*)(void* record, void* data) noexcept;
void set_death_hook(DeathHook hook) noexcept;

// The limit for `reserved`. Absent: none. Trims the cache when that is needed.
// Throws: BudgetExceeded when more than the limit is in use after that; the old limit stays.
void set_budget(std::optional<std::int64_t> bytes);
std::optional<std::int64_t> budget() noexcept;
// A soft limit: `reserved` exceeds it only when the cache cannot provide the pages. Setting it
// trims the cache. Absent: none.
void set_target(std::optional<std::int64_t> bytes) noexcept;

// The largest `reserved` since reset_watermark(). Scopes use it, so that reset_peak() belongs to
// the program.
std::int64_t watermark() noexcept;
void reset_watermark() noexcept;

// The largest counters between open_gauge() and close_gauge(). Any number can be open at once, each
// with its own peaks.
struct PeakGauge {
  std::int64_t live = 0;
  std::int64_t reserved = 0;
  PeakGauge* next = nullptr;  // links of the pool's list
  PeakGauge* previous = nullptr;
};
// Both return the counters at the moment when the gauge starts or stops, with no allocation
// between. REQUIRES: the gauge does not move until it is closed.
Usage open_gauge(PeakGauge& gauge) noexcept;
Usage close_gauge(PeakGauge& gauge) noexcept;

// Throws: Error when install() was not called, because counts, evictions and plans would then
// silently do nothing. All callers share one text, which names none of them: the user may have
// called none by name.
void require_installed();

// The allocator that install() registers.
c10::Allocator& allocator() noexcept;
// The deleter of its blocks. It tells neap's memory from other memory.
c10::DeleterFnPtr deleter() noexcept;
// Frees a block without the death hook.
void release(void* data) noexcept;
// What a block of `bytes` takes, with rounding.
std::int64_t footprint(std::int64_t bytes) noexcept;
// Adds bytes of LibTorch's own allocator that the engine found: Usage::unseen.
void add_unseen(std::int64_t bytes) noexcept;

// Fault injection for tests: the k-th allocation from now on (1 is the next) throws OutOfMemory,
// once or forever. 0 switches it off.
void fail_allocation(std::int64_t k, bool for_ever) noexcept;
// For tests. Throws: std::logic_error when an invariant of the counters, the arena or the slabs
// does not hold.
void validate();

}  // namespace neap::memory
