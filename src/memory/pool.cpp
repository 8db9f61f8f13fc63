// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "memory/pool.h"

#include "device/device.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

namespace neap::memory {
namespace {

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();

void raise(std::atomic<std::int64_t>& peak, std::int64_t value) noexcept {
  if (value > peak.load(std::memory_order_relaxed)) peak.store(value, std::memory_order_relaxed);
}

[[noreturn]] void throw_no_addresses(std::int64_t bytes, std::int64_t reserved) {
  throw OutOfMemory("the system gives no more addresses: an allocation needs " +
                    Bytes(bytes).text() + " and " + Bytes(reserved).text() +
                    " are in use; set a budget below the machine's memory, or raise its limits");
}

}  // namespace

std::int64_t footprint(std::int64_t bytes) noexcept {
  if (bytes > kMost - kPageBytes) return kMost;
  static const std::int64_t alignment = device::tracked().alignment();
  if (const std::int64_t aligned = (bytes + alignment - 1) & -alignment; aligned <= kLargestSmall) {
    return small_class_bytes(aligned);
  }
  return (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
}

Pool::Pool(device::Pages& pages) : arena_(pages) {}

void* Pool::take(std::int64_t bytes) {
  const std::int64_t taken = footprint(bytes);
  inject_failure();
  while (true) {
    const Attempt attempt = try_take(bytes, taken);
    if (attempt.start != nullptr) {
      BlockEntry& entry = BlockMap::find(attempt.start);
      entry.record.store(nullptr, std::memory_order_relaxed);
      entry.requested = bytes;
      entry.taken = taken;
      entry.allocation_serial = attempt.serial;
      entry.slab = attempt.slab;
      entry.used = true;
      return attempt.start;
    }
    // An eviction never restores another storage, so this loop ends.
    Reclaimer* const reclaimer = reclaimer_.load();
    if (reclaimer != nullptr && reclaimer->reclaim(attempt.shortage) > 0) continue;
    const std::optional<std::int64_t> limit = budget();
    if (!limit) continue;  // the budget was removed meanwhile
    if (reclaimer != nullptr) reclaimer->refuse(taken, reserved_.load(), *limit);
    throw BudgetExceeded("budget of " + Bytes(*limit).text() + " exceeded: an allocation needs " +
                             Bytes(taken).text() + ", " + Bytes(reserved_.load()).text() +
                             " are in use and nothing can be evicted; name a larger budget",
                         Bytes(taken), Bytes(reserved_.load()), Bytes(*limit), Bytes(0));
  }
}

Pool::Attempt Pool::try_take(std::int64_t requested, std::int64_t taken) {
  const std::lock_guard guard(lock_);
  Attempt attempt;
  if (taken > kLargestSmall) {
    attempt = take_pages(taken);
  } else {
    Slabs::Block block = slabs_.take(taken);
    if (block.start == nullptr) {
      const std::int64_t bytes = Slabs::slab_bytes(taken);
      attempt = take_pages(bytes);
      if (attempt.start == nullptr) return attempt;
      try {
        slabs_.add({attempt.start, bytes}, taken);
      } catch (...) {
        arena_.give_back({attempt.start, bytes});
        throw;
      }
      block = slabs_.take(taken);
    }
    attempt = {.start = block.start, .slab = block.slab};
  }
  if (attempt.start == nullptr) return attempt;
  requested_.fetch_add(requested, std::memory_order_relaxed);
  raise(peak_, live_.fetch_add(taken, std::memory_order_relaxed) + taken);
  attempt.serial = allocations_.fetch_add(1, std::memory_order_relaxed);
  if (gauges_ != nullptr) raise_gauges();
  return attempt;
}

// Both counters grow in allocations only, under the lock, so their peaks are at the end of one.
void Pool::raise_gauges() noexcept {
  const std::int64_t live = live_.load(std::memory_order_relaxed);
  const std::int64_t reserved = reserved_.load(std::memory_order_relaxed);
  for (PeakGauge* gauge = gauges_; gauge != nullptr; gauge = gauge->next) {
    gauge->live = std::max(gauge->live, live);
    gauge->reserved = std::max(gauge->reserved, reserved);
  }
}

// A soft limit that is in reach is tried first, then the hard one.
Pool::Attempt Pool::take_pages(std::int64_t bytes) {
  bool aims = true;
  while (true) {
    const std::int64_t limit = limit_.load(std::memory_order_relaxed);
    const std::int64_t target = target_.load(std::memory_order_relaxed);
    const std::int64_t reserved = reserved_.load(std::memory_order_relaxed);
    aims = aims && target >= 0 && (limit < 0 || target < limit);
    const std::int64_t allowed = aims ? std::max<std::int64_t>(0, target - reserved)
                                      : (limit < 0 ? kMost : limit) - reserved;
    const Arena::Taken taken = arena_.take(bytes, allowed);
    if (taken.start != nullptr) return reserve(taken, bytes);
    if (taken.clean_bytes == 0) throw_no_addresses(bytes, reserved);
    // Empty slabs cost less to give up than an eviction.
    if (give_back_empty_slabs()) continue;
    if (!std::exchange(aims, false)) return {.shortage = taken.clean_bytes - allowed};
  }
}

Pool::Attempt Pool::reserve(const Arena::Taken& taken, std::int64_t bytes) {
  const std::int64_t now = reserved_.load(std::memory_order_relaxed) + taken.clean_bytes;
  reserved_.store(now, std::memory_order_relaxed);
  raise(peak_reserved_, now);
  raise(watermark_, now);
  try {
    BlockMap::reserve(taken.start, bytes);
  } catch (...) {
    arena_.give_back({taken.start, bytes});
    throw;
  }
  return {.start = taken.start};
}

void Pool::release(void* data) noexcept { give_back(data, /*guarded=*/false); }
void Pool::release_guarded(void* data) noexcept { give_back(data, /*guarded=*/true); }

void Pool::give_back(void* data, bool guarded) noexcept {
  BlockEntry& entry = BlockMap::find(data);
  if (!std::exchange(entry.used, false)) {
    std::fprintf(stderr, "neap: the block at %p was freed twice, or is no block of neap's\n", data);
    std::abort();
  }
  const std::int64_t taken = entry.taken;
  const std::int64_t requested = entry.requested;
  Slab* const slab = entry.slab;
  auto* const start = static_cast<char*>(data);

  const std::lock_guard guard(lock_);
  if (slab != nullptr) {
    slabs_.give_back(slab, start);
  } else if (guarded) {
    forbid({start, taken});
  } else {
    arena_.give_back({start, taken});
  }
  requested_.fetch_sub(requested, std::memory_order_relaxed);
  live_.fetch_sub(taken, std::memory_order_relaxed);
}

// The pages go back to the system. The addresses are used again after many others.
void Pool::forbid(Run run) noexcept {
  arena_.forbid(run);
  reserved_.fetch_sub(run.bytes, std::memory_order_relaxed);
  const Run oldest = std::exchange(forbidden_[oldest_], run);
  oldest_ = (oldest_ + 1) % kMostForbidden;
  if (oldest.start != nullptr) arena_.allow(oldest);
}

std::int64_t Pool::trim(std::int64_t bytes) noexcept {
  const std::lock_guard guard(lock_);
  return trim_locked(bytes);
}

// True when there were any. Their pages are cached then.
bool Pool::give_back_empty_slabs() {
  bool some = false;
  slabs_.remove_empty([&](Run run) {
    arena_.give_back(run);
    some = true;
  });
  return some;
}

std::int64_t Pool::trim_locked(std::int64_t bytes) noexcept {
  std::int64_t returned = arena_.trim(bytes);
  if (returned < bytes && give_back_empty_slabs()) returned += arena_.trim(bytes - returned);
  reserved_.fetch_sub(returned, std::memory_order_relaxed);
  return returned;
}

Usage Pool::usage() const noexcept {
  Usage usage;
  usage.requested = requested_.load(std::memory_order_relaxed);
  usage.live = live_.load(std::memory_order_relaxed);
  usage.reserved = reserved_.load(std::memory_order_relaxed);
  usage.cached = usage.reserved - usage.live;
  usage.peak = peak_.load(std::memory_order_relaxed);
  usage.peak_reserved = peak_reserved_.load(std::memory_order_relaxed);
  usage.unseen = unseen_.load(std::memory_order_relaxed);
  usage.allocations = allocations_.load(std::memory_order_relaxed);
  return usage;
}

void Pool::reset_peak() noexcept {
  const std::lock_guard guard(lock_);
  peak_.store(live_.load());
  peak_reserved_.store(reserved_.load());
}

void Pool::reset_watermark() noexcept {
  const std::lock_guard guard(lock_);
  watermark_.store(reserved_.load());
}

Usage Pool::open(PeakGauge& gauge) noexcept {
  const std::lock_guard guard(lock_);
  const Usage now = usage();
  gauge.live = now.live;
  gauge.reserved = now.reserved;
  gauge.previous = nullptr;
  gauge.next = gauges_;
  if (gauges_ != nullptr) gauges_->previous = &gauge;
  gauges_ = &gauge;
  return now;
}

Usage Pool::close(PeakGauge& gauge) noexcept {
  const std::lock_guard guard(lock_);
  if (gauge.next != nullptr) gauge.next->previous = gauge.previous;
  (gauge.previous != nullptr ? gauge.previous->next : gauges_) = gauge.next;
  return usage();
}

void Pool::set_budget(std::optional<std::int64_t> bytes) {
  const std::lock_guard guard(lock_);
  if (bytes) {
    const std::int64_t over = reserved_.load() - *bytes;
    if (over > 0) trim_locked(over);
    const std::int64_t reserved = reserved_.load();
    if (reserved > *bytes) {
      throw BudgetExceeded(
          "budget of " + Bytes(*bytes).text() + " cannot be set: " + Bytes(reserved).text() +
              " are in use already, and a step needs more than what it begins with; release "
              "tensors first, or name a larger one",
          Bytes(0), Bytes(reserved), Bytes(*bytes), Bytes(0));
    }
  }
  limit_.store(bytes.value_or(-1));
}

void Pool::set_target(std::optional<std::int64_t> bytes) noexcept {
  const std::lock_guard guard(lock_);
  const std::int64_t over = bytes ? reserved_.load() - *bytes : 0;
  if (over > 0) trim_locked(over);
  target_.store(bytes.value_or(-1));
}

std::optional<std::int64_t> Pool::budget() const noexcept {
  const std::int64_t limit = limit_.load();
  return limit < 0 ? std::nullopt : std::optional(limit);
}

void Pool::fail_allocation(std::int64_t k, bool for_ever) noexcept {
  fail_for_ever_.store(for_ever);
  fail_in_.store(k);
}

void Pool::inject_failure() {
  if (fail_in_.load(std::memory_order_relaxed) == 0) return;
  const std::int64_t left = fail_in_.fetch_sub(1) - 1;
  if (left > 0) return;
  if (fail_for_ever_.load()) fail_in_.store(1);
  throw OutOfMemory(
      "the system gives no more memory: a test asked for this failure; switch it off");
}

void Pool::validate() const {
  const auto require = [](bool holds, const char* equation) {
    if (!holds) throw std::logic_error(std::string("pool: ") + equation);
  };
  const std::lock_guard guard(lock_);
  arena_.validate();
  slabs_.validate();
  const Usage now = usage();
  require(now.requested <= now.live && now.live <= now.peak, "requested <= live <= peak");
  require(now.cached >= arena_.cached(), "cached runs are in cached");
  require(now.reserved <= now.peak_reserved, "reserved <= peak_reserved");
  require(now.reserved % kPageBytes == 0, "reserved is whole pages");
  require(limit_.load() < 0 || now.reserved <= limit_.load(), "reserved <= budget");
}

}  // namespace neap::memory
