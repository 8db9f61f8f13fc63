// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "autoplan/recorder.h"

#include "engine/engine.h"
#include "memory/allocator.h"

#include <algorithm>
#include <new>
#include <type_traits>
#include <unordered_set>
#include <utility>

namespace neap::autoplan {
namespace {

// Memory of LibTorch's own allocator, from before install(), is in no count of neap. Its reads and
// writes are recorded all the same.
std::int64_t bytes_of(const engine::Block& block) {
  return block.unseen ? 0 : memory::entry_of(block.data).taken;
}
std::int64_t serial_of(const engine::Block& block) {
  return block.unseen ? -1 : memory::entry_of(block.data).allocation_serial;
}

}  // namespace

Recorder::Recorder(std::unordered_map<const void*, graph::StorageKind> kinds, std::size_t most)
    : most_(most), kinds_(std::move(kinds)) {
  allocations_before_ = memory::usage().allocations;
  recording_.untouched.push_back(engine::Engine::instance().plain_live());
}

void Recorder::watch_reserved() { recording_.reserved.push_back(memory::usage().reserved); }

template <class Note>
void Recorder::unless_ended(Note note) noexcept {
  if (ended_ != Ended::No) return;
  try {
    note();
  } catch (const std::bad_alloc&) {
    stop(Ended::NoMemory);  // a half of it would be another step
  }
}

void Recorder::ran(const engine::OperatorRun& run) noexcept {
  if (recording_.operators.size() == most_) return stop(Ended::TooLong);
  unless_ended([&] { add(run); });
}

void Recorder::add(const engine::OperatorRun& run) {
  backward_seen_ = backward_seen_ || run.backward;
  graph::Operator op;
  op.name = run.traits.op.schema().name();
  op.layer = run.layer;
  op.phase = phase_of(run);
  op.ns = run.ns;
  op.random = run.traits.random;
  op.replayable = run.replayable;
  recording_.signatures.push_back(run.signature);
  sequences_.push_back(run.operator_sequence);

  meet_all(run);
  add_uses(op, run);
  // Between uses and makes: run.live is from before the operator. It includes what the operator
  // uses, and not what it makes.
  recording_.untouched.push_back(run.live - known_);
  allocations_.push_back(run.allocations);
  add_makes(op, run);
  if (!recording_.reserved.empty()) recording_.reserved.push_back(memory::usage().reserved);
  recording_.operators.push_back(std::move(op));
}

// A program may hold one scope open for a whole training.
void Recorder::stop(Ended why) noexcept {
  ended_ = why;
  const auto release = [](auto& some) { some = std::remove_reference_t<decltype(some)>(); };
  release(recording_);
  release(storages_);
  release(empty_);
  release(allocations_);
  release(sequences_);
  release(corrections_);
}

// An optimizer runs with grad mode off, after a backward. What runs so before the first backward
// belongs to no phase.
graph::Phase Recorder::phase_of(const engine::OperatorRun& run) const {
  if (run.backward) return graph::Phase::Backward;
  if (run.grad_mode) return graph::Phase::Forward;
  return backward_seen_ ? graph::Phase::Optimizer : graph::Phase::Other;
}

// Adds the storages that the operator reads and writes. REQUIRES: all of them have been met.
void Recorder::add_uses(graph::Operator& op, const engine::OperatorRun& run) {
  for (const engine::Block* const block : run.reads) refer(op.reads, *block);
  // Before the writes, because it asks whether anything has used the storage before.
  write_whole(run);
  for (const engine::Block* const block : run.writes) {
    refer(op.mutates, *block);
    if (!run.whole) refer(op.reads, *block);  // a part of the old content stays
  }
  for (const engine::Block* const block : run.once_writes) write_once(op, *block);
}

// Adds the storages that the operator makes, and its workspace: what it held at its peak that
// neither lived before nor is one of these storages.
void Recorder::add_makes(graph::Operator& op, const engine::OperatorRun& run) {
  op.workspace = run.peak - run.live;
  for (const engine::Block* const block : run.makes) {
    const Storage made{number(*block), bytes_of(*block), position()};
    storages_[block] = made;
    known_ += made.bytes;
    op.makes.push_back({made.id, made.bytes});
    op.workspace -= made.bytes;
    if (run.traits.empty) empty_[made.id] = position();  // until something uses it
  }
  op.workspace = std::max<std::int64_t>(0, op.workspace);  // another thread may have freed memory
}

void Recorder::replayed(const engine::Node& node) noexcept {
  // An operator without a node has the sequence number of the next operator with one.
  const auto after = std::ranges::upper_bound(sequences_, node.operator_sequence);
  if (after == sequences_.begin()) return;  // an operator from before the recording
  unless_ended([&] { recording_.reruns.push_back({after - sequences_.begin() - 1, position()}); });
}

void Recorder::not_replayable(const engine::Block& block) noexcept {
  const Storage* const storage = storage_of(block);
  if (storage == nullptr || storage->maker < 0) return;
  recording_.operators[static_cast<std::size_t>(storage->maker)].replayable = false;
}

void Recorder::released(const engine::Block& block) noexcept {
  unless_ended([&] { release(block); });
}

void Recorder::release(const engine::Block& block) {
  const auto found = storages_.find(&block);
  if (found == storages_.end()) return;
  recording_.releases.push_back({found->second.id, position()});
  take_decision(block, found->second);
  known_ -= found->second.bytes;
  storages_.erase(found);
}

// Called when the storage is released or the recording ends, because set_checkpoint_policy() may
// change what the rules decided.
void Recorder::take_decision(const engine::Block& block, const Storage& storage) {
  if (storage.maker < 0) return;
  if (block.decision == CheckpointPolicy::MustSave) recording_.must_save.push_back(storage.maker);
  if (block.decision == CheckpointPolicy::PreferSave)
    recording_.prefer_save.push_back(storage.maker);
}

// Returns null when no operator of the trace has used the block.
Recorder::Storage* Recorder::storage_of(const engine::Block& block) {
  const auto found = storages_.find(&block);
  return found == storages_.end() ? nullptr : &found->second;
}

// Meets storages in the engine's order. That is the order of the operator's arguments, whether it
// reads or writes them.
void Recorder::meet_all(const engine::OperatorRun& run) {
  met_.clear();
  for (const auto blocks : {run.reads, run.writes, run.once_writes}) {
    for (const engine::Block* const block : blocks) {
      if (!storages_.contains(block)) met_.push_back(block);
    }
  }
  std::ranges::stable_sort(met_, {}, &engine::Block::scope_number);
  for (const engine::Block* const block : met_) {
    if (!storages_.contains(block)) meet(*block);
  }
}

void Recorder::refer(std::vector<graph::StorageId>& ids, const engine::Block& block) {
  const graph::StorageId id = storages_.at(&block).id;
  ids.push_back(id);
  empty_.erase(id);
}

graph::StorageId Recorder::number(const engine::Block& block) {
  recording_.numbers.push_back(block.scope_number);
  return recording_.next++;
}

// Adds a storage that no operator of the trace made. Its allocation serial tells when it arrived.
void Recorder::meet(const engine::Block& block) {
  const std::int64_t serial = serial_of(block);
  Recording::Arrival arrival{{number(block), bytes_of(block), graph::StorageKind::Constant},
                             std::ranges::upper_bound(allocations_, serial) - allocations_.begin(),
                             position()};
  const auto known = kinds_.find(block.data);
  if (known != kinds_.end()) {
    arrival.given.kind = known->second;
  } else if (block.pinned == engine::PinReason::Parameter) {
    arrival.given.kind = graph::StorageKind::Parameter;
  }
  storages_[&block] = {arrival.given.storage, arrival.given.bytes, -1};
  known_ += arrival.given.bytes;
  // untouched[0] is for the start, and untouched[i + 1] for the moment before operator i. The entry
  // of the current operator is added later.
  const std::int64_t first = serial < allocations_before_ ? 0 : arrival.position + 1;
  corrections_.push_back({first, position() + 1, arrival.given.bytes});
  recording_.arrivals.push_back(arrival);
}

// A rerun leaves these arguments alone. That suits a storage from before the step, which no plan
// makes again. But a plan can ask for a storage that an operator of the step made. So such a write
// is an ordinary one, and the operator must not be rerun.
void Recorder::write_once(graph::Operator& op, const engine::Block& block) {
  const Storage& storage = storages_.at(&block);
  empty_.erase(storage.id);
  if (std::ranges::find(op.mutates, storage.id) != op.mutates.end()) return;
  if (storage.maker < 0) {
    op.mutates_once.push_back(storage.id);
  } else {
    op.mutates.push_back(storage.id);
    op.replayable = false;
  }
}

// An operator that makes an empty storage must not be rerun, because the program may fill the
// storage by hand: see PinReason::Empty. When an operator writes the storage whole before anything
// has used it, the engine records it from there. Then a plan may rerun the maker.
void Recorder::write_whole(const engine::OperatorRun& run) {
  if (!run.whole || !run.replayable) return;
  const Storage* const storage = storage_of(*run.writes[0]);
  const auto empty = storage == nullptr ? empty_.end() : empty_.find(storage->id);
  if (empty == empty_.end()) return;
  recording_.operators[static_cast<std::size_t>(empty->second)].replayable = true;
}

Recording Recorder::finish() {
  std::vector<std::int64_t>& untouched = recording_.untouched;
  untouched.push_back(engine::Engine::instance().plain_live() - known_);
  std::vector<std::int64_t> change(untouched.size() + 1, 0);
  for (const Correction& one : corrections_) {
    change[static_cast<std::size_t>(one.first)] -= one.bytes;
    change[static_cast<std::size_t>(one.last)] += one.bytes;
  }
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < untouched.size(); ++i) {
    sum += change[i];
    untouched[i] = std::max<std::int64_t>(0, untouched[i] + sum);
  }
  for (const auto& [block, storage] : storages_) {
    recording_.keep.push_back(storage.id);
    take_decision(*block, storage);
  }
  std::ranges::sort(recording_.keep);
  name_what_is_trained();
  return std::move(recording_);
}

// A storage that the optimizer writes and the model reads is a parameter that arrived as a view. A
// storage that only the optimizer uses is its state.
void Recorder::name_what_is_trained() {
  std::unordered_set<graph::StorageId> used, trained;
  for (const graph::Operator& op : recording_.operators) {
    if (op.phase == graph::Phase::Optimizer) {
      trained.insert(op.mutates.begin(), op.mutates.end());
    } else {
      used.insert(op.reads.begin(), op.reads.end());
    }
  }
  for (Recording::Arrival& one : recording_.arrivals) {
    const graph::StorageId id = one.given.storage;
    if (one.given.kind != graph::StorageKind::Constant || !trained.contains(id)) continue;
    one.given.kind =
        used.contains(id) ? graph::StorageKind::Parameter : graph::StorageKind::Optimizer;
  }
}

}  // namespace neap::autoplan
