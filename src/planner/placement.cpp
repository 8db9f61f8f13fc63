// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Note [Placement]
// Offsets for stays of known begin and end are dynamic storage allocation, which is NP-hard; here the bound, the largest sum of what
// is there at once, is nearly reached by taking stays in a good order and each into the lowest hole between what is there at the
// same time and has its place. What then stands out above the bound is taken earlier in the next try: squeaky wheel optimization (Joslin
// and Clements, AAAI-98).
#include "graph/program.h"

#include <neap/planner.h>

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <set>

namespace neap::planner {
namespace {

using graph::Index;
using graph::kNone;

// In moments: an operator of step s runs in 2s, and in 2s + 1 it has run.
struct Life {
  std::int64_t begin;
  std::int64_t end;  // the first moment without it
  std::int64_t bytes;
};

struct Stays {
  std::vector<Stay> stays;
  std::vector<Life> lives;
};

class Reading {
 public:
  Reading(const graph::Trace& trace, const graph::Plan& plan)
      : program_(trace), open_(static_cast<std::size_t>(program_.storages()), kNone) {
    arrive(kNone, -1, -1);
    for (const graph::Step& step : plan.steps) {
      if (step.action == graph::Step::Action::Free) {
        close(program_.index_of(step.target));
      } else {
        run(static_cast<Index>(step.target), step.action == graph::Step::Action::Run);
      }
      ++step_;
    }
    for (Index storage = 0; storage < program_.storages(); ++storage) close(storage);
  }

  Stays take() { return std::move(stays_); }

 private:
  void run(Index op, bool first) {
    const graph::Program::Op& flat = program_.op(op);
    if (flat.workspace > 0) add(-1, flat.workspace, step_, 2 * step_, 2 * step_ + 1);
    for (const Index storage : program_.makes(op)) {
      const graph::Program::Storage& made = program_.storage(storage);
      if (open_[static_cast<std::size_t>(storage)] == kNone) {
        open(storage, step_, 2 * step_);
      } else if (made.bytes > 0) {  // a second copy until it ends
        add(made.id, made.bytes, step_, 2 * step_, 2 * step_ + 1);
      }
    }
    if (first) arrive(op, step_, 2 * step_ + 1);
  }

  void arrive(Index op, std::int64_t step, std::int64_t moment) {
    for (const Index storage : program_.arrivals(op)) open(storage, step, moment);
  }

  void open(Index storage, std::int64_t step, std::int64_t moment) {
    const graph::Program::Storage& one = program_.storage(storage);
    open_[static_cast<std::size_t>(storage)] = static_cast<Index>(stays_.stays.size());
    add(one.id, one.bytes, step, moment, 0);
  }

  void close(Index storage) {
    Index& at = open_[static_cast<std::size_t>(storage)];
    if (at == kNone) return;
    stays_.stays[static_cast<std::size_t>(at)].until = step_;
    stays_.lives[static_cast<std::size_t>(at)].end = 2 * step_;
    at = kNone;
  }

  void add(graph::StorageId id, std::int64_t bytes, std::int64_t step, std::int64_t begin,
           std::int64_t end) {
    stays_.stays.push_back({id, step, step + 1, 0, bytes});
    stays_.lives.push_back(
        {begin, end,
         (bytes + kPlacementAlignment - 1) / kPlacementAlignment * kPlacementAlignment});
  }

  graph::Program program_;
  std::vector<Index> open_;  // by storage: its stay
  Stays stays_;
  std::int64_t step_ = 0;
};

// The largest sum of what is there at once.
std::int64_t load_of(const std::vector<Life>& lives) {
  std::vector<std::pair<std::int64_t, std::int64_t>> changes;
  for (const Life& life : lives) {
    changes.emplace_back(life.begin, life.bytes);
    changes.emplace_back(life.end, -life.bytes);
  }
  std::ranges::sort(changes);  // at one moment, what goes first
  std::int64_t load = 0, most = 0;
  for (const auto& change : changes) most = std::max(most, load += change.second);
  return most;
}

using Order = std::vector<std::uint32_t>;

struct Offsets {
  std::vector<std::int64_t> at;
  std::int64_t arena = 0;
};

// Each into the lowest hole that takes it. Cost: quadratic, half a nanosecond a pair.
Offsets in_holes(const std::vector<Life>& lives, const Order& order) {
  struct Taken {
    std::int64_t offset, top, begin, end;
  };
  std::vector<Taken> taken;  // by offset
  taken.reserve(lives.size());
  Offsets offsets{std::vector<std::int64_t>(lives.size())};
  for (const std::uint32_t i : order) {
    const Life& life = lives[i];
    std::int64_t offset = 0;
    for (const Taken& one : taken) {
      if (one.begin >= life.end || one.end <= life.begin) continue;
      if (one.offset - offset >= life.bytes) break;
      offset = std::max(offset, one.top);
    }
    const Taken mine{offset, offset + life.bytes, life.begin, life.end};
    taken.insert(std::ranges::upper_bound(taken, offset, {}, &Taken::offset), mine);
    offsets.at[i] = offset;
    offsets.arena = std::max(offsets.arena, mine.top);
  }
  return offsets;
}

// As they come, each into the smallest hole that there is then. Cost: count * log(count).
Offsets as_they_come(const std::vector<Life>& lives) {
  Offsets offsets{std::vector<std::int64_t>(lives.size())};
  std::map<std::int64_t, std::int64_t> holes;  // by offset; the last one has no end
  std::set<std::pair<std::int64_t, std::int64_t>> by_size;
  const auto add = [&](std::int64_t offset, std::int64_t bytes) {
    holes.emplace(offset, bytes);
    by_size.emplace(bytes, offset);
  };
  const auto remove = [&](std::map<std::int64_t, std::int64_t>::iterator hole) {
    by_size.erase({hole->second, hole->first});
    return holes.erase(hole);
  };
  constexpr std::int64_t kEndless = std::numeric_limits<std::int64_t>::max() / 2;
  add(0, kEndless);
  struct Change {
    std::int64_t moment;
    bool begins;
    std::size_t life;
    auto operator<=>(const Change&) const = default;
  };
  std::vector<Change> changes;
  for (std::size_t i = 0; i < lives.size(); ++i) {
    if (lives[i].bytes == 0) continue;
    changes.push_back({lives[i].begin, true, i});
    changes.push_back({lives[i].end, false, i});
  }
  std::ranges::sort(changes);
  for (const Change& change : changes) {
    const std::int64_t bytes = lives[change.life].bytes;
    std::int64_t& offset = offsets.at[change.life];
    if (change.begins) {
      const auto hole = holes.find(by_size.lower_bound({bytes, 0})->second);
      const auto [at, size] = *hole;
      remove(hole);
      if (size > bytes) add(at + bytes, size - bytes);
      offset = at;
      offsets.arena = std::max(offsets.arena, at + bytes);
      continue;
    }
    std::int64_t begin = offset, end = offset + bytes;
    auto next = holes.lower_bound(begin);
    if (next != holes.end() && next->first == end) {
      end += next->second;
      next = remove(next);
    }
    if (next != holes.begin() && std::prev(next)->first + std::prev(next)->second == begin) {
      begin = std::prev(next)->first;
      remove(std::prev(next));
    }
    add(begin, end - begin);
  }
  return offsets;
}

template <class Key>
Order order_by(const std::vector<Life>& lives, Key key) {
  Order order(lives.size());
  std::iota(order.begin(), order.end(), 0U);
  std::ranges::stable_sort(order, std::ranges::greater{},
                           [&](std::uint32_t i) { return key(lives[i]); });
  return order;
}

Offsets best_of_tries(const std::vector<Life>& lives, std::int64_t bound) {
  Offsets best = as_they_come(lives);
  constexpr double kPairs = 5e8;  // a second or so for each order
  const auto count = static_cast<double>(lives.size());
  const int tries = static_cast<int>(std::min(kPairs / (count * count), 2000.0));
  const auto length = [](const Life& life) { return life.end - life.begin; };
  const std::vector<Order> begun = {
      order_by(lives, [](const Life& life) { return life.bytes; }),
      order_by(lives,
               [&](const Life& life) {
                 return static_cast<double>(life.bytes) * static_cast<double>(length(life));
               }),
      order_by(lives, length),
  };
  std::mt19937_64 random(1);
  constexpr int kAway = 32;  // tries until it goes on from the best order again
  for (Order order : begun) {
    Order best_order;
    std::int64_t least = std::numeric_limits<std::int64_t>::max();
    for (int i = 0; i < tries; ++i) {
      const Offsets found = in_holes(lives, order);
      if (found.arena < best.arena) best = found;
      if (best.arena <= bound + bound / 1000) return best;
      if (found.arena < least) {
        least = found.arena;
        best_order = order;
      }
      // Not always all that stands out: the same order would come again and again.
      const std::int64_t above =
          bound +
          static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(found.arena - bound));
      std::stable_partition(order.begin(), order.end(), [&](std::uint32_t one) {
        return found.at[one] + lives[one].bytes > above && (i % 2 == 0 || random() % 2 != 0);
      });
      if (i % kAway == kAway - 1) order = best_order;
    }
  }
  return best;
}

}  // namespace

Placement place(const graph::Trace& trace, const graph::Plan& plan) {
  graph::simulate(trace, plan);
  Stays read = Reading(trace, plan).take();
  const Offsets offsets = best_of_tries(read.lives, load_of(read.lives));
  Placement placement{Bytes(offsets.arena), std::move(read.stays)};
  for (std::size_t i = 0; i < placement.stays.size(); ++i) {
    placement.stays[i].offset = offsets.at[i];
  }
  return placement;
}

}  // namespace neap::planner
