// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/materialization.h: restores storages by replaying the operators that are needed, in their
// original order. Where a content that is needed has a copy in the tier, it is loaded instead, when
// the first operator needs it.
//
// A run replays each operator at most once, so it ends: there are at most as many replays as living
// nodes. What later operators of the run read stays locked until the last of them has run, and is
// freed then. When something throws (mostly BudgetExceeded), everything is as before, except what
// has been restored already. Cost: O(n log n) for n operators to replay, for any size of the graph.
#pragma once

#include "device/execution_state.h"
#include "engine/call_codec.h"
#include "engine/counts.h"
#include "engine/recipes.h"
#include "engine/session.h"
#include "engine/store.h"

#include <ATen/core/stack.h>

#include <limits>
#include <span>
#include <vector>

namespace neap::engine {

// The block's copy could not be read, and is dropped. Where the block has a recipe, another run
// does without the copy.
struct CopyLost {
  Block* block;
};
// The run needs an older content of the block beside the one that has a copy. The copy is to be
// loaded before another run.
struct CopyNeededFirst {
  Block* block;
};

class Materialization final : private StorageSource {
 public:
  Materialization(Session& session, Counts& counts, Recipes& recipes, Store& store,
                  const device::ExecutionStates& states)
      : session_(session), counts_(counts), recipes_(recipes), store_(store), states_(states) {}
  Materialization(const Materialization&) = delete;
  Materialization& operator=(const Materialization&) = delete;
  ~Materialization() override = default;

  // REQUIRES: the caller has locked the targets; each target without data has a recipe; no run is
  // under way in this object. Throws: also CopyLost and CopyNeededFirst.
  void run(std::span<Block* const> targets);

 private:
  // A block that is being made again. It is a shadow when the block has data of a newer version,
  // and an older version is needed.
  struct Work {
    Block* block;
    void* shadow_data = nullptr;
    std::uint32_t reached = kNothing;
    std::uint32_t uses = 0;  // reads by operators that have not run yet, plus one for a target
    bool shadow = false;
    bool has_gaps = false;  // its maker leaves bytes unwritten, so its contents are not compared
    bool locked = false;    // it is back in its storage, and this run holds a lock on it
    bool copied = false;    // it is loaded from its copy
  };
  static constexpr std::uint32_t kNothing = std::numeric_limits<std::uint32_t>::max();
  class End;

  // True when the block is resident or retained, with this version.
  static bool at_hand(const Block& block, std::uint32_t version);
  bool is_boundary(const Read& read) const;
  bool is_loaded(const Block& block, std::uint32_t version);
  [[noreturn]] void throw_lost() const;
  void find(Block& block, std::uint32_t version);
  void find_all(std::span<Block* const> targets);
  void need(Read& read) noexcept;
  void require_unwritten() const;
  void collect(std::span<Block* const> targets);
  void begin_loads(std::span<Block* const> targets);
  void finish_loads(std::span<Block* const> targets);
  void load_reads(Node& node);
  void arrive(Work& work);
  Work& work_of(const Block& block) { return works_[static_cast<std::size_t>(block.work)]; }
  const Work& work_of(const Block& block) const {
    return works_[static_cast<std::size_t>(block.work)];
  }
  void replay_all();
  void replay(Node& node);
  void end() noexcept;
  void allocate_for(Node& node);
  void publish(Node& node);
  void take(Write& write, c10::DataPtr memory, bool has_gaps);
  void advance(const Write& write);
  // Throws: ReplayError, with Options::verify, when the operator that runs now has written another
  // content than this version had.
  void require_same(const Write& write, const void* data) const;
  void discard(Block& block) noexcept;
  void publish_later(Block& block) noexcept;
  void account(Node& node) noexcept;
  void retire(Work& work) noexcept;
  void leave(Block& block) noexcept;
  void finish_published() noexcept;

  // StorageSource, for the node that runs now.
  c10::Storage storage(Use use, std::uint16_t reference) override;
  [[nodiscard]] at::Generator generator() const override;

  Session& session_;
  Counts& counts_;
  Recipes& recipes_;
  Store& store_;
  const device::ExecutionStates& states_;
  std::vector<Work> works_;
  std::vector<Node*> nodes_;       // to replay; in original order after collect()
  std::vector<Node*> search_;      // nodes whose reads have not been visited
  std::vector<Block*> published_;  // with room for all that one node or the end adds
  torch::jit::Stack stack_;        // arguments, then results, of the node that runs now
  std::size_t done_ = 0;
  bool is_locked_ = false;  // what the nodes read is
  Node* running_ = nullptr;
  Block* lost_ = nullptr;
};

}  // namespace neap::engine
