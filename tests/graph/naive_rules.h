// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/graph/naive_rules.h: a second, naive implementation of the rules of a plan. It answers
// every question anew from sets and sums. It was written from the page on the file formats alone,
// without a look at src/graph/, and is slow on purpose.
//
// Where the page leaves a choice, a comment that begins with "Reading:" says which one is taken
// here.
#pragma once

#include <neap/graph.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace neap::graph {

// Which storages are resident, at which versions, and how many operators have run for the first
// time; and the storages that have a copy in the tier, with whether it was loaded.
struct NaiveState {
  std::map<StorageId, std::int64_t> resident;
  std::int64_t runs = 0;
  std::map<StorageId, bool> copies = {};
};

// Which steps may follow a state, and with which result. REQUIRES: a valid trace, which must
// outlive it.
class NaiveRules {
 public:
  explicit NaiveRules(const Trace& trace) : trace_(trace) {
    std::int64_t before = 0;  // operators so far
    for (const Event& event : trace.events) {
      if (const auto* const given = std::get_if<Given>(&event)) {
        bytes_[given->storage] = given->bytes;
        arrives_[given->storage] = before;
      } else if (const auto* const release = std::get_if<Release>(&event)) {
        releases_[release->storage] = before;
      } else {
        const auto& op = std::get<Operator>(event);
        for (const Made& made : op.makes) {
          bytes_[made.storage] = made.bytes;
          maker_[made.storage] = before;
        }
        // Reading: "one more after each operator that mutates": one, however often an operator
        // lists the storage.
        for (const StorageId storage : written_at_first(op)) writers_[storage].push_back(before);
        operators_.push_back(op);
        ++before;
      }
    }
  }

  [[nodiscard]] NaiveState start() const {
    NaiveState state;
    arrive(state);
    return state;
  }

  // The rule that `step` would break after `state`; empty when it may follow.
  [[nodiscard]] std::string broken_by(const NaiveState& state, const Step& step) const {
    if (step.action == Step::Action::Free) return broken_by_free(state, step.target);
    if (step.action == Step::Action::Offload) return broken_by_offload(state, step.target);
    if (step.action == Step::Action::Load) {
      if (is_resident(state, step.target)) return "loads what is resident";
      return state.copies.contains(step.target) ? "" : "loads what has no copy";
    }
    if (step.action == Step::Action::Run) {
      if (step.target < 0 || step.target >= count()) return "runs an unknown operator";
      if (step.target != state.runs) return "runs out of order";
      const std::string missing = missing_for(state, step);
      return missing.empty() ? dropped_unused(state, step) : missing;
    }
    if (step.target < 0 || step.target >= count()) return "reruns an unknown operator";
    if (step.target >= state.runs) return "reruns before the first run";
    const Operator& op = at(step.target);
    if (!op.replayable) return "reruns what is not replayable";
    for (const StorageId storage : op.mutates) {
      if (arrives_.contains(storage)) return "reruns what writes a given storage";
    }
    std::string missing = missing_for(state, step);
    if (!missing.empty()) return missing;
    if (std::string unused = dropped_unused(state, step); !unused.empty()) return unused;
    for (const Made& made : op.makes) {
      if (!state.resident.contains(made.storage)) return {};
    }
    // What it mutates is a made storage, and was just found resident at the version before this
    // write. The first run has done this write before. So the storage is on its way back, and the
    // rerun brings it one version further.
    if (!op.mutates.empty()) return {};
    return "brings nothing back";
  }

  // The rule that the plan would break by ending here; empty when it may end here.
  [[nodiscard]] std::string broken_by_end(const NaiveState& state) const {
    if (state.runs < count()) return "ends before the last run";
    // Reading: what was brought back at version 0 for an old reader may also be resident at the
    // end, unless it is kept.
    for (const auto& [storage, version] : state.resident) {
      if (in_mid_chain(state, storage, version)) return "ends in the middle of a chain";
    }
    // Reading: a kept storage is at its last version, also when it was released.
    for (const StorageId storage : trace_.keep) {
      if (!is_resident(state, storage)) return "ends without a kept storage";
      if (state.resident.at(storage) != version_before(storage, count())) {
        return "ends with a kept storage at an old version";
      }
    }
    for (const auto& [storage, before] : arrives_) {
      if (!releases_.contains(storage) && !is_resident(state, storage)) {
        return "ends without a given storage";
      }
    }
    for (const auto& [storage, loaded] : state.copies) {
      if (!loaded) return "never loads a copy";
    }
    return {};
  }

  // REQUIRES: broken_by() is empty.
  [[nodiscard]] NaiveState after(NaiveState state, const Step& step) const {
    if (step.action == Step::Action::Free) {
      state.resident.erase(step.target);
      return state;
    }
    if (step.action == Step::Action::Offload) {
      state.copies[step.target] = false;
      return state;
    }
    if (step.action == Step::Action::Load) {
      state.copies.at(step.target) = true;
      state.resident[step.target] = version_before(step.target, state.runs);
      return state;
    }
    const Operator& op = at(step.target);
    const bool first = step.action == Step::Action::Run;
    // Reading: of an output that is resident already, the old copy stays at its version, because a
    // rerun is "to bring back those of its outputs that are gone".
    for (const Made& made : op.makes) state.resident.emplace(made.storage, 0);
    for (const StorageId storage : written_by(step)) {
      ++state.resident.at(storage);
      state.copies.erase(storage);
    }
    if (first) {
      ++state.runs;
      arrive(state);
    }
    return state;
  }

  [[nodiscard]] std::int64_t bytes(const NaiveState& state) const {
    std::int64_t sum = 0;
    for (const auto& [storage, version] : state.resident) sum += bytes_.at(storage);
    return sum;
  }

  // The most bytes from the beginning of `step` to the beginning of the next.
  [[nodiscard]] std::int64_t peak(const NaiveState& state, const Step& step) const {
    // Reading: what arrives late does so after the operator before it has ended. It stands beside
    // its outputs, but not beside its workspace or a second copy.
    const std::int64_t at_rest = std::max(bytes(state), bytes(after(state, step)));
    if (!runs_an_operator(step)) return at_rest;
    std::int64_t busy = bytes(state) + at(step.target).workspace;
    for (const Made& made : at(step.target).makes) busy += made.bytes;
    return std::max(at_rest, busy);
  }

  static bool runs_an_operator(const Step& step) {
    return step.action == Step::Action::Run || step.action == Step::Action::Rerun;
  }

  [[nodiscard]] std::int64_t bytes_of(StorageId storage) const { return bytes_.at(storage); }

  // What the step writes into. REQUIRES: a run or rerun.
  [[nodiscard]] std::set<StorageId> written_by(const Step& step) const {
    const Operator& op = at(step.target);
    return step.action == Step::Action::Run ? written_at_first(op) : ids(op.mutates);
  }

  // The version of `storage` after the first `operators` operators of the trace.
  [[nodiscard]] std::int64_t version_before(StorageId storage, std::int64_t operators) const {
    std::int64_t version = 0;
    for (const std::int64_t writer : writers(storage)) version += writer < operators ? 1 : 0;
    return version;
  }

  // The storages and versions that a run or rerun finds resident.
  [[nodiscard]] std::map<StorageId, std::int64_t> needs(const Step& step) const {
    const Operator& op = at(step.target);
    std::set<StorageId> used = ids(op.reads);
    used.merge(ids(op.mutates));
    // Reading: the storages of mutates_once need not be there for a rerun, not even when they are
    // in `in` too.
    for (const StorageId storage : op.mutates_once) {
      if (step.action == Step::Action::Run) used.insert(storage);
      if (step.action == Step::Action::Rerun) used.erase(storage);
    }
    std::map<StorageId, std::int64_t> needs;
    for (const StorageId storage : used) needs[storage] = version_before(storage, step.target);
    return needs;
  }

  [[nodiscard]] std::vector<std::int64_t> writers(StorageId storage) const {
    const auto at = writers_.find(storage);
    return at == writers_.end() ? std::vector<std::int64_t>{} : at->second;
  }

  // The operator that made `storage`. A given storage has none.
  [[nodiscard]] std::optional<std::int64_t> maker(StorageId storage) const {
    const auto at = maker_.find(storage);
    return at == maker_.end() ? std::nullopt : std::optional(at->second);
  }

  // Once a mutation was rerun, the rest of its chain follows first. A version above 0 that is not
  // the newest so far can only come from a rerun: a first run leaves the newest. Reading: the rest
  // of the chain is the mutations that have run so far in the plan, not those of the whole trace.
  [[nodiscard]] bool in_mid_chain(const NaiveState& state, StorageId storage,
                                  std::int64_t version) const {
    return version > 0 && version < version_before(storage, state.runs);
  }

  [[nodiscard]] std::int64_t count() const { return static_cast<std::int64_t>(operators_.size()); }
  [[nodiscard]] const Operator& at(std::int64_t index) const {
    return operators_.at(static_cast<std::size_t>(index));
  }

 private:
  static std::set<StorageId> ids(const std::vector<StorageId>& list) {
    return {list.begin(), list.end()};
  }

  static std::set<StorageId> written_at_first(const Operator& op) {
    std::set<StorageId> written = ids(op.mutates);
    written.insert(op.mutates_once.begin(), op.mutates_once.end());
    return written;
  }

  static bool is_resident(const NaiveState& state, StorageId storage) {
    return state.resident.contains(storage);
  }

  // Adds the given storages that the trace has between the operators that have run and the next.
  void arrive(NaiveState& state) const {
    for (const auto& [storage, before] : arrives_) {
      if (before == state.runs) state.resident[storage] = 0;
    }
  }

  [[nodiscard]] std::string missing_for(const NaiveState& state, const Step& step) const {
    for (const auto& [storage, version] : needs(step)) {
      if (!is_resident(state, storage)) return "needs what is not resident";
      if (state.resident.at(storage) != version) return "needs another version";
    }
    return {};
  }

  // Reading: a made storage may go at any time when no rule about given storages or chains forbids
  // it. That it "is brought back for every later use" is what the later steps are checked for; one
  // without a later use and without a release may go too.
  [[nodiscard]] std::string broken_by_free(const NaiveState& state, StorageId storage) const {
    if (!is_resident(state, storage)) return "frees what is not resident";
    if (arrives_.contains(storage)) {
      const auto release = releases_.find(storage);
      const bool copied = state.copies.contains(storage);
      if (release == releases_.end()) {
        if (!copied) return "frees a given storage without a release";
      } else if (state.runs < release->second && !copied) {
        return "frees a given storage before its release";
      }
    }
    if (in_mid_chain(state, storage, state.resident.at(storage))) {
      return "frees in the middle of a chain";
    }
    return {};
  }

  [[nodiscard]] std::string broken_by_offload(const NaiveState& state, StorageId storage) const {
    if (trace_.out_bytes_per_s == 0) return "offloads without a tier";
    if (!is_resident(state, storage)) return "offloads what is not resident";
    if (state.resident.at(storage) != version_before(storage, state.runs)) {
      return "offloads an old version";
    }
    return state.copies.contains(storage) ? "offloads what has a copy" : "";
  }

  // A copy that the step drops was loaded.
  [[nodiscard]] std::string dropped_unused(const NaiveState& state, const Step& step) const {
    for (const StorageId storage : written_by(step)) {
      const auto copy = state.copies.find(storage);
      if (copy != state.copies.end() && !copy->second) return "drops a copy before any load";
    }
    return {};
  }

  const Trace& trace_;
  std::vector<Operator> operators_;
  std::map<StorageId, std::int64_t> bytes_;
  std::map<StorageId, std::int64_t> arrives_;   // given storages: after how many operators
  std::map<StorageId, std::int64_t> releases_;  // after how many operators
  std::map<StorageId, std::int64_t> maker_;
  std::map<StorageId, std::vector<std::int64_t>> writers_;
};

}  // namespace neap::graph
