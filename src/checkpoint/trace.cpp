// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "checkpoint/ready_engine.h"
#include "engine/observer.h"
#include "intercept/storage_access.h"
#include "memory/allocator.h"

#include <neap/checkpoint.h>

#include <unordered_map>

namespace neap {
namespace {

class Recorder final : public engine::Observer {
 public:
  explicit Recorder(const std::vector<KnownTensor>& known) {
    for (const KnownTensor& one : known) {
      if (auto* const storage = intercept::storage_of(one.tensor)) kinds_[storage] = one.kind;
    }
  }

  void met(const engine::Block& block, c10::StorageImpl& storage) override {
    if (block.unseen) return;  // not in the allocator's counts
    graph::Given given{.storage = define(block), .bytes = memory::header_of(block.data)->taken};
    const auto known = kinds_.find(&storage);
    if (known != kinds_.end()) {
      given.kind = known->second;
    } else if (block.given == engine::Given::Parameter) {
      given.kind = graph::StorageKind::Parameter;
    }
    trace_.events.emplace_back(given);
  }

  void ran(const engine::OperatorRun& run) override {
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
    for (const engine::Block* const block : run.reads) refer(op.reads, *block);
    for (const engine::Block* const block : run.writes) refer(op.mutates, *block);
    for (const engine::Block* const block : run.makes) {
      op.makes.push_back({define(*block), memory::header_of(block->data)->taken});
    }
    op.ns = run.ns;
    op.workspace = run.workspace;
    op.random = run.traits.random;
    op.replayable = run.traits.replayable;
    trace_.events.emplace_back(std::move(op));
  }

  void released(const engine::Block& block) override {
    const auto id = ids_.find(&block);
    if (id == ids_.end()) return;
    trace_.events.emplace_back(graph::Release{id->second});
    ids_.erase(id);
  }

  graph::Trace take() { return std::move(trace_); }

 private:
  graph::StorageId define(const engine::Block& block) { return ids_[&block] = next_++; }

  void refer(std::vector<graph::StorageId>& to, const engine::Block& block) const {
    const auto id = ids_.find(&block);
    if (id != ids_.end()) to.push_back(id->second);
  }

  graph::Trace trace_;
  std::unordered_map<const engine::Block*, graph::StorageId> ids_;
  std::unordered_map<c10::StorageImpl*, graph::StorageKind> kinds_;
  graph::StorageId next_ = 0;
  bool backward_seen_ = false;
};

// Takes the observer away also when the step throws.
class Observing {
 public:
  explicit Observing(engine::Observer& observer) {
    checkpointing::ready_engine().set_observer(&observer);
  }
  Observing(const Observing&) = delete;
  Observing& operator=(const Observing&) = delete;
  ~Observing() { checkpointing::ready_engine().set_observer(nullptr); }
};

}  // namespace

graph::Trace trace(const std::function<void()>& step, const std::vector<KnownTensor>& known) {
  Recorder recorder(known);
  Scope scope({.observe = true});
  if (checkpointing::ready_engine().budget_bytes() > 0) {
    throw ScopeConflict(
        "neap::trace: a scope with a budget is open, and what it evicts is no part of a plain "
        "step; trace outside of "
        "it");
  }
  {
    const Observing observing(recorder);
    step();
  }
  scope.end();
  return recorder.take();
}

}  // namespace neap
