// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "engine/gate.h"

#include <algorithm>
#include <memory>
#include <thread>

namespace neap::engine {

void Gate::leave_kernel(Phase to) noexcept {
  Phase expected = Phase::Kernel;
  while (!phase_.compare_exchange_weak(expected, to)) {
    expected = Phase::Kernel;
    std::this_thread::yield();
  }
}

// The phase is User already when the owner has just become one.
void Gate::take_phase_from_others() noexcept {
  while (phase_.load() != Phase::User) {
    Phase expected = Phase::Kernel;
    if (phase_.compare_exchange_weak(expected, Phase::User)) return;
    std::this_thread::yield();
  }
}

// Another thread may have held the locks of requests. It does not exist here.
void Gate::forked() noexcept {
  std::construct_at(&request_mutex_);
  std::construct_at(&request_wait_);
  std::construct_at(&request_served_);
  request_.store(0);
  phase_.store(Phase::User);
  owner_.store(nullptr);
}

Gate::Kernel::Kernel(Gate& gate) noexcept
    : gate_(gate), before_(gate.phase_.load(std::memory_order_relaxed)) {
  gate_.phase_.store(Phase::Kernel, std::memory_order_release);
}

Gate::Kernel::~Kernel() { gate_.leave_kernel(before_); }

Gate::Eviction::Eviction(Gate& gate) noexcept
    : gate_(gate), in_kernel_(gate.phase_.load() != Phase::User) {
  if (in_kernel_) gate_.leave_kernel(Phase::Evicting);
}

Gate::Eviction::~Eviction() {
  if (in_kernel_) gate_.phase_.store(Phase::Kernel);
}

bool Gate::begin_wait() noexcept {
  Phase expected = Phase::User;
  return phase_.compare_exchange_strong(expected, Phase::Kernel);
}

void Gate::end_wait() noexcept { leave_kernel(Phase::User); }

Gate::KernelOfOwner::KernelOfOwner(Gate& gate) noexcept : gate_(gate) {
  Phase expected = Phase::Kernel;
  taken_ = gate_.phase_.compare_exchange_strong(expected, Phase::Evicting);
}

Gate::KernelOfOwner::~KernelOfOwner() {
  if (taken_) gate_.phase_.store(Phase::Kernel);
}

std::optional<std::int64_t> Gate::ask(std::int64_t bytes, Time deadline) {
  // After this time the caller looks again: the owner may have entered a kernel.
  constexpr std::chrono::milliseconds kLook{5};
  std::unique_lock lock(request_wait_);
  if (!has_owner()) return 0;
  served_bytes_ = 0;
  request_.store(bytes);
  const bool served =
      request_served_.wait_until(lock, std::min(deadline, std::chrono::steady_clock::now() + kLook),
                                 [this] { return request_.load() == 0; });
  if (served) return served_bytes_;
  request_.store(0);
  if (std::chrono::steady_clock::now() >= deadline) return 0;
  return std::nullopt;
}

}  // namespace neap::engine
