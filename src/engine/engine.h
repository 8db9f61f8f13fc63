// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/engine.h: the engine. It works below autograd: it records operators, evicts storages and
// restores them.
//
// There is one engine per process, and one thread at a time owns it: see engine/gate.h. Other
// threads meet it in three ways only. Their allocations may ask it to evict. The deaths of their
// storages are queued for it. Their access to an evicted storage throws.
//
// Note [Modes]
// With a budget, every operator is recorded, and a recipe lives as long as it can be of use.
// Without a budget, only operators inside regions are recorded. After the region, a block that is
// back in memory is final: its recipe is dropped at once. So each operator is replayed at most
// once, and bytes are freed as soon as nothing is left that needs them.
#pragma once

#include "device/content_hash.h"
#include "device/device.h"
#include "device/execution_state.h"
#include "device/tick_clock.h"
#include "engine/call_codec.h"
#include "engine/director.h"
#include "engine/gate.h"
#include "engine/layer_names.h"
#include "engine/observer.h"
#include "engine/operator_costs.h"
#include "engine/policy.h"
#include "engine/recipes.h"
#include "engine/region_names.h"
#include "engine/run_log.h"
#include "engine/selection.h"
#include "engine/time_sample.h"
#include "intercept/backward_thread.h"
#include "intercept/dispatch.h"
#include "memory/allocator.h"
#include "memory/pool.h"

#include <neap/engine.h>

#include <c10/util/SmallVector.h>

#include <algorithm>
#include <atomic>
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

  // REQUIRES: called before the first scope or region opens. From then on the engine uses the
  // policy.
  void set_eviction_policy(std::unique_ptr<EvictionPolicy> policy);

  // The observer is told what happens from now on; null: nobody is. While there is one, regions do
  // nothing in a scope that only observes. REQUIRES: a scope that observes or has a budget is open
  // in this thread.
  void set_observer(Observer* observer);

  // Sets the director for the scope that has just been opened with a budget: see Note [Directors].
  // Null: the scope is online.
  void set_director(std::shared_ptr<Director> director) {
    director_ = std::move(director);
    was_directed_ = false;
  }
  // For each operator since the scope was opened: the hash of all operators up to it.
  [[nodiscard]] std::span<const std::uint64_t> calls() const { return run_log_.calls(); }
  [[nodiscard]] int scopes() const { return scopes_; }
  // True when interrupt() was called and no operator has thrown Interrupted since.
  [[nodiscard]] static bool interrupt_pending() noexcept { return interrupted_.load(); }
  // True when this thread owns the engine: see the top of this file.
  [[nodiscard]] bool owner_here() const noexcept { return gate_.owner_here(); }
  // The time of an operator of these sizes, ns: the smallest of a few runs. 0: not measured.
  [[nodiscard]] float cost_ns(std::uint64_t signature) const { return costs_.of(signature).ns; }
  // The bytes that plain LibTorch would hold now. Evicted bytes count, retained bytes do not.
  [[nodiscard]] std::int64_t plain_live() const { return memory::usage().live + away_ - retained_; }

  // Scopes. They throw as documented at neap::Scope.
  void open_scope(std::optional<std::int64_t> budget, bool observe);
  void close_scope(bool completed);  // may throw BudgetExceeded; then the scope stays open
  void abandon_scope() noexcept;     // restores nothing: evicted storages are lost
  // Counts are since the process started. Peaks are since the outermost scope was opened. The
  // budget and the pinned bytes are those of now.
  [[nodiscard]] Stats stats() const;
  // Since the process started, in bytes.
  [[nodiscard]] std::int64_t evicted_bytes() const { return stats_.evicted_bytes; }

  // Regions. close_region() evicts the blocks that were made since open_region(), except the
  // results (see keep()) and what is to be saved: see Note [Selection] in engine/regions.cpp.
  // `selector`: null, or it outlives the region. `evicts`: false for a region that only decides, in
  // a region around it that evicts. `name`: for reports. open_region() returns false when it opens
  // nothing: for a region that does not evict and is inside no other, and in a scope that only
  // observes while there is an observer.
  bool open_region(Selector* selector, bool evicts, const std::string& name);
  void keep(const at::Tensor& output);
  void close_region();
  void abandon_region() noexcept;
  void set_checkpoint_policy(const at::Tensor& tensor, CheckpointPolicy policy);
  void name_parameter(const at::Tensor& parameter, std::string_view name);
  [[nodiscard]] std::span<const std::string> layers() const {  // the names of all layers so far
    return std::span(layers_.names()).subspan(1);
  }

  // All storages that LibTorch holds now. Throws: Error when no storages are tracked in this
  // thread.
  [[nodiscard]] SavedReport saved_report();

  // Returns a ticket for unpin(), which is good until all blocks are forgotten; 0: nothing was
  // pinned.
  std::uint64_t pin(const at::Tensor& tensor);
  void unpin(const at::Tensor& tensor);
  void unpin(c10::StorageImpl& storage, std::uint64_t ticket);

  // Makes the next operator inside a scope throw. Any thread may call it, and a signal handler too.
  static void interrupt() noexcept { interrupted_.store(true, std::memory_order_relaxed); }

  [[nodiscard]] std::int64_t budget_bytes() const { return budget_.value_or(0); }
  // For tests. Throws std::logic_error when an invariant does not hold.
  void validate();
  [[nodiscard]] std::int64_t recorder_bytes() const { return recipes_.bytes(); }

 private:
  friend class Materialization;
  class Locks;
  class Busy;
  class Watch;
  class Reclaiming;
  class Timed;
  class OperatorTime;
  // A result of an operator on a storage of its own.
  struct NewStorage {
    c10::StorageImpl* storage;
    const at::Tensor* tensor;  // the first on it
    std::uint16_t result;      // its number among the results
  };
  using NewStorages = c10::SmallVector<NewStorage, 4>;

  Engine();
  ~Engine() override;

  // intercept::Handler. run() has the steps of one operator; most methods of this group are those
  // steps and their parts.
  void call(const c10::OperatorHandle& op, c10::DispatchKeySet keys,
            torch::jit::Stack* stack) override;
  void run(const intercept::OperatorTraits& traits, const c10::OperatorHandle& op,
           c10::DispatchKeySet keys, torch::jit::Stack* stack);
  void serve_others();
  void scan(Call& call);
  void scan_tensor(Call& call, const at::Tensor& tensor, std::size_t argument);
  void choose_references(Call& call);
  void bring_operands(Call& call, Locks& locks);
  void bring_directed(std::span<Block* const> absent);
  void evict_all_of(std::span<const std::uint32_t> numbers);
  void stop_director() noexcept;
  [[nodiscard]] bool director_keeps(const Block& block) const noexcept {
    return director_ && director_->keeps(block);
  }
  [[nodiscard]] bool director_frees(const Block& block) const noexcept {
    return director_ && director_->frees(block);
  }
  void release_content(Block& block);
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
  NewStorages new_storages(Call& call) const;
  void pin_operands(const Call& call);
  PinReason pin_reason_of(Call& call, const NewStorages& made) const;
  void record_made(Call& call, const NewStorages& made);
  void record_writes(Call& call, bool makes_blocks);
  void wrote_unseen(Block& block);
  void wrote_observed(Block& block);
  void failed(Call& call);
  void tell(const Call& call, std::span<Block* const> made);
  void decide(const Call& call, Block& block, c10::IntArrayRef sizes);
  void decided(const Block& block);
  [[nodiscard]] std::uint16_t layer_of(const Call& call) const;

  // Blocks.
  Block* find(c10::StorageImpl& storage);  // null: not tracked
  // Makes a pinned block for a storage that the engine has not met. Null: foreign memory.
  Block* track(const at::Tensor& tensor, c10::StorageImpl& storage);
  Block* create(c10::StorageImpl& storage, PinReason pinned);
  void hold_storage(Block& block, c10::StorageImpl& storage);
  void drop_storage(Block& block) noexcept;
  void forget(Block& block) noexcept override;
  void free_data(Block& block) noexcept;
  void update_evictable(Block& block);
  void pin_for_good(Block& block, PinReason why);
  void mark_blank(Block& block);  // see Note [Blanks]
  void check_blank(Block& block);
  void finish(Block& block);  // see Note [Modes]
  void move(Block& block, Residence to) noexcept;
  [[nodiscard]] bool is_recording() const { return budget_.has_value() || !regions_.empty(); }
  [[nodiscard]] bool is_tracking() const { return is_recording() || observing_; }
  [[nodiscard]] bool only_observing() const { return observing_ && !is_recording(); }
  [[nodiscard]] bool is_final_when_restored() const { return !budget_ && regions_.empty(); }

  // Regions.
  struct Region {
    Selector* selector;
    std::size_t start;  // index in region_blocks_
    std::uint32_t number;
    bool evicts;
    bool saves = false;  // a block that was made in it is to be saved
  };
  void choose_saved(const Region& region);

  // Eviction and restoring.
  // Returns the bytes given to the cache; 0: the block could not be evicted.
  std::int64_t evict(Block& block);
  bool put_into_storage(Block& block);  // false: the program has let go of the storage
  // `again`: when the targets do not fit, everything that can be evicted is evicted, and the
  // materialization runs once more. What was evicted stays evicted, also when the second try
  // throws.
  void materialize(std::span<Block* const> targets, bool again = true);
  struct Dependents {
    std::vector<Node*> lost;       // recipes that end when the content is lost
    std::vector<Block*> affected;  // blocks that these recipes make
  };
  // What it costs and gives to free a block that is only held for recipes: see Note [What is held].
  struct Trade {
    bool possible = false;   // nothing that was made from it is evicted
    std::int64_t frees = 0;  // bytes that are held for these recipes alone
    std::int64_t pins = 0;   // bytes that could be evicted before, and not afterwards
  };
  Dependents dependents_of(Block& block);
  Trade trade_of(Block& held);
  bool protect_readers(Block& block, bool may_materialize = true);
  bool is_worth_holding(Block& block);
  std::int64_t reclaim(std::int64_t bytes) override;
  std::int64_t make_room(std::int64_t bytes);
  std::int64_t evict_all();
  void note_eviction(Block& block, std::int64_t taken);
  bool release_from_readers(Block& block);
  std::int64_t release_held();
  void drop_failed_backward() noexcept;
  [[noreturn]] void refuse(std::int64_t need, std::int64_t in_use, std::int64_t budget) override;
  bool begin_wait() noexcept override;
  void end_wait() noexcept override;

  // Time that is counted neither as replay nor as bookkeeping. The difference of two calls is the
  // time between them, without what was counted meanwhile.
  [[nodiscard]] std::int64_t uncounted_ns() const {
    return time_.now_ns() - stats_.replay_ns - stats_.bookkeeping_ns;
  }

  // Deaths and threads.
  static bool death_hook(void* record, void* data) noexcept;
  static void evicted_death_hook(void* record) noexcept;
  static void unseen_death_hook(void* data) noexcept;
  void queue_death(Block& block) noexcept;
  void process_deaths();
  void on_death(Block& block);
  [[nodiscard]] bool idle_here() const noexcept;
  void attach();
  void detach_if_idle();
  void forget_all() noexcept;
  void bring_all_back();
  void remember_run();

  device::Device& device_;                                          // of all blocks
  std::optional<intercept::BackwardInThisThread> backward_thread_;  // while there is an owner
  Recipes recipes_;
  std::unique_ptr<EvictionPolicy> policy_;
  Observer* observer_ = nullptr;
  device::ExecutionStates states_;
  std::shared_ptr<const device::GeneratorState> last_generator_;
  std::vector<Block*> evictable_;
  std::vector<Block*> held_;  // retained blocks that cannot be made again
  std::unordered_map<const Block*, device::ContentHash> hashes_;  // of blanks that are not zeros
  std::vector<Block*> region_blocks_;
  std::vector<Region> regions_;  // open regions, outermost first
  RegionNames region_names_;
  LayerNames layers_;
  Code code_;  // the encoded arguments of the current call
  std::unordered_map<void*, std::pair<Block*, std::int64_t>> unseen_;
  std::mutex unseen_mutex_;

  Gate gate_;
  int scopes_ = 0;
  std::int64_t evicted_ = 0;   // number of blocks with Residence::Evicted
  std::int64_t away_ = 0;      // their bytes
  std::int64_t retained_ = 0;  // bytes of blocks with Residence::Retained
  std::optional<std::int64_t> budget_;
  bool observing_ = false;
  // In this scope, plain LibTorch would have needed more than the budget.
  bool beyond_plain_ = false;
  bool failed_ = false;  // an exception has left an operator, and perhaps a backward

  bool busy_ = false;           // the engine is at work: deaths are queued
  bool materializing_ = false;  // nodes must not be destroyed
  std::unique_ptr<Materialization> spare_materialization_;
  std::atomic<Block*> deaths_{nullptr};
  std::mutex deaths_mutex_;

  static inline std::atomic<bool> interrupted_{false};
  static_assert(std::atomic<bool>::is_always_lock_free);
  const intercept::OperatorTraits* running_ = nullptr;  // the operator that runs now, for messages
  Stats stats_;
  device::TickClock time_;
  double clock_ = 0;  // ns of all operators so far
  TimeSample sample_;
  OperatorCosts costs_;
  c10::DeleterFnPtr own_deleter_;
  c10::DeleterFnPtr system_deleter_;  // of memory from before install()

  RunLog run_log_;

  // Rises when all blocks, and so all pins, are forgotten.
  std::uint64_t tickets_ = 1;
  std::shared_ptr<Director> director_;  // null: the scope is online
  bool was_directed_ = false;           // a director was asked about an operator of this scope
  std::vector<Block*> numbered_;        // blocks by scope number; null: no longer known
  std::size_t section_ = 0;  // the size of numbered_ after the last operator with grad mode on
  Watch* watch_ = nullptr;   // of the kernel that runs now, for an observer
};

// While it lives, the engine is at work and deaths are queued.
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

// Reads the allocator's counters for an observer: at its start those before the kernel, at its end
// the peak. The counters are those of a step in which nothing is evicted: evicted bytes are added,
// and retained bytes are subtracted.
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

// While it lives, storages are evicted, and watched kernels do not count the change.
class Engine::Reclaiming {
 public:
  explicit Reclaiming(Engine& engine) noexcept;
  Reclaiming(const Reclaiming&) = delete;
  Reclaiming& operator=(const Reclaiming&) = delete;
  ~Reclaiming();

 private:
  Engine& engine_;
};

// Adds the time for which it lives to one of the counts, without the time that other counts got
// meanwhile. Only for the engine's thread.
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

// Keeps blocks in memory and alive until it is released.
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
