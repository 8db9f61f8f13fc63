// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/engine.h: the engine. It works below autograd: it records operators, evicts storages and
// restores them. Engine::run() is the list of what happens around one operator; each part that it
// names has a header of its own.
//
// There is one engine per process, and one thread at a time owns it: see engine/gate.h. Other
// threads meet it in three ways only. Their allocations may ask it to evict. The deaths of their
// storages are queued for it. Their access to an evicted storage throws.
#pragma once

#include "engine/call_recorder.h"
#include "engine/deaths.h"
#include "engine/directing.h"
#include "engine/exposures.h"
#include "engine/known_state.h"
#include "engine/locks.h"
#include "engine/pins.h"
#include "engine/regions.h"
#include "engine/replayer.h"
#include "engine/retention.h"
#include "engine/room.h"
#include "engine/scanner.h"
#include "engine/tracker.h"
#include "intercept/backward_thread.h"
#include "intercept/dispatch.h"

#include <atomic>
#include <optional>

namespace neap::engine {

class Engine final : private intercept::Handler, private Recipes::Owner {
 public:
  static Engine& instance();

  // REQUIRES: called before the first scope or region opens.
  void set_eviction_policy(std::unique_ptr<EvictionPolicy> policy);
  // The observer is told what happens from now on; null: nobody is. While there is one, regions do
  // nothing in a scope that only observes. REQUIRES: a scope that observes or has a budget is open
  // in this thread.
  void set_observer(Observer* observer);
  // Sets the director for the scope that has just been opened with a budget: see Note [Directors].
  // Null: the scope is online.
  void set_director(std::shared_ptr<Director> director);

  // Scopes. They throw as documented at neap::Scope.
  void open_scope(const Opening& opening);
  void close_scope(bool completed);  // may throw BudgetExceeded; then the scope stays open
  void abandon_scope() noexcept;     // restores nothing: evicted storages are lost
  [[nodiscard]] int scopes() const { return session_.scopes; }
  [[nodiscard]] std::int64_t budget_bytes() const { return session_.budget.value_or(0); }
  // True when this thread, and when some thread, owns the engine: see the top of this file.
  [[nodiscard]] bool owner_here() const noexcept { return session_.gate.owner_here(); }
  [[nodiscard]] bool has_owner() const noexcept { return session_.gate.has_owner(); }

  // Regions: see Regions::open(). open_region() returns false when it opens nothing.
  bool open_region(Selector* selector, bool evicts, const std::string& name);
  void keep(const at::Tensor& output);
  void close_region();
  void abandon_region() noexcept;
  void set_checkpoint_policy(const at::Tensor& tensor, CheckpointPolicy policy);
  void name_parameter(const at::Tensor& parameter, std::string_view name);
  [[nodiscard]] const LayerNames& layers() const { return layers_; }
  void share_program_time();  // neap::declare_addresses_exposed
  Pins& pins() { return pins_; }
  Exposures& exposures() { return exposures_; }
  [[nodiscard]] const BlockCopies& copies() const { return copies_; }

  // Counts are since the process started. Peaks are since the outermost scope was opened. The
  // budget and the pinned bytes are those of now.
  [[nodiscard]] Stats stats() const;
  [[nodiscard]] std::int64_t evicted_bytes() const { return counts_.stats.evicted_bytes; }
  // The bytes that plain LibTorch would hold now. Evicted bytes count, retained bytes do not.
  [[nodiscard]] std::int64_t plain_live() const {
    return memory::usage().live + store_.away() - store_.retained();
  }
  // For each operator since the scope was opened: the hash of all operators up to it.
  [[nodiscard]] std::span<const std::uint64_t> calls() const { return run_log_.calls(); }
  // The time of an operator of these sizes, ns: the smallest of a few runs. 0: not measured.
  [[nodiscard]] float cost_ns(std::uint64_t sizes) const { return counts_.costs.of(sizes).ns; }
  // All storages that LibTorch holds now. Throws: Error when this thread tracks none.
  [[nodiscard]] SavedReport saved_report();

  // `translate` is called when an exception is about to leave an operator of the program. It throws
  // that or another one: a language may know LibTorch's only. Call it before any scope.
  void set_error_translator(void (*translate)()) noexcept { translate_error_ = translate; }

  // Makes the next operator inside a scope throw. Any thread may call it, and a signal handler too.
  static void interrupt() noexcept { interrupted_.store(true, std::memory_order_relaxed); }
  // True when interrupt() was called and no operator has thrown Interrupted since.
  [[nodiscard]] static bool interrupt_pending() noexcept { return interrupted_.load(); }

  void validate() const;  // for tests: throws std::logic_error when an invariant does not hold
  [[nodiscard]] std::int64_t recorder_bytes() const { return recipes_.bytes(); }

 private:
  friend class AtWork;  // engine/at_work.h
  Engine();
  // One operator: engine.cpp.
  void call(const c10::OperatorHandle& op, c10::DispatchKeySet keys,
            torch::jit::Stack* stack) override;
  void run(const intercept::OperatorTraits& traits, const c10::OperatorHandle& op,
           c10::DispatchKeySet keys, torch::jit::Stack* stack);
  void extend_run_log(Call& call);
  void restore_operands(const Call& call, Locks& locks);
  void protect_overwritten(const Call& call);
  void run_kernel(Call& call, const c10::OperatorHandle& op, c10::DispatchKeySet keys);

  // The thread and its blocks: scopes.cpp; in a child of fork(): forks.cpp.
  void prepare_for_forks();
  void forked() noexcept;
  void attach();
  void detach_if_idle();
  void bring_all_back();
  void end_scope() noexcept;
  void remember_run();
  void forget_all() noexcept;
  void forget(Block& block) noexcept override;

  // Each part sees those above it only.
  Session session_;
  Counts counts_;
  Recipes recipes_;
  RunLog run_log_;
  LayerNames layers_;
  device::ExecutionStates states_;
  Deaths deaths_;
  BlockCopies copies_;
  Store store_;
  Replayer replayer_;
  Retention retention_;
  Regions regions_;
  Tracker tracker_;
  KnownState known_state_;
  Pins pins_;
  Exposures exposures_;
  Scanner scanner_;
  CallRecorder recorder_;
  Directing directing_;
  Room room_;
  std::vector<std::int64_t> words_;  // to hash, of the operator that runs
  std::optional<intercept::BackwardInThisThread> backward_thread_;  // while there is an owner
  void (*translate_error_)() = [] { throw; };
  bool torn_by_fork_ = false;
  static inline std::atomic<bool> interrupted_{false};
};

}  // namespace neap::engine
