// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// memory/allocator.h: what the engine needs of the allocator and a program does not.
//
// A block is a header of 64 bytes and the data behind it. The header carries a pointer of the engine's: its record of the
// block, null while nobody follows it. Only LibTorch's deleter meets the hook; the engine itself frees with release().
#pragma once

#include <neap/memory.h>

#include <c10/core/Allocator.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace neap::memory {

inline constexpr std::int64_t kAlignment = 64;
inline constexpr std::int64_t kHeaderBytes = 64;

struct alignas(kAlignment) BlockHeader {
  std::uint64_t magic;     // kMagic while in use
  std::int64_t requested;  // bytes that were asked for
  std::int64_t taken;      // bytes that count as live: rounded, header included
  std::atomic<void*>
      record;  // the engine's record of this block, or null; deleters of any thread read it
  void* slab;  // the slab that a small block belongs to, or null
  std::int64_t
      serial;  // how many blocks had been handed out before: what is older has a smaller one
};
static_assert(sizeof(BlockHeader) == kHeaderBytes);

inline BlockHeader* header_of(void* data) noexcept {
  return reinterpret_cast<BlockHeader*>(static_cast<char*>(data) - kHeaderBytes);
}
inline const BlockHeader* header_of(const void* data) noexcept {
  return reinterpret_cast<const BlockHeader*>(static_cast<const char*>(data) - kHeaderBytes);
}
// Pairs with the deleter's look at the record, from any thread. One that still sees an old record asks again with the engine's lock
// taken, so no more order is needed; it would be a locked instruction at each storage's birth and death.
inline void set_record(void* data, void* record) noexcept {
  header_of(data)->record.store(record, std::memory_order_release);
}

// What the allocator asks when the budget is full. The engine implements it.
class Reclaimer {
 public:
  virtual ~Reclaimer() = default;
  // Evicts so that at least `bytes` more become cached, as far as it can. Returns the bytes that did; 0 when nothing
  // can go. Called by any thread, with no lock of the allocator held.
  virtual std::int64_t reclaim(std::int64_t bytes) = 0;
  // Throws BudgetExceeded with what the engine knows of the moment.
  [[noreturn]] virtual void refuse(std::int64_t need, std::int64_t in_use, std::int64_t budget) = 0;
  // The calling thread goes to wait for another one. True: end_wait() must follow, from the same thread.
  virtual bool begin_wait() noexcept { return false; }
  virtual void end_wait() noexcept {}
};

// Null: nothing can be evicted. REQUIRES: no allocation is under way in another thread that could still use the old one.
void set_reclaimer(Reclaimer* reclaimer) noexcept;

// While this lives its thread waits for another one and touches no tensor. Allocations of others may evict meanwhile;
// without it they would wait for an operator of this thread, and this thread for them.
class Waiting {
 public:
  Waiting() noexcept;
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;
  ~Waiting();

 private:
  Reclaimer* reclaimer_;  // null: there is nothing to end
};

// Called by LibTorch's deleter for a block with a record, from any thread, also after static destruction. True: the
// engine keeps the bytes and calls release() itself later. Must not throw.
using DeathHook = bool (*)(void* record, void* data) noexcept;
void set_death_hook(DeathHook hook) noexcept;

// The limit for `reserved`. Absent: none. Setting one trims the cache when it must.
// Throws: BudgetExceeded when more than the limit is in use even so; the old limit stays.
void set_budget(std::optional<std::int64_t> bytes);
std::optional<std::int64_t> budget() noexcept;
// Before `reserved` passes it what is cached goes back. What is live may. Absent: none.
void set_target(std::optional<std::int64_t> bytes) noexcept;

// The largest `reserved` since reset_watermark(): the scope's own peak, so that reset_peak() stays the program's.
std::int64_t watermark() noexcept;
void reset_watermark() noexcept;

// Throws: Error when install() was not called: what counts, evicts or plans would do nothing, in silence. One text for all of them:
// whoever reads it may have called none of them by name.
void require_installed();

// The allocator that install() registers.
c10::Allocator& allocator() noexcept;
// The deleter of its blocks: how neap tells its own memory from other memory.
c10::DeleterFnPtr deleter() noexcept;
// Frees a block without asking the hook.
void release(void* data) noexcept;
// What a block of so many bytes takes, rounding and header included.
std::int64_t footprint(std::int64_t bytes) noexcept;
// Bytes of LibTorch's own allocator that the engine met: Usage::unseen.
void add_unseen(std::int64_t bytes) noexcept;

// Fault injection for tests: the k-th allocation from now on (1 is the next) fails as the system's would, once or for
// ever. 0 switches it off.
void fail_allocation(std::int64_t k, bool for_ever) noexcept;
// For tests: throws std::logic_error when an equation of the counters, or of what lies under them, does not hold.
void validate();

}  // namespace neap::memory
