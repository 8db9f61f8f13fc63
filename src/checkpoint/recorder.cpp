// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "checkpoint/recorder.h"

#include "engine/engine.h"
#include "intercept/storage_access.h"
#include "memory/allocator.h"

#include <torch/version.h>

#include <algorithm>
#include <unordered_set>
#include <utility>

namespace neap::checkpointing {
namespace {

// Of LibTorch's own allocator, from before install(): in no count, but who reads and writes it matters all the same.
std::int64_t bytes_of(const engine::Block& block) {
  return block.unseen ? 0 : memory::header_of(block.data)->taken;
}
std::int64_t serial_of(const engine::Block& block) {
  return block.unseen ? -1 : memory::header_of(block.data)->serial;
}

}  // namespace

// ---------------------------------------------------------------- recording

Recorder::Recorder(const std::vector<KnownTensor>& known) {
  for (const KnownTensor& one : known) {
    c10::StorageImpl* const storage = intercept::storage_of(one.tensor);
    if (storage != nullptr) kinds_[intercept::data_ptr_of(*storage).get_context()] = one.kind;
  }
  allocations_before_ = memory::usage().allocations;
  recording_.untouched.push_back(engine::Engine::instance().plain_live());
}

void Recorder::ran(const engine::OperatorRun& run) {
  graph::Operator op;
  op.name = run.traits.op.schema().name();
  op.layer = run.layer;
  backward_seen_ = backward_seen_ || run.backward;
  if (run.backward) {
    op.phase = graph::Phase::Backward;
  } else if (run.grad_mode) {
    op.phase = graph::Phase::Forward;
  } else {
    op.phase = backward_seen_ ? graph::Phase::Optimizer : graph::Phase::Other;
  }
  op.ns = run.ns;
  recording_.signatures.push_back(run.signature);
  sequences_.push_back(run.sequence);
  op.random = run.traits.random;
  op.replayable = run.replayable;
  meet_all(run);
  for (const engine::Block* const block : run.reads) refer(op.reads, *block);
  write_whole(run);
  for (const engine::Block* const block : run.writes) {
    refer(op.mutates, *block);
    if (!run.whole) refer(op.reads, *block);
  }
  for (const engine::Block* const block : run.once_writes) write_once(op, *block);

  recording_.untouched.push_back(run.live - known_);
  allocations_.push_back(run.allocations);
  op.workspace = run.peak - run.live;
  for (const engine::Block* const block : run.makes) {
    const Storage made{number(*block), bytes_of(*block), position()};
    storages_[block] = made;
    known_ += made.bytes;
    op.makes.push_back({made.id, made.bytes});
    op.workspace -= made.bytes;
    if (run.traits.empty) empty_[made.id] = position();
  }
  op.workspace = std::max<std::int64_t>(0, op.workspace);  // another thread may have freed
  recording_.operators.push_back(std::move(op));
}

void Recorder::replayed(const engine::Node& node) {
  // Those without a node have the number of the next one that gets one.
  const auto after = std::ranges::upper_bound(sequences_, node.sequence);
  if (after == sequences_.begin()) return;  // from before the recording
  recording_.reruns.push_back({after - sequences_.begin() - 1, position()});
}

void Recorder::not_replayable(const engine::Block& block) {
  const Storage* const storage = storage_of(block);
  if (storage == nullptr || storage->maker < 0) return;
  recording_.operators[static_cast<std::size_t>(storage->maker)].replayable = false;
}

void Recorder::released(const engine::Block& block) {
  const auto found = storages_.find(&block);
  if (found == storages_.end()) return;
  recording_.releases.push_back({found->second.id, position()});
  take_decision(block, found->second);
  known_ -= found->second.bytes;
  storages_.erase(found);
}

// As it is when the storage goes: tag() may have changed what the rules said.
void Recorder::take_decision(const engine::Block& block, const Storage& storage) {
  if (storage.maker < 0) return;
  if (block.decision == engine::Decision::MustSave) recording_.must_save.push_back(storage.maker);
  if (block.decision == engine::Decision::PreferSave)
    recording_.prefer_save.push_back(storage.maker);
}

// Null: no operator of the trace has used it.
Recorder::Storage* Recorder::storage_of(const engine::Block& block) {
  const auto found = storages_.find(&block);
  return found == storages_.end() ? nullptr : &found->second;
}

// In the engine's order: that of the operator's arguments, whatever they are to it.
void Recorder::meet_all(const engine::OperatorRun& run) {
  met_.clear();
  for (const auto blocks : {run.reads, run.writes, run.once_writes}) {
    for (const engine::Block* const block : blocks) {
      if (!storages_.contains(block)) met_.push_back(block);
    }
  }
  std::ranges::stable_sort(met_, {}, &engine::Block::number);
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
  recording_.numbers.push_back(block.number);
  return recording_.next++;
}

// No operator of the trace made it. When it came the allocator's count tells.
void Recorder::meet(const engine::Block& block) {
  const std::int64_t serial = serial_of(block);
  Recording::Arrival arrival{{number(block), bytes_of(block), graph::StorageKind::Constant},
                             std::ranges::upper_bound(allocations_, serial) - allocations_.begin(),
                             position()};
  const auto known = kinds_.find(block.data);
  if (known != kinds_.end()) {
    arrival.given.kind = known->second;
  } else if (block.given == engine::Given::Parameter) {
    arrival.given.kind = graph::StorageKind::Parameter;
  }
  storages_[&block] = {arrival.given.storage, arrival.given.bytes, -1};
  known_ += arrival.given.bytes;
  // recording_.untouched[0] is the start, [i + 1] stands before operator i, and the newest is yet to come.
  const std::int64_t first = serial < allocations_before_ ? 0 : arrival.position + 1;
  corrections_.push_back({first, position() + 1, arrival.given.bytes});
  recording_.arrivals.push_back(arrival);
}

// A rerun can leave alone only what it cannot be asked to bring back. A buffer that an operator of the step has made it can.
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

// What makes an empty storage must not run again, because the program may fill it by hand: Given::Empty. When an operator
// writes it whole before anybody has used it, the engine starts from there; then the same may run again in a plan.
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

// What the optimizer writes and the model reads is a parameter that arrived as a view; what it has for itself is its state.
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

// ---------------------------------------------------------------- several steps

namespace {

bool same_but_for_measures(graph::Operator a, const graph::Operator& b) {
  a.ns = b.ns;
  a.workspace = b.workspace;
  a.replayable = b.replayable;
  return a == b;
}

}  // namespace

std::string first_difference(const Recording& a, const Recording& b) {
  const auto [in_a, in_b] = std::ranges::mismatch(a.operators, b.operators, same_but_for_measures);
  const std::int64_t number = in_a - a.operators.begin();
  const std::string at = "operator " + std::to_string(number);
  const bool a_ends = in_a == a.operators.end(), b_ends = in_b == b.operators.end();
  if (a_ends != b_ends) {
    return "it has " + std::to_string(b.operators.size()) + " operators and had " +
           std::to_string(a.operators.size()) + "; " + at + ", " +
           (a_ends ? in_b->name : in_a->name) + ", is in one of them only";
  }
  if (!a_ends && in_a->name != in_b->name) {
    return at + " is " + in_b->name + " and was " + in_a->name;
  }
  // Equal operators name equal storages, but not what these are, nor when the program lets go of them.
  std::int64_t first = number;
  const auto arrivals = std::ranges::mismatch(
      a.arrivals, b.arrivals,
      [](const auto& x, const auto& y) { return x.given == y.given && x.met == y.met; });
  // Where one has fewer, the operator that uses what the other has more differs too.
  if (arrivals.in1 != a.arrivals.end() && arrivals.in2 != b.arrivals.end()) {
    first = std::min(first, arrivals.in1->met);
  }
  const auto releases = std::ranges::mismatch(a.releases, b.releases);
  if (releases.in1 != a.releases.end()) first = std::min(first, releases.in1->position - 1);
  if (releases.in2 != b.releases.end()) first = std::min(first, releases.in2->position - 1);
  if (first == static_cast<std::int64_t>(a.operators.size())) return "";
  return "operator " + std::to_string(first) + ", " +
         a.operators[static_cast<std::size_t>(first)].name +
         ", uses, makes or leaves other storages, or of other sizes";
}

Recording merge(std::vector<Recording> steps) {
  Recording merged = std::move(steps.back());
  steps.pop_back();
  std::vector<std::int64_t> ns;
  for (std::size_t i = 0; i < merged.operators.size(); ++i) {
    graph::Operator& op = merged.operators[i];
    ns = {op.ns};
    for (const Recording& step : steps) {
      const graph::Operator& other = step.operators[i];
      ns.push_back(other.ns);
      op.workspace = std::max(op.workspace, other.workspace);
      op.replayable = op.replayable && other.replayable;
    }
    std::ranges::sort(ns);
    op.ns = (ns[(ns.size() - 1) / 2] + ns[ns.size() / 2]) / 2;
  }
  for (const Recording& step : steps) {
    for (std::size_t i = 0; i < merged.arrivals.size(); ++i) {
      std::int64_t& position = merged.arrivals[i].position;
      position = std::min(position, step.arrivals[i].position);
    }
    for (std::size_t i = 0; i < merged.untouched.size(); ++i) {
      merged.untouched[i] = std::max(merged.untouched[i], step.untouched[i]);
    }
  }
  return merged;
}

// ---------------------------------------------------------------- the trace

namespace {

class Assembly {
 public:
  Assembly(const Recording& recording, const std::string& label)
      : recording_(recording),
        arriving_(recording.operators.size() + 1),
        leaving_(recording.operators.size() + 1) {
    trace_.label = label;
    trace_.torch = TORCH_VERSION;
    trace_.keep = recording.keep;
  }

  graph::Trace make() {
    for (const Recording::Arrival& one : recording_.arrivals) arrive(one.given, one.position);
    for (const Recording::Release& one : recording_.releases) leave(one.storage, one.position);
    add_untouched();
    for (std::size_t i = 0;; ++i) {
      for (const graph::Given& given : arriving_[i]) trace_.events.emplace_back(given);
      for (const graph::StorageId id : leaving_[i]) trace_.events.emplace_back(graph::Release{id});
      if (i == recording_.operators.size()) break;
      trace_.events.emplace_back(recording_.operators[i]);
      if (recording_.calls.empty()) continue;
      std::get<graph::Operator>(trace_.events.back()).call = recording_.calls[i];
    }
    return std::move(trace_);
  }

 private:
  struct Piece {
    std::int64_t bytes;
    std::int64_t position;
  };

  // See Note [Untouched bytes].
  void add_untouched() {
    std::vector<Piece> pieces;
    const std::vector<std::int64_t>& untouched = recording_.untouched;
    if (untouched[0] > 0) pieces.push_back({untouched[0], 0});
    for (std::size_t i = 1; i < untouched.size(); ++i) {
      const auto at = static_cast<std::int64_t>(i) - 1;
      if (untouched[i] > untouched[i - 1]) pieces.push_back({untouched[i] - untouched[i - 1], at});
      for (std::int64_t gone = untouched[i - 1] - untouched[i]; gone > 0;) {
        Piece& newest = pieces.back();
        const std::int64_t bytes = std::min(gone, newest.bytes);
        leave(define({bytes, newest.position}), at);
        gone -= bytes;
        newest.bytes -= bytes;
        if (newest.bytes == 0) pieces.pop_back();
      }
    }
    for (const Piece& piece : pieces) trace_.keep.push_back(define(piece));
  }

  graph::StorageId define(const Piece& piece) {
    const graph::StorageId id = next_++;
    arrive({id, piece.bytes, graph::StorageKind::Constant}, piece.position);
    return id;
  }
  void arrive(const graph::Given& given, std::int64_t position) {
    arriving_[static_cast<std::size_t>(position)].push_back(given);
  }
  void leave(graph::StorageId id, std::int64_t position) {
    leaving_[static_cast<std::size_t>(position)].push_back(id);
  }

  const Recording& recording_;
  graph::Trace trace_;
  graph::StorageId next_ = recording_.next;
  std::vector<std::vector<graph::Given>> arriving_;
  std::vector<std::vector<graph::StorageId>> leaving_;
};

}  // namespace

graph::Trace make_trace(const Recording& recording, const std::string& label) {
  return Assembly(recording, label).make();
}

}  // namespace neap::checkpointing
