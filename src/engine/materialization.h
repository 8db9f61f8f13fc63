// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/materialization.h: brings storages back by running, in their original order, the operators that are needed.
//
// Guarantees of one run: each operator runs at most once, so it ends: the number of replays is at most the number of living nodes. What
// later operators of the same materialization read stays locked until the last of them ran, and goes then. When
// something throws (BudgetExceeded, mostly), everything is as before but for what had come back already.
// Cost: O(n log n) for n operators to replay, whatever the size of the graph. One object serves again and again, so that its
// lists are on the heap already; what LibTorch allocates for the arguments of an operator remains.
#pragma once

#include "engine/engine.h"

#include <limits>
#include <span>
#include <vector>

namespace neap::engine {

class Materialization final : private StorageSource {
 public:
  explicit Materialization(Engine& engine) : engine_(engine) {}
  Materialization(const Materialization&) = delete;
  Materialization& operator=(const Materialization&) = delete;
  ~Materialization() override = default;

  // REQUIRES: the targets are locked by the caller, and have a recipe where they have no data; it is not running already.
  void run(std::span<Block* const> targets);

 private:
  // A block that is being made again. A shadow is an older version of a block that has data of a newer one.
  struct Work {
    Block* block;
    void* shadow_data = nullptr;
    std::uint32_t reached = kNothing;
    std::uint32_t uses = 0;  // reads by operators that have not run yet, and one for a target
    bool shadow = false;
    bool locked = false;  // it is back in its storage, and we keep it there
  };
  static constexpr std::uint32_t kNothing = std::numeric_limits<std::uint32_t>::max();
  class End;

  // The version is there already, where the program put it.
  static bool at_hand(const Block& block, std::uint32_t version);
  bool is_boundary(const Read& read) const;
  void need(Block& block, std::uint32_t version);
  void collect(std::span<Block* const> targets);
  void replay_all();
  void replay(Node& node);
  void end();
  void allocate_for(Node& node);
  void publish(Node& node);
  void take(Write& write, c10::DataPtr memory);
  void advance(Block& block, std::uint32_t version);
  void discard(Block& block);
  void publish_later(Block& block);
  void account(Node& node);
  void retire(Work& work);
  void leave(Block& block);
  void finish_published();

  // StorageSource, for the node that runs now.
  c10::Storage storage(Use use, std::uint16_t reference) override;
  [[nodiscard]] at::Generator generator() const override;

  Engine& engine_;
  std::vector<Work> works_;
  std::vector<Node*> nodes_;   // to replay; in original order after collect()
  std::vector<Node*> search_;  // whose reads have not been looked at
  std::vector<Block*> published_;
  torch::jit::Stack stack_;  // arguments, then results, of the node that runs now
  std::size_t done_ = 0;
  Node* running_ = nullptr;
  Block* lost_ = nullptr;
};

}  // namespace neap::engine
