// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/certain.h: what is resident at a moment in every plan of a trace. The lower bounds start
// from it.
//
// Note [Certain]
// Moment t is the run of operator t: every plan has it once, after the runs of all operators before
// it. Moment operators() is the end. Resident at a moment are:
//   * given storages that have arrived and are not released, or are kept;
//   * what operator t needs, what it makes, and the larger of its workspace and what arrives right
//     after it, before anything may be freed;
//   * what the program needs later and nothing can restore: to restore it after t, its maker and
//     every writer before t must run again after t, and one of them never does, or reads a given
//     storage at a version that was overwritten.
// The rest of what the program needs later is resident, or its maker and its writers before t run
// again after t and before that use. What these read is in turn resident at moment t, or its maker
// runs again after t. A given storage that was freed cannot be restored, so it is resident. Nothing
// is assumed about the order or the place of reruns, nor about the version of a resident storage:
// any version counts as usable.
//
// With a tier, any storage may be away while no operator needs it: nothing of the first kind and
// the third is resident then, but what is held before the first operator and at the end. What the
// program needs later is resident, or made again after t, or loaded after t.
#pragma once

#include "planner/replays.h"

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace neap::planner {

// The facts of the note for each storage and each moment, without what reruns read.
class Certain {
 public:
  explicit Certain(const Replays& replays);

  [[nodiscard]] const Program& program() const { return program_; }
  [[nodiscard]] Index end() const { return program_.operators(); }
  // Bytes resident at the moment; kNone: before the first.
  [[nodiscard]] std::int64_t bytes(Index moment) const { return bytes_[at(moment + 1)]; }
  // Roughly what the program needs later. Not a bound.
  [[nodiscard]] std::int64_t needed(Index moment) const { return needed_[at(moment)]; }
  // Resident for one of the reasons above, whether or not the operator of the moment needs it.
  [[nodiscard]] bool pinned(Index storage, Index moment) const {
    return pinned_[at(storage)].first <= moment && moment <= pinned_[at(storage)].second;
  }
  // The first operator after the moment that needs it; end(): it is kept, or with a tier, held at
  // the end; kNever: none does.
  [[nodiscard]] Index next_use(Index storage, Index moment) const;
  // The writers that must run again, after its maker, when the storage is not resident. `needed`:
  // the program needs it later, and so at the version of the moment. Otherwise only reruns read it,
  // at any version, and the oldest is assumed.
  [[nodiscard]] std::span<const Index> writers(Index storage, Index moment, bool needed) const {
    const Index count = needed ? replays_.version_at(storage, moment) : oldest_[at(storage)];
    return program_.writers(storage).first(at(count));
  }
  // The maker or one of those writers cannot run after the moment.
  [[nodiscard]] bool lost(Index storage, Index moment, bool needed) const {
    return (needed ? lost_ : lost_at_oldest_)[at(storage)] <= moment;
  }
  [[nodiscard]] bool may_run_after(Index op, Index moment) const {
    return moment < last_moments_[at(op)];
  }

 private:
  static std::size_t at(Index i) { return static_cast<std::size_t>(i); }
  [[nodiscard]] Index last_moment(Index op) const;
  [[nodiscard]] Index oldest(Index storage) const;
  [[nodiscard]] bool is_held_at_end(Index storage) const;
  void sum();

  const Replays& replays_;
  const Program& program_;
  std::vector<Index> last_moments_;  // by operator: the moment from which it cannot run again
  std::vector<Index> oldest_;        // version
  std::vector<Index> lost_;          // by storage: the first such moment
  std::vector<Index> lost_at_oldest_;
  std::vector<std::pair<Index, Index>> pinned_;  // first and last moment
  std::vector<std::int64_t> bytes_;
  std::vector<std::int64_t> needed_;
};

}  // namespace neap::planner
