// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The sizes and times of blocks, counted operator by operator.
#include "planner/blocks.h"

#include <algorithm>
#include <numeric>

namespace neap::planner {
namespace {

std::size_t at(Index i) { return static_cast<std::size_t>(i); }

std::int64_t bytes_of(const Program& program, const std::vector<Index>& storages) {
  std::int64_t sum = 0;
  for (const Index storage : storages) sum += program.storage(storage).bytes;
  return sum;
}

}  // namespace

// Bytes while a block runs forward or backward, without what other blocks made.
class Blocks::Profile {
 public:
  Profile(const Blocks& blocks, Restoration& restoration)
      : blocks_(blocks),
        replays_(blocks.replays_),
        program_(blocks.program_),
        pass_(blocks.pass_),
        restoration_(restoration),
        lives_(at(program_.storages()), false),
        last_(at(program_.storages()), 0),
        gradients_(at(pass_.last() - pass_.turn()) + 1, 0) {
    for (Index op = pass_.turn(); op < pass_.last(); ++op) {
      for (const Index storage : program_.makes(op)) {
        const auto users = program_.users(storage);
        const Index end = program_.storage(storage).keep ? graph::kNever
                          : users.empty()                ? op
                                                         : users.back();
        gradients_[at(op + 1 - pass_.turn())] += program_.storage(storage).bytes;
        if (end < pass_.last()) {
          gradients_[at(end + 1 - pass_.turn())] -= program_.storage(storage).bytes;
        }
      }
    }
    std::inclusive_scan(gradients_.begin(), gradients_.end(), gradients_.begin());
  }

  // Bytes that the backward made before `op` and still needs.
  [[nodiscard]] std::int64_t gradients(Index op) const {
    return gradients_[at(std::min(op, pass_.last()) - pass_.turn())];
  }

  // The most bytes while the block runs and `kept` stays.
  std::int64_t forward(const Block& block, const std::vector<Index>& kept) {
    for (const Index storage : kept) lives_[at(storage)] = true;
    std::int64_t now = 0;
    std::int64_t most = 0;
    for (Index op = block.first; op < block.last; ++op) {
      for (const Index storage : program_.makes(op)) {
        if (blocks_.is_near(storage)) now += program_.storage(storage).bytes;
      }
      most = std::max(most, now + program_.op(op).workspace);
      const auto end = [&](Index storage) {
        if (lives_[at(storage)] || !blocks_.is_of(block, storage)) return;
        if (pass_.uses(storage).last_forward == op) now -= program_.storage(storage).bytes;
      };
      for (const graph::Content& need : program_.needs(op)) end(need.storage);
      for (const Index storage : program_.makes(op)) end(storage);
    }
    for (const Index storage : kept) lives_[at(storage)] = false;
    return most;
  }

  struct Backward {
    std::int64_t most;
    std::int64_t ns;  // with reruns
  };
  // The backward of the block, with `kept` resident.
  Backward backward(const Block& block, const Option& option) {
    restoration_.clear();
    now_ = 0;
    for (const Index storage : block.own) restoration_.set(storage, false);
    for (const Index storage : option.kept) {
      restoration_.set(storage, true);
      if (pass_.is_saved(storage)) come(storage);
    }
    Backward result{now_ + gradients(block.back), 0};
    go_back(block, option, result);
    return result;
  }

  // The same, after a rerun that makes what is kept, as far as the backward needs it.
  Backward again(const Block& block, const Option& option) {
    restoration_.clear();
    now_ = 0;
    for (const Index storage : block.own) restoration_.set(storage, false);
    std::vector<Index> wanted;
    for (const Index storage : option.kept) {
      if (blocks_.is_needed(block, storage)) wanted.push_back(storage);
    }
    Backward result{gradients(block.back), 0};
    const auto none = [](Index) { return false; };
    rerun(restoration_.bring(wanted, block.back, none), block.back, result);
    go_back(block, option, result);
    return result;
  }

 private:
  [[nodiscard]] bool is_own(Index storage, const Block& block) const {
    return pass_.is_saved(storage) && blocks_.is_of(block, storage);
  }
  void come(Index storage) {
    if (lives_[at(storage)]) return;
    lives_[at(storage)] = true;
    now_ += program_.storage(storage).bytes;
  }
  void go(Index storage) {
    if (!lives_[at(storage)]) return;
    lives_[at(storage)] = false;
    now_ -= program_.storage(storage).bytes;
  }

  void go_back(const Block& block, const Option& option, Backward& result) {
    std::vector<Index> needs;
    for (Index op = block.back; op < block.over; ++op) {
      needs.clear();
      for (const graph::Content& need : program_.needs(op)) needs.push_back(need.storage);
      const auto reruns = restoration_.bring(needs, op, [&](Index storage) {
        return !option.frugal && is_own(storage, block) && pass_.uses(storage).last_backward >= op;
      });
      rerun(reruns, op, result);
      const std::int64_t own = program_.op(op).makes_bytes + program_.op(op).workspace;
      result.most = std::max(result.most, now_ + gradients(op) + own);
      result.ns += program_.op(op).ns;
      for (const Index need : needs) {
        if (is_own(need, block) && pass_.uses(need).last_backward == op) go(need);
      }
    }
    for (const Index storage : block.own) {
      go(storage);
      restoration_.set(storage, true);
    }
  }

  void rerun(std::span<const GroupRerun> reruns, Index stage, Backward& result) {
    std::vector<Index> ops;
    for (const GroupRerun one : reruns) {
      const auto group = replays_.operators(one.group, stage);
      ops.insert(ops.end(), group.begin(), group.end());
    }
    std::ranges::sort(ops);
    for (const Index op : ops) {
      for (const graph::Content& need : program_.needs(op)) last_[at(need.storage)] = op;
    }
    for (const Index op : ops) {
      for (const Index storage : program_.makes(op)) come(storage);
      result.most = std::max(result.most, now_ + gradients(stage) + program_.op(op).workspace);
      result.ns += program_.op(op).ns;
      const auto end = [&](Index storage) {
        const bool stays = restoration_.is_there(storage) || last_[at(storage)] > op;
        if (!stays) go(storage);
      };
      for (const graph::Content& need : program_.needs(op)) end(need.storage);
      for (const Index storage : program_.makes(op)) end(storage);
    }
    for (const Index op : ops) {
      for (const graph::Content& need : program_.needs(op)) last_[at(need.storage)] = 0;
    }
  }

  const Blocks& blocks_;
  const Replays& replays_;
  const Program& program_;
  const Pass& pass_;
  Restoration& restoration_;
  std::vector<bool> lives_;
  std::vector<Index> last_;  // the last operator of the current rerun that needs it
  std::vector<std::int64_t> gradients_;
  std::int64_t now_ = 0;
};

ChainStage Blocks::measure(const Block& block, Profile& profile) const {
  ChainStage stage{.output = bytes_of(program_, block.outputs),
                   .gradient = profile.gradients(block.back)};
  for (Index op = block.first; op < block.last; ++op) stage.ns += program_.op(op).ns;
  std::vector<Index> crossing;
  for (const Index storage : block.outputs) {
    // Earlier values that share it, back to the block that made it.
    const std::size_t earlier = block_of(block.first) - block_of(pass_.uses(storage).made);
    if (earlier == 0) crossing.push_back(storage);
    if (stage.shared.size() < earlier) stage.shared.resize(earlier, 0);
    for (std::size_t i = 0; i < earlier; ++i) {
      stage.shared[i] += program_.storage(storage).bytes;
    }
  }
  stage.forward =
      std::max<std::int64_t>(0, profile.forward(block, crossing) - bytes_of(program_, crossing));
  for (const Option& option : block.options) {
    const std::int64_t bytes = bytes_of(program_, option.kept);
    const Profile::Backward backward = profile.backward(block, option);
    const Profile::Backward again = profile.again(block, option);
    stage.options.push_back(
        {.kept = bytes,
         .backward_ns = backward.ns,
         .forward = std::max<std::int64_t>(0, profile.forward(block, option.kept) - bytes),
         .backward = std::max<std::int64_t>(0, backward.most - bytes - stage.gradient),
         .again_ns = again.ns,
         .again = std::max<std::int64_t>(0, again.most - stage.gradient)});
  }
  return stage;
}

std::vector<ChainStage> Blocks::measure() const {
  std::vector<ChainStage> chain;
  Restoration restoration(replays_);
  Profile profile(*this, restoration);
  for (const Block& block : blocks_) chain.push_back(measure(block, profile));
  return chain;
}

}  // namespace neap::planner
