// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/gate.h: which thread owns the engine, and when another thread may evict.
//
// Note [Phases]
// One thread owns the engine while there is a scope, a region, or a storage that a region evicted.
// The owner's phase says what other threads may do:
//
//   User      The owner is in the program's code, or at work in the engine. The records may be
//             half written. Another thread that needs bytes leaves a request and waits. The owner
//             serves it before its next operator.
//   Kernel    The owner is inside a kernel, or waits for other threads (memory::Waiting). The
//             records are whole. Another thread that needs bytes evicts by itself. After
//             share_program_time(), this is also the phase in the program's code: then Busy enters
//             User for the engine's work.
//   Evicting  Some thread evicts: the owner, from inside its kernel, or another one.
//
// Why two threads never touch the records at once:
//
//   1. The records are touched by the owner in phase User, and by the thread that took the phase
//      from Kernel to Evicting. Deaths of storages are queued from any thread, under a lock of
//      their own.
//   2. Only a compare-and-swap takes Kernel to Evicting, so one thread gets it. That thread alone
//      puts Kernel back.
//   3. The owner leaves Kernel by a compare-and-swap from Kernel, so it waits while another thread
//      evicts.
//   4. Each change of the phase releases, and each compare-and-swap acquires. So the thread that
//      gets the records sees all that the thread before it has written.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>

namespace neap::engine {

class Gate {
  enum class Phase : int { User, Kernel, Evicting };

 public:
  // ---- The owner ----
  [[nodiscard]] bool owner_here() const noexcept {
    return owner_.load(std::memory_order_relaxed) == &this_thread_;
  }
  [[nodiscard]] bool has_owner() const noexcept { return owner_.load() != nullptr; }
  // Hold the lock while the owner changes, and while checking whether it may change.
  [[nodiscard]] std::unique_lock<std::mutex> lock_owner() { return std::unique_lock(owner_mutex_); }
  // REQUIRES: lock_owner() is held.
  void own() noexcept { owner_.store(&this_thread_); }
  void disown() noexcept {
    take_phase_from_others();  // the next owner begins in phase User
    owner_.store(nullptr);
  }

  // In a child of fork(), where no other thread is left. There is no owner afterwards.
  void forked() noexcept;

  // From now on other threads may evict while the owner is in the program's code.
  // REQUIRES: there is no owner.
  void share_program_time() noexcept { shares_program_time_ = true; }
  [[nodiscard]] bool shares_program_time() const noexcept { return shares_program_time_; }
  // The owner comes from the program's code to work in the engine, and goes back. Called by any
  // thread; nothing happens in another one than the owner's.
  void begin_work() noexcept {
    if (shares_program_time_ && owner_here()) take_phase_from_others();
  }
  void end_work() noexcept {
    if (shares_program_time_ && owner_here()) phase_.store(Phase::Kernel);
  }

  // ---- Phases. Called by the owner's thread ----
  [[nodiscard]] bool in_user_phase() const noexcept {
    return phase_.load(std::memory_order_relaxed) == Phase::User;
  }
  // While it lives, the phase is Kernel.
  class Kernel {
   public:
    explicit Kernel(Gate& gate) noexcept;
    Kernel(const Kernel&) = delete;
    Kernel& operator=(const Kernel&) = delete;
    ~Kernel();

   private:
    Gate& gate_;
    Phase before_;
  };
  // While it lives, the owner evicts. It works in phase User and inside a kernel.
  class Eviction {
   public:
    explicit Eviction(Gate& gate) noexcept;
    Eviction(const Eviction&) = delete;
    Eviction& operator=(const Eviction&) = delete;
    ~Eviction();

   private:
    Gate& gate_;
    bool in_kernel_;
  };
  // The owner waits for other threads. Returns false inside a kernel, where other threads may evict
  // already.
  bool begin_wait() noexcept;
  void end_wait() noexcept;

  // ---- Requests of other threads ----
  [[nodiscard]] bool is_asked() const noexcept {
    return request_.load(std::memory_order_relaxed) > 0;
  }
  // Called by the owner's thread. `evict(bytes)` returns the bytes that it freed.
  template <class Evict>
  void serve(Evict evict) {
    const std::lock_guard lock(request_wait_);
    const std::int64_t bytes = request_.load();
    if (bytes == 0) return;
    served_bytes_ = evict(bytes);
    request_.store(0);
    request_served_.notify_all();
  }
  // Called by another thread. Calls `evict(bytes)` while the owner is in a kernel; otherwise leaves
  // a request for the owner. Returns the bytes freed. Returns 0 when there is no owner, or when it
  // has not served the request in two seconds.
  template <class Evict>
  std::int64_t evict_for_another(std::int64_t bytes, Evict evict) {
    if (!has_owner()) return 0;
    const std::lock_guard one_at_a_time(request_mutex_);
    const auto deadline = std::chrono::steady_clock::now() + kOtherThreadWaits;
    for (;;) {
      if (const KernelOfOwner taken(*this); taken) return evict(bytes);
      if (const std::optional<std::int64_t> served = ask(bytes, deadline)) return *served;
    }
  }

 private:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr std::chrono::seconds kOtherThreadWaits{2};

  // While it lives, another thread evicts, if this object got the phase from Kernel.
  class KernelOfOwner {
   public:
    explicit KernelOfOwner(Gate& gate) noexcept;
    KernelOfOwner(const KernelOfOwner&) = delete;
    KernelOfOwner& operator=(const KernelOfOwner&) = delete;
    ~KernelOfOwner();
    explicit operator bool() const noexcept { return taken_; }

   private:
    Gate& gate_;
    bool taken_;
  };
  // Returns the bytes that the owner has freed; nullopt when it has not served the request yet and
  // there is time left.
  std::optional<std::int64_t> ask(std::int64_t bytes, Time deadline);
  // Leaves the phase Kernel. Waits while another thread evicts.
  void leave_kernel(Phase to) noexcept;
  void take_phase_from_others() noexcept;

  static inline constinit thread_local char this_thread_ = 0;  // its address identifies the thread

  std::atomic<const void*> owner_{nullptr};  // null: none
  std::mutex owner_mutex_;
  bool shares_program_time_ = false;
  std::atomic<Phase> phase_{Phase::User};
  std::mutex request_mutex_;  // held by the one other thread that may ask at a time
  std::mutex request_wait_;
  std::condition_variable request_served_;
  std::atomic<std::int64_t> request_{0};  // bytes; 0: no request
  std::int64_t served_bytes_ = 0;
};

}  // namespace neap::engine
