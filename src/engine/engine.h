// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/engine.h: the one engine below autograd. It records operators, evicts storages and brings them back.
//
// One engine a process, owned by one thread at a time: the one that has a scope, a region, or storages that a region
// evicted. Other threads meet it in three ways only: their allocations may ask it to evict, the deaths of storages are
// queued for it, and an access to an evicted storage throws.
//
// Note [Phases]
// `User`: the owner is in the program's code or in the engine. `Kernel`: it is inside a kernel, and the engine's records are
// whole: whoever allocates may evict, the owner or, taking the phase to `Evicting`, another thread. A request of another
// thread that comes in phase `User` waits for the owner's next operator. An owner that itself waits for other threads
// (memory::Waiting) says so by phase `Kernel`: its records are as whole then.
//
// Note [Modes]
// With a budget every operator is recorded, and recipes live as long as they can be of use. Without one, only the
// operators inside regions are, and after its region a block that is back is final: its recipe goes at once. That makes
// two promises exact: each operator runs again at most once, and bytes go as soon as nothing is left that needs them.
#pragma once

#include "engine/call_codec.h"
#include "engine/content_hash.h"
#include "engine/layer_names.h"
#include "engine/observer.h"
#include "engine/operator_costs.h"
#include "engine/planned_step.h"
#include "engine/policy.h"
#include "engine/recipes.h"
#include "engine/run_log.h"
#include "engine/selection.h"
#include "engine/tick_clock.h"
#include "engine/time_sample.h"
#include "intercept/dispatch.h"
#include "intercept/execution_state.h"
#include "memory/allocator.h"
#include "memory/pool.h"

#include <neap/engine.h>

#include <c10/util/SmallVector.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>

namespace neap::engine {

struct Call;
class Materialization;

class Engine final : private intercept::Handler, private memory::Reclaimer, private Recipes::Owner {
 public:
  static Engine& instance();

  // REQUIRES: before the first scope. The engine never asks a policy without one.
  void set_policy(std::unique_ptr<Policy> policy);

  // Null: nobody is told from here on. While there is one, regions do nothing in a scope that only observes. REQUIRES: a scope that
  // observes, or one with a budget, is open in this thread.
  void set_observer(Observer* observer);

  // From now on, in the scope that has just been opened with a budget: see Note [Plans in the engine].
  void follow(PlanCursor::Steps steps);
  [[nodiscard]] const PlanCursor& plan() const { return plan_; }
  // The most bytes that were wanting at once while a plan was followed since then.
  [[nodiscard]] std::int64_t plan_shortage() const { return plan_shortage_; }
  // The operator that ended the plan, because it had foreseen another. Null: none has.
  [[nodiscard]] const intercept::OperatorTraits* not_foreseen() const { return not_foreseen_; }
  // A hash of all operators since the scope was opened, after each.
  [[nodiscard]] std::span<const std::uint64_t> calls() const { return run_log_.calls(); }
  [[nodiscard]] int scopes() const { return scopes_; }
  // interrupt() was called, and no operator has thrown yet.
  [[nodiscard]] static bool interrupt_pending() noexcept { return interrupted_.load(); }
  // This thread has it: see the top of this file.
  [[nodiscard]] bool owner_here() const noexcept;
  // What an operator of these sizes takes, ns: the least of a few runs.
  [[nodiscard]] float cost_ns(std::uint64_t signature) const { return costs_.of(signature).ns; }
  // What LibTorch would hold now, had nothing been evicted.
  [[nodiscard]] std::int64_t plain_live() const { return memory::usage().live + away_ - retained_; }

  // Scopes. Throw as documented at neap::Scope.
  void open_scope(std::optional<std::int64_t> budget, bool observe);
  void close_scope(bool completed);   // may throw BudgetExceeded; the scope stays open then
  void abandon_scope() noexcept;      // never throws: what does not fit stays evicted
  [[nodiscard]] Stats stats() const;  // since the process started
  [[nodiscard]] std::int64_t evicted_bytes() const { return stats_.evicted_bytes; }  // the same

  // Regions. Blocks made since `open_region` are evicted by `close_region`, but for results and what is to be saved: see
  // Note [Selection] in engine/regions.cpp. `selector`: null, or outlives the region. A region that does not evict only
  // decides, and is nothing at all outside of one that does. `name`: for reports.
  bool open_region(Selector* selector, bool evicts, const std::string& name);
  void keep(const at::Tensor& output);
  void close_region();
  void abandon_region() noexcept;
  void tag(const at::Tensor& tensor, Decision decision);
  void name_parameter(const at::Tensor& parameter, std::string_view name);
  [[nodiscard]] std::span<const std::string> layers() const {  // all that were ever named
    return std::span(layers_.names()).subspan(1);
  }

  // What LibTorch holds now. Throws: Error when nothing is followed.
  [[nodiscard]] SavedReport saved_report();

  void pin(const at::Tensor& tensor);
  void unpin(const at::Tensor& tensor);

  // The next operator inside a scope throws. From any thread, also from a signal handler.
  static void interrupt() noexcept { interrupted_.store(true, std::memory_order_relaxed); }

  [[nodiscard]] std::int64_t budget_bytes() const { return budget_.value_or(0); }
  // For tests: throws when an invariant does not hold.
  void validate();
  [[nodiscard]] std::int64_t recorder_bytes() const { return recipes_.bytes(); }

 private:
  friend class Materialization;
  enum class Phase : int { User, Kernel, Evicting };
  class KernelPhase;
  class Locks;
  class Busy;
  class Watch;
  class Reclaiming;
  class Timed;

  Engine();
  ~Engine() override;

  // intercept::Handler. The steps of one operator, in this order; each is a method below.
  void call(const c10::OperatorHandle& op, c10::DispatchKeySet keys,
            torch::jit::Stack* stack) override;
  void run(const intercept::OperatorTraits& traits, const c10::OperatorHandle& op,
           c10::DispatchKeySet keys, torch::jit::Stack* stack);
  void scan(Call& call);
  void scan_tensor(Call& call, const at::Tensor& tensor, std::size_t argument);
  void choose_references(Call& call);
  void bring_operands(Call& call, Locks& locks);
  void bring_planned(std::span<Block* const> absent);
  void free_planned(std::span<const std::uint32_t> numbers);
  void let_go(Block& block);
  [[nodiscard]] Block* numbered_of(std::uint32_t number) const {
    return number < numbered_.size() ? numbered_[number] : nullptr;
  }
  void protect_overwritten(Call& call);
  void encode_call(Call& call);
  [[nodiscard]] bool hangs_on_what_stays(const Call& call) const;
  [[nodiscard]] bool may_write_again(const Call& call, const Block& block) const;
  [[nodiscard]] bool may_run_again(Call& call) const;
  void extend_run(Call& call);
  void run_kernel(Call& call, const c10::OperatorHandle& op, c10::DispatchKeySet keys);
  void record_results(Call& call);
  void record_writes(Call& call, bool makes_blocks);
  void wrote_unseen(Block& block);
  void wrote_observed(Block& block);
  void failed(Call& call);
  void tell(const Call& call, std::span<Block* const> made);
  void decide(const Call& call, Block& block, c10::IntArrayRef sizes);
  void decided(const Block& block);
  [[nodiscard]] std::uint16_t layer_of(const Call& call) const;

  // Blocks.
  Block* find(c10::StorageImpl& storage);  // null: not followed
  Block* follow(const at::Tensor& tensor,
                c10::StorageImpl& storage);  // a given block; null: foreign
  Block* create(c10::StorageImpl& storage, Given given);
  void hold_storage(Block& block, c10::StorageImpl& storage);
  void drop_storage(Block& block) noexcept;
  void forget(Block& block) noexcept override;
  void free_data(Block& block) noexcept;
  void update_evictable(Block& block);
  [[nodiscard]] std::string describe(const Block& block) const;
  [[nodiscard]] std::string why_pinned(const Block& block) const;
  void make_given(Block& block, Given why);
  void mark_blank(Block& block);  // see Note [Blanks]
  void check_blank(Block& block);
  void finish(Block& block);  // see Note [Modes]
  void move(Block& block, Residence to) noexcept;
  [[nodiscard]] bool recording() const { return budget_.has_value() || !regions_.empty(); }
  [[nodiscard]] bool following() const { return recording() || observing_; }
  [[nodiscard]] bool only_observing() const { return observing_ && !recording(); }
  [[nodiscard]] bool final_when_back() const { return !budget_ && regions_.empty(); }

  // Regions.
  struct Region {
    Selector* selector;
    std::size_t start;  // in region_blocks_
    std::uint32_t number;
    bool evicts;
    bool saves = false;  // something made in it is to be saved
  };
  void choose_saved(const Region& region);
  [[nodiscard]] std::string region_name(std::uint32_t number) const;
  SavedReport report_storages() const;

  // Going and coming back.
  std::int64_t evict(Block& block);     // bytes given to the cache; 0: it could not go
  bool put_into_storage(Block& block);  // false: the program let go of it meanwhile
  // `again`: what does not fit is tried once more without what was at hand for it, which then stays away, also when it throws.
  void materialize(std::span<Block* const> targets, bool again = true);
  struct Dependents {
    std::vector<Node*> lost;       // recipes that end with the content
    std::vector<Block*> affected;  // what they make
  };
  // What it would mean to let go of a block that is only held for recipes: see Note [What is held].
  struct Trade {
    bool possible = false;   // all that was made from it is there
    std::int64_t frees = 0;  // bytes that are held for the same recipes alone
    std::int64_t pins = 0;   // bytes of what could be evicted until then
  };
  Dependents dependents_of(Block& block);
  Trade trade_of(Block& held);
  bool protect_readers(Block& block, bool may_materialize = true);
  bool worth_holding(Block& block);
  std::int64_t reclaim(std::int64_t bytes) override;
  std::int64_t make_room(std::int64_t bytes);
  std::int64_t evict_all();
  void went(Block& block, std::int64_t taken);
  bool unread_held(Block& block);
  std::int64_t release_held();
  void drop_failed_backward() noexcept;
  [[noreturn]] void refuse(std::int64_t need, std::int64_t in_use, std::int64_t budget) override;
  bool begin_wait() noexcept override;
  void end_wait() noexcept override;

  // The difference of two is the time between them of which nothing has been counted yet.
  [[nodiscard]] std::int64_t uncounted_ns() const {
    return time_.now_ns() - stats_.replay_ns - stats_.bookkeeping_ns;
  }

  // Deaths and threads.
  static bool on_death(void* record, void* data) noexcept;
  static void on_evicted_death(void* record) noexcept;
  static void on_unseen_death(void* data) noexcept;
  void queue_death(Block& block) noexcept;
  void process_deaths();
  void bury(Block& block);
  void serve_requests();
  [[nodiscard]] bool idle_here() const noexcept;
  void attach();
  void detach_if_idle();
  void forget_all() noexcept;
  void bring_all_back();
  void remember_run();

  Recipes recipes_;
  std::unique_ptr<Policy> policy_;
  Observer* observer_ = nullptr;
  intercept::ExecutionStates states_;
  std::shared_ptr<const intercept::GeneratorState> last_generator_;
  std::vector<Block*> evictable_;
  std::vector<Block*> held_;                              // Retained, and cannot be made again
  std::unordered_map<const Block*, ContentHash> hashes_;  // of blanks that are no zeros
  std::vector<Block*> region_blocks_;
  std::vector<Region> regions_;  // the open ones, outermost first
  std::uint32_t region_count_ = 0;
  std::unordered_map<std::string, std::uint32_t> region_numbers_;  // of those with a name
  LayerNames layers_;
  Code code_;  // the call under way, encoded
  std::unordered_map<void*, std::pair<Block*, std::int64_t>> unseen_;
  std::mutex unseen_mutex_;

  std::atomic<const void*> owner_{nullptr};  // names a thread; null: none
  std::mutex owner_mutex_;                   // for changes of owner_
  int scopes_ = 0;
  std::int64_t evicted_ = 0;   // blocks in residence Evicted
  std::int64_t away_ = 0;      // bytes of them
  std::int64_t retained_ = 0;  // bytes of blocks in residence Retained
  std::optional<std::int64_t> budget_;
  bool observing_ = false;
  bool beyond_plain_ =
      false;             // in this scope plain LibTorch would have needed more than the budget
  bool failed_ = false;  // an exception has left an operator, perhaps a backward too

  std::atomic<Phase> phase_{Phase::User};
  bool busy_ = false;           // inside the engine: deaths are queued
  bool materializing_ = false;  // nodes must not go
  std::unique_ptr<Materialization> spare_materialization_;
  std::atomic<Block*> deaths_{nullptr};
  std::mutex deaths_mutex_;
  std::mutex request_mutex_;  // one other thread at a time
  std::mutex request_wait_;
  std::condition_variable request_served_;
  std::atomic<std::int64_t> request_{0};
  std::int64_t served_bytes_ = 0;

  static inline std::atomic<bool> interrupted_{false};
  static_assert(std::atomic<bool>::is_always_lock_free);
  const intercept::OperatorTraits* running_ = nullptr;  // for messages
  Stats stats_;
  TickClock time_;
  double clock_ = 0;  // ns of operators
  TimeSample sample_;
  OperatorCosts costs_;
  c10::DeleterFnPtr own_deleter_;

  RunLog run_log_;

  PlanCursor plan_;
  std::int64_t plan_shortage_ = 0;
  const intercept::OperatorTraits* not_foreseen_ = nullptr;
  std::vector<Block*> numbered_;  // of this scope; null: no longer known
  std::size_t section_ = 0;       // numbered_ had so many when grad mode was on the last time
  Watch* watch_ = nullptr;        // of the kernel that runs, for an observer
};

// The engine is at work while this lives: deaths are queued.
class Engine::Busy {
 public:
  explicit Busy(Engine& engine) noexcept
      : engine_(engine), before_(std::exchange(engine.busy_, true)) {}
  Busy(const Busy&) = delete;
  Busy& operator=(const Busy&) = delete;
  ~Busy() { engine_.busy_ = before_; }

 private:
  Engine& engine_;
  bool before_;
};

// A kernel runs while this lives. See Note [Phases].
class Engine::KernelPhase {
 public:
  explicit KernelPhase(Engine& engine) noexcept;
  KernelPhase(const KernelPhase&) = delete;
  KernelPhase& operator=(const KernelPhase&) = delete;
  ~KernelPhase();

 private:
  Engine& engine_;
  Phase before_;
};

// Writes the allocator's counters down, for an observer: those before the kernel now, the peak when it dies. They are of a step
// in which nothing is evicted: what is away counts as there, and what is retained does not.
class Engine::Watch {
 public:
  Watch(Engine& engine, Call& call);
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;
  ~Watch();

 private:
  friend class Reclaiming;
  [[nodiscard]] std::int64_t shift() const { return engine_.away_ - engine_.retained_; }
  void end();

  Engine& engine_;
  Call& call_;
  Watch* outer_;
  memory::PeakGauge gauge_;
};

// Storages go while this lives, and kernels that are watched do not see it.
class Engine::Reclaiming {
 public:
  explicit Reclaiming(Engine& engine) noexcept;
  Reclaiming(const Reclaiming&) = delete;
  Reclaiming& operator=(const Reclaiming&) = delete;
  ~Reclaiming();

 private:
  Engine& engine_;
};

// The time for which it lives is added to one of the counts, but for what others are given meanwhile. Of the engine's thread only.
class Engine::Timed {
 public:
  Timed(Engine& engine, std::int64_t Stats::*count) noexcept
      : engine_(engine), count_(count), start_(engine.uncounted_ns()) {}
  Timed(const Timed&) = delete;
  Timed& operator=(const Timed&) = delete;
  ~Timed() { engine_.stats_.*count_ += std::max<std::int64_t>(0, engine_.uncounted_ns() - start_); }

 private:
  Engine& engine_;
  std::int64_t Stats::*count_;
  std::int64_t start_;
};

// Keeps blocks where they are.
class Engine::Locks {
 public:
  explicit Locks(Engine& engine) : engine_(engine) {}
  Locks(const Locks&) = delete;
  Locks& operator=(const Locks&) = delete;
  ~Locks() { release(); }
  void add(Block& block) {
    blocks_.push_back(&block);
    ++block.locks;
  }
  void release() noexcept;

 private:
  Engine& engine_;
  c10::SmallVector<Block*, 12> blocks_;
};

}  // namespace neap::engine
