// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What finish() appends. See Note [Lifetimes] in step_builder.h.
#include "step_builder.h"

#include <algorithm>
#include <stdexcept>

namespace neap::bench {
void StepBuilder::run_backward(Value loss) {
  gradients_.resize(tensors_.size());
  layer_.clear();
  graph::Operator ones{.name = "aten::ones_like", .phase = graph::Phase::Backward};
  ++lists_;
  read(ones, loss);
  gradient(loss) = {.storage = make(ones, bytes(loss))};
  storage(gradient(loss).storage).holders = 1;
  append(std::move(ones));
  end_node();
  for (auto node = nodes_.rbegin(); node != nodes_.rend(); ++node) run_backward(*node);
}

void StepBuilder::run_backward(const Node& node) {
  std::vector<Gradient> given;
  bool any = false;
  for (const Value output : node.outputs) {
    given.push_back(std::exchange(gradient(output), {}));
    any = any || given.back().storage >= 0;
  }
  if (!any) return;  // the node does not lead to the loss
  for (const BackwardOperator& op : node.backward) {
    if (!op.of.empty()) run_backward(op, node, given);
  }
  end_node();
  for (const Gradient& one : given) {
    if (one.storage >= 0) --storage(one.storage).holders;
  }
  sum_made();
}

void StepBuilder::run_backward(const BackwardOperator& op, const Node& node,
                               const std::vector<Gradient>& given) {
  if (op.name.empty()) {
    if (given.front().storage < 0) return;
    for (const Value value : op.of) {
      const Gradient& own = given.front();
      const bool view = own.view || tensor(value).bytes != tensor(node.outputs.front()).bytes;
      made_.emplace_back(value, Gradient{.storage = own.storage, .view = view});
      ++storage(own.storage).holders;
    }
    return;
  }
  graph::Operator recorded{.name = op.name,
                           .layer = node.layer,
                           .phase = graph::Phase::Backward,
                           .ns = op.ns,
                           .workspace = op.workspace};
  ++lists_;
  for (const Gradient& one : given) {
    if (one.storage >= 0) read(recorded, one.storage);
  }
  for (const Value value : op.saved) read(recorded, value);
  for (const std::size_t at : op.saved_outputs) read(recorded, node.outputs[at]);
  for (const Value value : op.of) {
    const Gradient made{.storage = make(recorded, bytes(value))};
    storage(made.storage).holders = 1;
    made_.emplace_back(value, made);
  }
  append(std::move(recorded));
}

void StepBuilder::sum_made() {
  for (const auto& [value, more] : made_) sum(value, more);
  made_.clear();
}

void StepBuilder::sum(Value value, Gradient more) {
  Gradient& so_far = gradient(value);
  if (so_far.storage < 0) {
    so_far = more;
    return;
  }
  graph::Operator add{.phase = graph::Phase::Backward, .ns = 3 * bytes(value) / kBytesPerNs};
  ++lists_;
  read(add, so_far.storage);
  read(add, more.storage);
  if (!so_far.view && storage(so_far.storage).holders == 1) {
    add.name = "aten::add_";
    add.mutates.push_back(so_far.storage);
  } else {
    add.name = "aten::add";
    --storage(so_far.storage).holders;
    so_far = {.storage = make(add, bytes(value))};
    storage(so_far.storage).holders = 1;
  }
  --storage(more.storage).holders;
  append(std::move(add));
  end_node();
}

void StepBuilder::run_optimizer(const Optimizer& optimizer) {
  for (const Value parameter : parameters_) {
    const Gradient summed = gradient(parameter);
    if (summed.storage < 0) continue;
    if (summed.view || storage(summed.storage).holders != 1) {
      throw std::logic_error("trace: storage " + std::to_string(summed.storage) +
                             " is the gradient of a parameter and of more");
    }
    const StorageId written = tensor(parameter).storage;
    graph::Operator update{
        .name = optimizer.name,
        .phase = graph::Phase::Optimizer,
        .mutates = {written},
        .ns = (3 + 2 * optimizer.states) * bytes(parameter) / kBytesPerNs,
    };
    ++lists_;
    read(update, written);
    read(update, summed.storage);
    for (int state = 0; state < optimizer.states; ++state) {
      const Value made = define_head(bytes(parameter), graph::StorageKind::Optimizer);
      read(update, made);
      update.mutates.push_back(tensor(made).storage);
    }
    storage(summed.storage).held = optimizer.gradients_stay;
    append(std::move(update));
    end_node();
  }
}

}  // namespace neap::bench
