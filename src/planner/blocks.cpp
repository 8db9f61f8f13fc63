// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "planner/blocks.h"

#include <algorithm>
#include <utility>

namespace neap::planner {
namespace {

std::size_t at(Index i) { return static_cast<std::size_t>(i); }

// With more units, frugal options cost far more than further cuts would.
constexpr std::size_t kFrugalUnits = 64;

}  // namespace

Blocks::Blocks(const Replays& replays, const Pass& pass, const std::vector<Index>& cuts,
               std::int64_t far, const Choice& choice)
    : replays_(replays), program_(replays.program()), pass_(pass), far_(far) {
  Index first = pass.first();
  for (std::size_t i = 0; i <= cuts.size(); ++i) {
    const Index last = i < cuts.size() ? cuts[i] : pass.turn();
    block_of_.insert(block_of_.end(), at(last - first), i);
    blocks_.push_back({first, last});
    first = last;
  }
  sort_storages();
  find_backwards();
  Restoration restoration(replays);
  for (Block& block : blocks_) find_options(block, choice, restoration);
}

void Blocks::sort_storages() {
  for (Index storage = pass_.first_storage(); storage < pass_.last_storage(); ++storage) {
    if (!is_near(storage)) continue;
    const Pass::Uses& uses = pass_.uses(storage);
    const std::size_t made = block_of(uses.made);
    blocks_[made].own.push_back(storage);
    for (std::size_t i = made; i < block_of(uses.last_forward); ++i) {
      blocks_[i].outputs.push_back(storage);
    }
  }
}

// For each storage that a backward operator needs, the operator belongs to the block that last read
// the storage in the forward, or to an earlier block.
void Blocks::find_backwards() {
  std::vector<Index> begins(blocks_.size(), pass_.last());
  for (Index op = pass_.turn(); op < pass_.last(); ++op) {
    for (const graph::Content& need : program_.needs(op)) {
      const auto users = program_.users(need.storage);
      const auto next = std::ranges::lower_bound(users, pass_.turn());
      Index read = next == users.begin() ? kNone : *(next - 1);
      read = std::max(read, program_.storage(need.storage).maker);
      if (read < pass_.first() || read >= pass_.turn()) continue;
      Index& begin = begins[block_of(read)];
      begin = std::min(begin, op);
    }
  }
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    if (i > 0) begins[i] = std::min(begins[i], begins[i - 1]);
    blocks_[i].back = i + 1 < blocks_.size() ? begins[i] : pass_.turn();
    blocks_[i].over = i == 0 ? pass_.last() : blocks_[i - 1].back;
  }
}

std::vector<Blocks::Unit> Blocks::units_of(const Block& block, Restoration& restoration) const {
  std::vector<Unit> units;
  for (const Index storage : block.own) {
    const bool saved = pass_.is_saved(storage);
    restoration.set(storage, saved || crosses(block, storage));
    if (!saved || crosses(block, storage)) continue;
    const Index group = replays_.group_of(pass_.uses(storage).made);
    if (units.empty() || units.back().group != group) units.push_back({group, 0, 0, {}});
    units.back().bytes += program_.storage(storage).bytes;
    units.back().storages.push_back(storage);
  }
  // The price of each, as if the others were kept.
  const auto none = [](Index) { return false; };
  for (Unit& unit : units) {
    restoration.clear();
    for (const Index storage : unit.storages) restoration.set(storage, false);
    std::int64_t ns = 0;
    for (const GroupRerun one : restoration.bring(unit.storages, block.back, none)) {
      ns += replays_.ns(one.group, block.back);
    }
    unit.price = static_cast<double>(ns) / static_cast<double>(unit.bytes + 1);
  }
  for (const Index storage : block.own) restoration.set(storage, true);
  std::ranges::stable_sort(units, {}, &Unit::price);
  return units;
}

void Blocks::find_options(Block& block, const Choice& choice, Restoration& restoration) const {
  const std::vector<Unit> units = units_of(block, restoration);
  std::int64_t droppable = 0;
  for (const Unit& unit : units) droppable += unit.bytes;
  std::vector<Index> crossing;
  for (const Index storage : block.own) {
    if (crosses(block, storage)) crossing.push_back(storage);
  }
  std::int64_t dropped = 0;
  std::size_t next = 0;
  for (std::size_t level = 0; level < choice.levels; ++level) {
    const std::int64_t goal =
        droppable * static_cast<std::int64_t>(level) / static_cast<std::int64_t>(choice.levels - 1);
    const std::size_t before = next;
    while (next < units.size() && dropped < goal) dropped += units[next++].bytes;
    if (level > 0 && next == before) continue;
    std::vector<Index> kept = crossing;
    for (std::size_t i = next; i < units.size(); ++i) {
      kept.insert(kept.end(), units[i].storages.begin(), units[i].storages.end());
    }
    const bool frugal = level > 0 && choice.frugal && units.size() <= kFrugalUnits;
    if (frugal) block.options.push_back({kept, true});
    block.options.push_back({std::move(kept), false});
  }
}

// Tracks what is resident while the steps of the chain are taken.
class Blocks::Walk {
 public:
  Walk(const Blocks& blocks, Restoration& restoration)
      : blocks_(blocks),
        restoration_(restoration),
        holders_(blocks.pass_.storages(), 0),
        holds_input_(blocks.blocks_.size(), false),
        saved_(blocks.blocks_.size(), kNone) {
    restoration_.start_anew();
    for (const Block& block : blocks_.blocks_) {
      for (const Index storage : block.own) restoration_.set(storage, false);
    }
  }

  void take(ChainStep step) {
    using Action = ChainStep::Action;
    const std::size_t i = at(step.stage);
    if (step.action == Action::Forward) return;
    if (step.action == Action::Backward) {
      go_back(i);
      return;
    }
    if (i > 0 && saved_[i - 1] == kNone && !holds_input_[i]) {
      hold(blocks_.blocks_[i - 1].outputs);
      holds_input_[i] = true;
    }
    if (step.action == Action::ForwardSaving) {
      hold(blocks_.blocks_[i].options[at(step.option)].kept);
      saved_[i] = step.option;
    }
  }

 private:
  Index& holders(Index storage) { return holders_[at(storage - blocks_.pass_.first_storage())]; }
  void hold(const std::vector<Index>& storages) {
    for (const Index storage : storages) {
      ++holders(storage);
      // In the forward its maker runs anyway.
      if (turned_) {
        wanted_.push_back(storage);
      } else {
        restoration_.set(storage, true);
      }
    }
  }
  void release(const std::vector<Index>& storages) {
    for (const Index storage : storages) {
      if (--holders(storage) == 0) restoration_.set(storage, false);
    }
  }

  void go_back(std::size_t i) {
    const Block& block = blocks_.blocks_[i];
    const Option& option = block.options[at(saved_[i])];
    turned_ = true;
    std::erase_if(wanted_, [&](Index storage) {
      return blocks_.is_of(block, storage) && !blocks_.is_needed(block, storage);
    });
    restoration_.bring(wanted_, block.back, [](Index) { return false; });
    wanted_.clear();
    for (Index op = block.back; op < block.over; ++op) {
      needs_.clear();
      for (const graph::Content& need : blocks_.program_.needs(op)) {
        needs_.push_back(need.storage);
      }
      restoration_.bring(needs_, op, [&](Index storage) {
        return !option.frugal && blocks_.pass_.is_saved(storage) && blocks_.is_of(block, storage) &&
               blocks_.pass_.uses(storage).last_backward >= op;
      });
    }
    release(option.kept);
    if (holds_input_[i]) release(blocks_.blocks_[i - 1].outputs);
    for (const Index storage : block.own) restoration_.set(storage, false);
    saved_[i] = kNone;
    holds_input_[i] = false;
  }

  const Blocks& blocks_;
  Restoration& restoration_;
  std::vector<Index> holders_;
  std::vector<bool> holds_input_;
  std::vector<Index> saved_;  // options
  std::vector<Index> wanted_, needs_;
  bool turned_ = false;
};

void Blocks::append(const std::vector<ChainStep>& steps, Restoration& restoration) const {
  Walk walk(*this, restoration);
  for (const ChainStep step : steps) walk.take(step);
}

}  // namespace neap::planner
