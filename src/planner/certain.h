// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/certain.h: what is there at a moment in every plan of a trace, whoever makes it. Lower bounds begin here.
//
// Note [Certain]
// Moment t is the run of operator t: every plan has it once, and the operators before it have run by then. Moment
// operators() is the end. What is there at a moment:
//   * given storages that have come and are not released, or are kept;
//   * what operator t needs, what it makes, and the larger of its workspace and what arrives right after it, before anything
//     may be freed;
//   * what the program needs later and nothing can bring back: to come back after t, the maker and every writer before t must
//     run again after t, and one of them never does, or reads a given storage at a version that was overwritten.
// The rest of what the program needs later is there, or its maker and its writers before t run again after t and before
// that use. What these read is in turn there at moment t, or its maker runs again after t; a given storage that is gone
// does not come back, so that one is there. Nothing is claimed of the order or the place of reruns, nor of the version at which
// a storage is there: what is there at any version counts as of use.
#pragma once

#include "planner/replays.h"

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace neap::planner {

// What the note says of each storage and each moment, but for what reruns read.
class Certain {
 public:
  explicit Certain(const Replays& replays);

  [[nodiscard]] const Program& program() const { return program_; }
  [[nodiscard]] Index end() const { return program_.operators(); }
  // There at the moment; kNone: before the first.
  [[nodiscard]] std::int64_t bytes(Index moment) const { return bytes_[at(moment + 1)]; }
  // About what the program needs later; no bound of anything.
  [[nodiscard]] std::int64_t needed(Index moment) const { return needed_[at(moment)]; }
  // One of these, whether or not the operator of the moment needs it.
  [[nodiscard]] bool pinned(Index storage, Index moment) const {
    return pinned_[at(storage)].first <= moment && moment <= pinned_[at(storage)].second;
  }
  // The operator after the moment that first needs it; end(): it is kept; kNever.
  [[nodiscard]] Index next_use(Index storage, Index moment) const;
  // What must run again when the storage is not there: its maker, and these writers. `needed`: the program needs it later, and
  // so at the version of the moment. Else only reruns ask for it, at any version that they read, and the oldest is taken.
  [[nodiscard]] std::span<const Index> writers(Index storage, Index moment, bool needed) const {
    const Index count = needed ? replays_.version_at(storage, moment) : oldest_[at(storage)];
    return program_.writers(storage).first(at(count));
  }
  // One of those cannot run after the moment.
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
  void sum();

  const Replays& replays_;
  const Program& program_;
  std::vector<Index> last_moments_;  // by operator: from that moment on it cannot run again
  std::vector<Index> oldest_;        // version
  std::vector<Index> lost_;          // from that moment on
  std::vector<Index> lost_at_oldest_;
  std::vector<std::pair<Index, Index>> pinned_;  // first and last moment
  std::vector<std::int64_t> bytes_;
  std::vector<std::int64_t> needed_;
};

}  // namespace neap::planner
