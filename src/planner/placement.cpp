// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Note [Placement]
// Offsets for stays of known begin and end are the problem of dynamic storage allocation, which is
// NP-hard. A lower bound is the largest sum of what exists at once. The stays placed so far form a
// skyline over time. Its lowest piece gets the heaviest stay that lies within the time of that
// piece. When there is none, the piece is raised to its lower neighbour (Sekiyama, Imamichi, Imai
// and Raymond, arXiv 1804.10001, where the longest stay goes first). Here a weight is the logarithm
// of the bytes times a power of the length. Each try changes the best weights so far: stays that
// stand out above the bound get heavier, which is squeaky wheel optimization (Joslin and Clements,
// AAAI-98), and a few others change at random. When that no longer helps, it starts anew. Half of
// the work goes into the best of these starts.
#include "graph/program.h"

#include <neap/planner.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <set>

namespace neap::planner {
namespace {

using graph::Index;
using graph::kNone;

// In moments: the operator of step s runs at 2s, and has run at 2s + 1.
struct Life {
  std::int64_t begin;
  std::int64_t end;  // the first moment without it
  std::int64_t bytes;
};

struct Stays {
  std::vector<Stay> stays;
  std::vector<Life> lives;  // parallel to `stays`, sorted by begin
};

class Reading {
 public:
  Reading(const graph::Trace& trace, const graph::Plan& plan)
      : program_(trace), open_(static_cast<std::size_t>(program_.storages()), kNone) {
    arrive(kNone, -1, -1);
    for (const graph::Step& step : plan.steps) {
      switch (step.action) {
        case graph::Step::Action::Run:
        case graph::Step::Action::Rerun:
          run(static_cast<Index>(step.target), step.action == graph::Step::Action::Run);
          break;
        case graph::Step::Action::Free:
          close(program_.index_of(step.target));
          break;
        case graph::Step::Action::Offload:
          break;
        case graph::Step::Action::Load:
          open(program_.index_of(step.target), step_, 2 * step_);
          break;
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
      } else if (made.bytes > 0) {  // a second copy until the operator ends
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

// The largest sum of what exists at once.
std::int64_t load_of(const std::vector<Life>& lives) {
  std::vector<std::pair<std::int64_t, std::int64_t>> changes;
  for (const Life& life : lives) {
    changes.emplace_back(life.begin, life.bytes);
    changes.emplace_back(life.end, -life.bytes);
  }
  std::ranges::sort(changes);  // at one moment, ends come first
  std::int64_t load = 0, most = 0;
  for (const auto& change : changes) most = std::max(most, load += change.second);
  return most;
}

struct Offsets {
  std::vector<std::int64_t> at;
  std::int64_t arena = 0;
};

// Best fit, in order of time. Cost: count * log(count).
Offsets as_they_come(const std::vector<Life>& lives) {
  Offsets offsets{std::vector<std::int64_t>(lives.size())};
  std::map<std::int64_t, std::int64_t> holes;  // by offset; the last one is endless
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

// Builds placements from weights. Cost of one: for each stay, the number of stays that begin in its
// piece.
class Skyline {
 public:
  // REQUIRES: `lives` is sorted by begin. Stops after `limit` looks at stays and pieces.
  Skyline(const std::vector<Life>& lives, std::int64_t limit) : lives_(lives), left_(limit) {
    for (const Life& life : lives) {
      begins_.push_back(life.begin);
      last_ = std::max(last_, life.end);
    }
  }

  std::int64_t left() const { return left_; }

  // Incomplete when the limit is reached.
  Offsets place(const std::vector<double>& weights) {
    constexpr std::int64_t kPlacing = 200'000;  // at least, so that tries of few stays end too
    left_ -= kPlacing;
    ends_.clear();
    for (const Life& life : lives_) ends_.push_back(life.bytes > 0 ? life.end : kPlaced);
    pieces_ = {{begins_.front(), last_, 0}};
    Offsets offsets{std::vector<std::int64_t>(lives_.size())};
    while (left_ > 0) {
      const auto lowest = std::ranges::min_element(pieces_, {}, &Piece::height);
      left_ -= std::ssize(pieces_);
      const std::size_t next = heaviest_within(*lowest, weights);
      if (next != lives_.size()) {
        offsets.at[next] = lowest->height;
        offsets.arena = std::max(offsets.arena, lowest->height + lives_[next].bytes);
        ends_[next] = kPlaced;
        put(lowest - pieces_.begin(), lives_[next]);
      } else if (pieces_.size() > 1) {
        fill(lowest - pieces_.begin());
      } else {
        return offsets;
      }
    }
    return offsets;
  }

 private:
  static constexpr std::int64_t kPlaced = std::numeric_limits<std::int64_t>::max();

  struct Piece {
    std::int64_t begin, end, height;
  };

  std::size_t heaviest_within(const Piece& piece, const std::vector<double>& weights) {
    const auto from = std::ranges::lower_bound(begins_, piece.begin) - begins_.begin();
    const auto to = std::ranges::lower_bound(begins_, piece.end) - begins_.begin();
    left_ -= to - from;
    std::size_t heaviest = lives_.size();
    double most = -std::numeric_limits<double>::infinity();
    for (auto i = static_cast<std::size_t>(from); i < static_cast<std::size_t>(to); ++i) {
      if (ends_[i] > piece.end || weights[i] <= most) continue;
      most = weights[i];
      heaviest = i;
    }
    return heaviest;
  }

  void put(std::ptrdiff_t at, const Life& life) {
    Piece& piece = pieces_[static_cast<std::size_t>(at)];
    const Piece whole = piece;
    piece = {life.begin, life.end, whole.height + life.bytes};
    if (life.end < whole.end) {
      pieces_.insert(pieces_.begin() + at + 1, {life.end, whole.end, whole.height});
    }
    if (whole.begin < life.begin) {
      pieces_.insert(pieces_.begin() + at++, {whole.begin, life.begin, whole.height});
    }
    join(at);
  }

  void fill(std::ptrdiff_t at) {
    std::int64_t height = kPlaced;
    if (at > 0) height = pieces_[static_cast<std::size_t>(at - 1)].height;
    if (at + 1 < std::ssize(pieces_)) {
      height = std::min(height, pieces_[static_cast<std::size_t>(at + 1)].height);
    }
    pieces_[static_cast<std::size_t>(at)].height = height;
    join(at);
  }

  // Merges with neighbours of the same height.
  void join(std::ptrdiff_t at) {
    const auto piece = pieces_.begin() + at;
    const auto after = piece + 1;
    if (after != pieces_.end() && after->height == piece->height) {
      piece->end = after->end;
      pieces_.erase(after);
    }
    if (at > 0 && (piece - 1)->height == piece->height) {
      (piece - 1)->end = piece->end;
      pieces_.erase(piece);
    }
  }

  const std::vector<Life>& lives_;
  std::vector<std::int64_t> begins_;
  std::vector<std::int64_t> ends_;  // kPlaced: it has been placed
  std::vector<Piece> pieces_;       // by begin; neighbours differ in height
  std::int64_t last_ = 0;
  std::int64_t left_;
};

// Tries many orders of placing. Each order comes of a weight for each life; a climb changes the
// weights at random and keeps what does not raise the arena.
class Tries {
 public:
  Tries(const std::vector<Life>& lives, std::int64_t bound)
      : lives_(lives), bound_(bound), skyline_(lives, kLimit), best_(as_they_come(lives)) {}

  // The first half of the time goes to climbs from new weights, the rest to the best of them.
  Offsets best() {
    for (int start = 0; !is_done(kLimit / 2); ++start) {
      climb(start_weights(start), kPatience, kLimit / 2);
    }
    if (!best_weights_.empty()) climb(best_weights_, std::numeric_limits<int>::max(), 0);
    return best_;
  }

 private:
  static constexpr std::int64_t kLimit = 2'000'000'000;  // about two seconds
  static constexpr int kPatience = 50;                   // tries without an improvement

  double uniform() { return static_cast<double>(random_() >> 11U) * 0x1p-53; }
  double either_way() { return 2 * uniform() - 1; }
  // `leave`: of the limit, for later.
  [[nodiscard]] bool is_done(std::int64_t leave) const {
    return best_.arena <= bound_ + bound_ / 1000 || skyline_.left() <= leave;
  }

  // Large and long lives first: their product, or with the time squared.
  std::vector<double> start_weights(int start) {
    std::vector<double> weights;
    for (const Life& life : lives_) {
      weights.push_back(std::log(life.bytes) +
                        (start % 2 == 0 ? 2 : 1) * std::log(life.end - life.begin) +
                        (start < 2 ? 0 : either_way() / 2));
    }
    return weights;
  }

  void climb(std::vector<double> weights, int patience, std::int64_t leave) {
    std::vector<double> tried = weights;
    std::int64_t least = std::numeric_limits<std::int64_t>::max();
    for (int since = 0; since < patience && !is_done(leave); ++since) {
      const Offsets found = skyline_.place(tried);
      if (skyline_.left() <= 0) return;
      keep_if_better(found, tried);
      if (found.arena < least) since = 0;
      if (found.arena <= least) {
        least = found.arena;
        weights = tried;
      }
      tried = weights;
      change(tried, found);
    }
  }

  void keep_if_better(const Offsets& found, const std::vector<double>& weights) {
    if (found.arena < best_.arena) best_ = found;
    if (found.arena >= least_by_weights_) return;
    least_by_weights_ = found.arena;
    best_weights_ = weights;
  }

  // Raises the weights of some of what lies above a random height, so that it is placed earlier.
  void change(std::vector<double>& weights, const Offsets& found) {
    const double above =
        static_cast<double>(bound_) + uniform() * static_cast<double>(found.arena - bound_);
    for (std::size_t i = 0; i < weights.size(); ++i) {
      if (static_cast<double>(found.at[i] + lives_[i].bytes) > above && random_() % 4 == 0) {
        weights[i] += uniform();
      } else if (random_() % 32 == 0) {
        weights[i] += either_way();
      }
    }
  }

  const std::vector<Life>& lives_;
  std::int64_t bound_;
  Skyline skyline_;
  std::mt19937_64 random_{1};
  Offsets best_;
  std::vector<double> best_weights_;
  std::int64_t least_by_weights_ = std::numeric_limits<std::int64_t>::max();
};

}  // namespace

Placement place(const graph::Trace& trace, const graph::Plan& plan) {
  graph::simulate(trace, plan);
  Stays read = Reading(trace, plan).take();
  const Offsets offsets = Tries(read.lives, load_of(read.lives)).best();
  Placement placement{Bytes(offsets.arena), std::move(read.stays)};
  for (std::size_t i = 0; i < placement.stays.size(); ++i) {
    placement.stays[i].offset = offsets.at[i];
  }
  return placement;
}

}  // namespace neap::planner
