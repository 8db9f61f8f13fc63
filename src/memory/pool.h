// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// memory/pool.h: allocates every block that LibTorch holds, counts the bytes, and enforces the
// budget.
//
// Bytes are reserved before pages are touched. The other order would exceed the budget for the time
// of one allocation, and most for the largest tensor of a step.
//
// Small blocks are in slabs. Slabs and all other blocks are runs of pages in one arena: see
// docs/design/memory.md, "Allocator".
//
// Invariants, checked by validate():
//   reserved == live + cached        requested <= live <= peak
//   reserved <= peak_reserved        reserved <= budget, while one is set
// Threads: any; one lock, which is also held for the system calls on pages. Counters are read
// without it.
// Hot: take() and release(), once per allocation; guarded by the steps of bench/models.cpp.
#pragma once

#include "device/pages.h"
#include "memory/allocator.h"
#include "memory/arena.h"
#include "memory/slabs.h"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>

namespace neap::memory {

// Of one device.
class Pool {
 public:
  explicit Pool(device::Pages& pages);

  // Returns the data of a new block. Throws: BudgetExceeded, OutOfMemory; nothing has changed then.
  void* take(std::int64_t bytes);
  void release(void* data) noexcept;
  // As release(), and for a while each access to the block faults. A small block, which shares its
  // pages with others, is released only.
  void release_guarded(void* data) noexcept;
  std::int64_t trim(std::int64_t bytes) noexcept;

  [[nodiscard]] Usage usage() const noexcept;
  void reset_peak() noexcept;
  [[nodiscard]] std::int64_t watermark() const noexcept { return watermark_.load(); }
  void reset_watermark() noexcept;
  Usage open(PeakGauge& gauge) noexcept;
  Usage close(PeakGauge& gauge) noexcept;
  void add_unseen(std::int64_t bytes) noexcept { unseen_.fetch_add(bytes); }

  void set_budget(std::optional<std::int64_t> bytes);
  [[nodiscard]] std::optional<std::int64_t> budget() const noexcept;
  void set_target(std::optional<std::int64_t> bytes) noexcept;
  void set_reclaimer(Reclaimer* reclaimer) noexcept { reclaimer_.store(reclaimer); }
  [[nodiscard]] Reclaimer* reclaimer() const noexcept { return reclaimer_.load(); }
  void fail_allocation(std::int64_t k, bool for_ever) noexcept;
  // Around fork(), so that the child finds the pool whole and unlocked.
  void lock_for_fork() { lock_.lock(); }
  void unlock_after_fork() { lock_.unlock(); }
  // Throws: std::logic_error with the first equation that does not hold.
  void validate() const;

 private:
  using Counter = std::atomic<std::int64_t>;

  // The start of a block; null: `shortage` bytes must be evicted first.
  struct Attempt {
    char* start = nullptr;
    Slab* slab = nullptr;
    std::int64_t shortage = 0;
    std::int64_t serial = 0;
  };
  void give_back(void* data, bool guarded) noexcept;
  void forbid(Run run) noexcept;
  Attempt try_take(std::int64_t requested, std::int64_t taken);
  Attempt take_pages(std::int64_t bytes);
  // Counts pages that the arena has given.
  Attempt reserve(const Arena::Taken& taken, std::int64_t bytes);
  std::int64_t trim_locked(std::int64_t bytes) noexcept;
  bool give_back_empty_slabs();
  void raise_gauges() noexcept;
  void inject_failure();

  mutable std::mutex lock_;
  Arena arena_;
  Slabs slabs_;
  static constexpr std::size_t kMostForbidden = 1024;
  std::array<Run, kMostForbidden> forbidden_{};  // a ring; the oldest is at oldest_ when it is full
  std::size_t oldest_ = 0;

  PeakGauge* gauges_ = nullptr;  // the open ones

  // Written under the lock.
  Counter requested_{0};
  Counter live_{0};
  Counter reserved_{0};
  Counter peak_{0};
  Counter peak_reserved_{0};
  Counter watermark_{0};
  Counter allocations_{0};
  Counter limit_{-1};   // -1: none
  Counter target_{-1};  // -1: none

  Counter unseen_{0};
  Counter fail_in_{0};
  std::atomic<bool> fail_for_ever_{false};
  std::atomic<Reclaimer*> reclaimer_{nullptr};
};

}  // namespace neap::memory
