// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/session.h: what the parts of the engine share: what is open, who watches, who decides, and
// what happens now. Any thread uses the gate. Only the thread that owns the engine uses the rest,
// and a thread that evicts for another one: see Note [Phases].
//
// Note [Modes]
// With a budget, every operator is recorded, and a recipe lives as long as it can be of use.
// Without a budget, only operators inside regions are recorded. After the region, a block that is
// back in memory is final: its recipe is dropped at once. So each operator is replayed at most
// once, and bytes are freed as soon as nothing is left that needs them.
#pragma once

#include "device/device.h"
#include "engine/director.h"
#include "engine/gate.h"
#include "engine/observer.h"
#include "engine/policy.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

namespace neap::engine {

class PeakWatch;

// What a scope opens with: see neap::Options.
struct Opening {
  std::optional<std::int64_t> budget = {};  // bytes
  std::optional<Offload> offload = {};
  bool observe = false;
  bool verify = false;
};

struct Session {
  neap::device::Device& device = neap::device::tracked();  // of all blocks
  Gate gate;

  // What is open.
  int scopes = 0;
  bool in_region = false;
  std::optional<std::int64_t> budget;  // bytes; of the outermost scope
  bool observing = false;
  bool verify = false;  // what comes back is compared with what went

  // Who watches, and who decides.
  Observer* observer = nullptr;
  std::unique_ptr<EvictionPolicy> policy;
  std::shared_ptr<Director> director;  // null: the scope is online
  bool was_directed = false;           // a director was asked about an operator of this scope

  // What happens now.
  bool busy = false;       // the engine is at work: deaths are queued
  bool restoring = false;  // nodes must not be destroyed
  bool failed = false;     // an exception has left an operator, and perhaps a backward
  const intercept::OperatorTraits* running = nullptr;  // the operator that runs now, for messages
  PeakWatch* watch = nullptr;                          // of the kernel that runs now

  [[nodiscard]] bool is_recording() const noexcept { return budget.has_value() || in_region; }
  [[nodiscard]] bool is_tracking() const noexcept { return is_recording() || observing; }
  [[nodiscard]] bool only_observing() const noexcept { return observing && !is_recording(); }
  [[nodiscard]] bool is_final_when_restored() const noexcept { return !is_recording(); }
  // True when the owner is in the program's code: the engine is not at work and no kernel runs.
  [[nodiscard]] bool is_idle_here() const noexcept {
    return gate.owner_here() && !busy && (gate.in_user_phase() || gate.shares_program_time());
  }

  [[nodiscard]] bool director_keeps(const Block& block) const noexcept {
    return director && director->keeps(block);
  }
  [[nodiscard]] bool director_frees(const Block& block) const noexcept {
    return director && director->frees(block);
  }
  // The rest of the scope is online.
  void stop_director() noexcept {
    if (!director) return;
    director->stop();
    director.reset();
  }
};

// While it lives, the engine is at work: deaths are queued, and no other thread evicts but during a
// kernel.
class Busy {
 public:
  explicit Busy(Session& session) noexcept : session_(session), before_(session.busy) {
    if (!before_) session.gate.begin_work();
    session.busy = true;
  }
  Busy(const Busy&) = delete;
  Busy& operator=(const Busy&) = delete;
  ~Busy() {
    session_.busy = before_;
    if (!before_) session_.gate.end_work();
  }

 private:
  Session& session_;
  bool before_;
};

}  // namespace neap::engine
