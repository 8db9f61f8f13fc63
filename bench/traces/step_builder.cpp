// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "step_builder.h"

#include <algorithm>
#include <stdexcept>

namespace neap::bench {
namespace {

constexpr std::int64_t kDispatchNs = 1'500;
constexpr std::int64_t kAlignment = 64;

}  // namespace

StepBuilder::StorageId StepBuilder::define(std::int64_t bytes) {
  storages_.push_back({.bytes = (bytes + kAlignment - 1) / kAlignment * kAlignment});
  return static_cast<StorageId>(storages_.size()) - 1;
}

Value StepBuilder::define_tensor(StorageId on, std::int64_t bytes, bool needs_gradient) {
  tensors_.push_back({.storage = on,
                      .bytes = bytes,
                      .version = storage(on).version,
                      .needs_gradient = needs_gradient});
  return {static_cast<std::int64_t>(tensors_.size()) - 1};
}

Value StepBuilder::define_head(std::int64_t bytes, graph::StorageKind kind) {
  const StorageId id = define(bytes);
  storage(id).given = true;
  storage(id).held = true;
  head_.emplace_back(graph::Given{.storage = id, .bytes = storage(id).bytes, .kind = kind});
  if (kind != graph::StorageKind::Input && kind != graph::StorageKind::Constant)
    keep_.push_back(id);
  return define_tensor(id, bytes, false);
}

Value StepBuilder::parameter(std::int64_t bytes) {
  const Value made = define_head(bytes, graph::StorageKind::Parameter);
  tensor(made).needs_gradient = true;
  tensor(made).is_parameter = true;
  parameters_.push_back(made);
  return made;
}

Value StepBuilder::given(std::int64_t bytes, graph::StorageKind kind) {
  return define_head(bytes, kind);
}

Value StepBuilder::arrive(std::int64_t bytes) {
  const StorageId id = define(bytes);
  storage(id).given = true;
  draft_.emplace_back(
      graph::Given{.storage = id, .bytes = storage(id).bytes, .kind = graph::StorageKind::Input});
  return define_tensor(id, bytes, false);
}

bool StepBuilder::can_overwrite(Value value) const {
  const Storage& on = storage(tensor(value).storage);
  return !on.given && !on.saved && on.version == tensor(value).version;
}

std::vector<Value> StepBuilder::run(ForwardOperator op) {
  graph::Operator recorded{.name = std::move(op.name),
                           .layer = layer_,
                           .phase = graph::Phase::Forward,
                           .ns = op.ns,
                           .workspace = op.workspace,
                           .random = op.random,
                           .replayable = op.replayable};
  ++lists_;
  for (const Value value : op.reads) read(recorded, value);
  for (const Value value : op.mutates_once) {
    recorded.mutates_once.push_back(tensor(value).storage);
    tensor(value).version = ++storage(tensor(value).storage).version;
  }
  bool needs_gradient = false;
  for (const BackwardOperator& backward : op.backward) {
    for (const Value value : backward.of) {
      needs_gradient = needs_gradient || tensor(value).needs_gradient;
    }
  }
  std::vector<Value> outputs;
  if (op.overwrites) {
    read(recorded, *op.overwrites);
    const Tensor before = tensor(*op.overwrites);
    if (storage(before.storage).saved) {
      throw std::logic_error("trace: " + recorded.name + " writes into storage " +
                             std::to_string(before.storage) + ", which a backward reads");
    }
    recorded.mutates.push_back(before.storage);
    ++storage(before.storage).version;
    outputs.push_back(define_tensor(before.storage, before.bytes, needs_gradient));
  }
  for (const std::int64_t bytes : op.makes) {
    outputs.push_back(define_tensor(make(recorded, bytes), bytes, needs_gradient));
  }
  append(std::move(recorded));
  end_node();
  ++operators_;
  if (needs_gradient) record(layer_, outputs, std::move(op.backward));
  return outputs;
}

std::vector<Value> StepBuilder::views(Value whole, std::int64_t count) {
  const Tensor all = tensor(whole);
  std::vector<Value> parts;
  for (std::int64_t part = 0; part < count; ++part) {
    parts.push_back(define_tensor(all.storage, all.bytes / count, all.needs_gradient));
  }
  if (all.needs_gradient) {
    record(layer_, parts,
           {{.name = "aten::cat", .of = {whole}, .ns = 2 * all.bytes / kBytesPerNs}});
  }
  return parts;
}

void StepBuilder::record(std::string layer, std::vector<Value> outputs,
                         std::vector<BackwardOperator> backward) {
  for (BackwardOperator& op : backward) {
    std::erase_if(op.of, [&](Value value) { return !tensor(value).needs_gradient; });
    if (op.of.empty()) continue;
    for (const Value value : op.saved) storage(tensor(value).storage).saved = true;
    for (const std::size_t at : op.saved_outputs) storage(tensor(outputs[at]).storage).saved = true;
    if (!op.name.empty()) ++operators_;
    for (const Value value : op.of) {
      Tensor& of = tensor(value);
      // Each gradient except the first is added to the sum so far. Each parameter has one operator
      // of the optimizer.
      if (of.uses++ > 0 || of.is_parameter) ++operators_;
    }
  }
  nodes_.push_back({std::move(layer), std::move(outputs), std::move(backward)});
}

void StepBuilder::read(graph::Operator& op, StorageId id) {
  if (storage(id).listed_by == lists_) return;  // another view of the same storage was listed
  storage(id).listed_by = lists_;
  op.reads.push_back(id);
  touched_.push_back(id);
}

void StepBuilder::read(graph::Operator& op, Value value) {
  const Tensor& read_now = tensor(value);
  if (storage(read_now.storage).version != read_now.version) {
    throw std::logic_error("trace: " + op.name + " reads what was in storage " +
                           std::to_string(read_now.storage) + " before it was written into");
  }
  read(op, read_now.storage);
}

StepBuilder::StorageId StepBuilder::make(graph::Operator& op, std::int64_t bytes) {
  const StorageId id = define(bytes);
  op.makes.push_back({.storage = id, .bytes = storage(id).bytes});
  touched_.push_back(id);
  return id;
}

void StepBuilder::append(graph::Operator op) {
  op.ns = (kDispatchNs + op.ns) * random_.between(90, 110) / 100;
  draft_.emplace_back(std::move(op));
}

void StepBuilder::end_node() {
  for (const StorageId id : touched_) {
    storage(id).last_use = static_cast<std::int64_t>(draft_.size()) - 1;
  }
  touched_.clear();
}

graph::Trace StepBuilder::finish(Value loss, const Optimizer& optimizer, std::string label) && {
  run_backward(loss);
  run_optimizer(optimizer);
  const StorageId loss_storage = tensor(loss).storage;
  storage(loss_storage).last_use = static_cast<std::int64_t>(draft_.size()) - 1;
  graph::Trace trace = assemble();
  trace.label = std::move(label);
  return trace;
}

// Places each release after the last operator of the last node that uses the storage.
graph::Trace StepBuilder::assemble() {
  std::vector<StorageId> first(draft_.size(), -1);
  std::vector<StorageId> next(storages_.size(), -1);
  for (auto id = static_cast<StorageId>(storages_.size()) - 1; id >= 0; --id) {
    const Storage& on = storage(id);
    if (on.held || on.last_use < 0) continue;
    StorageId& head = first[static_cast<std::size_t>(on.last_use)];
    next[static_cast<std::size_t>(id)] = std::exchange(head, id);
  }
  graph::Trace trace;
  trace.events = std::move(head_);
  trace.events.reserve(trace.events.size() + draft_.size() + storages_.size());
  for (std::size_t i = 0; i < draft_.size(); ++i) {
    trace.events.push_back(std::move(draft_[i]));
    for (StorageId id = first[i]; id >= 0; id = next[static_cast<std::size_t>(id)]) {
      trace.events.emplace_back(graph::Release{id});
    }
  }
  trace.keep = std::move(keep_);
  return trace;
}

}  // namespace neap::bench
