// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The c10::Allocator in front of the pool.
#include "memory/allocator.h"

#include "device/device.h"
#include "memory/evicted.h"
#include "memory/pool.h"
#include "memory/refusal.h"

#include <pthread.h>

#include <atomic>
#include <cstdlib>
#include <limits>
#include <mutex>

namespace neap {

BudgetExceeded::BudgetExceeded(const std::string& text, Bytes need_bytes, Bytes in_use_bytes,
                               Bytes budget_bytes, Bytes feasible)
    : Error(text),
      need(need_bytes),
      in_use(in_use_bytes),
      budget(budget_bytes),
      smallest_feasible(feasible) {}
BudgetExceeded::~BudgetExceeded() = default;

OutOfMemory::OutOfMemory(const std::string& text) : Error(text) {}
OutOfMemory::~OutOfMemory() = default;

namespace memory {
namespace {

std::atomic<DeathHook> death_hook{nullptr};
std::atomic<bool> is_installed{false};

// The pool of the tracked device. Never destroyed, because deleters still run after static
// destruction.
Pool& pool() {
  static Pool* const pool = new Pool(device::tracked().pages());
  return *pool;
}

// LibTorch's profiler counts the memory of each operator (profile_memory). `sign`: 1 for a new
// block, -1 for one that goes.
void tell_profiler(void* data, std::int64_t sign) {
  if (!c10::memoryProfilingEnabled()) return;
  const Usage usage = pool().usage();
  const std::int64_t bytes = entry_of(data).requested;
  const std::int64_t live = sign > 0 ? usage.requested : usage.requested - bytes;
  c10::reportMemoryUsageToProfiler(data, sign * bytes, static_cast<std::size_t>(live),
                                   static_cast<std::size_t>(usage.reserved),
                                   device::tracked().where());
}

void delete_block(void* data) {
  if (data == nullptr) return;
  void* const record = entry_of(data).record.load(std::memory_order_acquire);
  if (record != nullptr) {
    const DeathHook hook = death_hook.load(std::memory_order_acquire);
    if (hook != nullptr && hook(record, data)) return;
  }
  release(data);
}

class PoolAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t bytes) override {
    void* data = nullptr;
    if (bytes != 0) {
      device::tracked().join_streams();
      constexpr auto kMost = std::numeric_limits<std::int64_t>::max();
      try {
        data = pool().take(
            bytes > static_cast<std::size_t>(kMost) ? kMost : static_cast<std::int64_t>(bytes));
      } catch (const BudgetExceeded&) {
        note_refusal();
        throw;
      }
      tell_profiler(data, 1);
    }
    // raw_allocate() asserts that data and context are equal, so the context cannot hold
    // bookkeeping.
    return {data, data, &delete_block, device::tracked().where()};
  }
  // Never null: oneDNN allocates its scratch memory by raw_allocate(), which needs a deleter.
  [[nodiscard]] c10::DeleterFnPtr raw_deleter() const override { return &delete_block; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override {
    device::tracked().copy(to, from, bytes);
  }
};

}  // namespace

c10::Allocator& allocator() noexcept {
  static auto* const instance = new PoolAllocator;
  return *instance;
}
c10::DeleterFnPtr deleter() noexcept { return &delete_block; }
void release_evicted(void* data) noexcept {
  static const bool guards = std::getenv("NEAP_GUARD_EVICTED") != nullptr;
  if (!guards) return release(data);
  tell_profiler(data, -1);
  pool().release_guarded(data);
}
void release(void* data) noexcept {
  tell_profiler(data, -1);
  pool().release(data);
}

void set_reclaimer(Reclaimer* reclaimer) noexcept { pool().set_reclaimer(reclaimer); }
Waiting::Waiting() noexcept : reclaimer_(pool().reclaimer()) {
  if (reclaimer_ != nullptr && !reclaimer_->begin_wait()) reclaimer_ = nullptr;
}
Waiting::~Waiting() {
  if (reclaimer_ != nullptr) reclaimer_->end_wait();
}
void set_death_hook(DeathHook hook) noexcept { death_hook.store(hook, std::memory_order_release); }
void set_budget(std::optional<std::int64_t> bytes) { pool().set_budget(bytes); }
void set_target(std::optional<std::int64_t> bytes) noexcept { pool().set_target(bytes); }
std::optional<std::int64_t> budget() noexcept { return pool().budget(); }
std::int64_t watermark() noexcept { return pool().watermark(); }
void reset_watermark() noexcept { pool().reset_watermark(); }
void add_unseen(std::int64_t bytes) noexcept { pool().add_unseen(bytes); }
void fail_allocation(std::int64_t k, bool for_ever) noexcept {
  pool().fail_allocation(k, for_ever);
}
void validate() { pool().validate(); }
Usage open_gauge(PeakGauge& gauge) noexcept { return pool().open(gauge); }
Usage close_gauge(PeakGauge& gauge) noexcept { return pool().close(gauge); }

void prepare_for_forks() {
  static std::once_flag once;
  std::call_once(once, [] {
    ::pthread_atfork([] { pool().lock_for_fork(); }, [] { pool().unlock_after_fork(); },
                     [] { pool().unlock_after_fork(); });
  });
}

Usage usage() noexcept { return pool().usage(); }
void reset_peak() noexcept { pool().reset_peak(); }
Bytes trim() noexcept { return Bytes(pool().trim(std::numeric_limits<std::int64_t>::max())); }
bool installed() noexcept { return is_installed.load(); }

void require_installed() {
  if (installed()) return;
  throw Error(
      "neap::install() was not called, so nothing can be counted, checkpointed or held inside a "
      "budget; call it once, before the first tensor");
}

}  // namespace memory

void install() {
  if (memory::is_installed.exchange(true)) return;
  memory::prepare_for_forks();
  device::tracked().register_allocator(memory::allocator());
}

}  // namespace neap
