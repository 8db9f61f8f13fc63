// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// traces/step_builder.h: records a forward, operator by operator, and appends the backward and the optimizer as LibTorch runs them.
//
//   StepBuilder step(/*seed=*/1);
//   const Value x = step.given(4096, StorageKind::Input), w = step.parameter(1024);
//   const Value y = step.run({.name = "aten::mm", .reads = {x, w}, .makes = {4096}, .ns = 9000,
//                             .backward = {{.name = "aten::mm", .of = {w}, .saved = {x}, .ns = 9000}}})[0];
//   const graph::Trace trace = std::move(step).finish(/*loss=*/y, {}, "one product");
//
// Note [Lifetimes]
// A backward operator runs in the reverse of the forward's order once all gradients of its outputs are summed. A node of autograd
// holds what it saved and the gradients given to it until its last operator has run; what it makes is summed only then. A sum goes
// into the older gradient when nothing else holds that storage, else it makes a new one. So a storage is released where its last
// node ends. InputBuffer.cpp and engine.cpp of LibTorch.
#pragma once

#include "random.h"

#include <neap/graph.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace neap::bench {

// What operators move that are bound by memory.
constexpr std::int64_t kBytesPerNs = 10;

// A tensor of the program. Several can share a storage: views, and what an operator in place returns.
struct Value {
  std::int64_t index = -1;
};

struct BackwardOperator {
  std::string name = {};  // empty: none runs, the gradients are the output's own, or views of it
  std::vector<Value> of = {};  // inputs whose gradients it makes; those that need none are left out
  std::vector<Value> saved = {};                // inputs that it reads again
  std::vector<std::size_t> saved_outputs = {};  // outputs that it reads, by position
  std::int64_t ns = 0;
  std::int64_t workspace = 0;
};

struct ForwardOperator {
  std::string name = {};
  std::vector<Value> reads = {};
  std::optional<Value> overwrites =
      {};  // read and written in place; the result is the first output
  std::vector<Value> mutates_once = {};  // running statistics
  std::vector<std::int64_t> makes = {};  // bytes of each output
  std::int64_t ns = 0;                   // without what every operator costs to dispatch
  std::int64_t workspace = 0;
  bool random = false;
  bool replayable = true;
  std::vector<BackwardOperator> backward = {};  // in this order; none: no gradient
};

struct Optimizer {
  std::string name = "aten::_fused_sgd_";
  int states = 1;  // as large as its parameter, each
  bool gradients_stay = true;
};

class StepBuilder {
 public:
  explicit StepBuilder(std::uint64_t seed) : random_(seed) {}

  // There from the start, and never released.
  Value parameter(std::int64_t bytes);
  Value given(std::int64_t bytes, graph::StorageKind kind);
  // Data that arrives now, before the next operator, and is released after its last use.
  Value arrive(std::int64_t bytes);

  // Returns its outputs. Throws: std::logic_error for an input that was written into since, and for writing into what a
  // backward needs.
  std::vector<Value> run(ForwardOperator op);
  // Parts of a tensor, on its storage: nothing runs. The backward joins their gradients.
  std::vector<Value> views(Value whole, std::int64_t count);
  // Whether an operator in place may take it.
  [[nodiscard]] bool can_overwrite(Value value) const;

  void enter(std::string layer) { layer_ = std::move(layer); }
  Random& random() { return random_; }
  // What finish() would make of what was recorded so far; exact when all of it leads to the loss.
  [[nodiscard]] std::int64_t operators() const { return operators_; }
  [[nodiscard]] std::int64_t bytes(Value value) const { return tensor(value).bytes; }

  graph::Trace finish(Value loss, const Optimizer& optimizer, std::string label) &&;

 private:
  using StorageId = graph::StorageId;

  struct Storage {
    std::int64_t bytes = 0;
    std::int64_t version = 0;
    std::int64_t last_use = -1;  // in draft_; -1: none
    std::int64_t listed_by = 0;  // the last list of reads that it is in
    std::int64_t holders = 0;    // of a gradient: how many tensors it is the gradient of
    bool saved = false;          // a backward reads it
    bool given = false;
    bool held = false;  // by the program, to the end
  };

  struct Tensor {
    StorageId storage = 0;
    std::int64_t bytes = 0;
    std::int64_t version = 0;  // of the storage, when it was made
    std::int64_t uses = 0;     // gradients that will be summed
    bool needs_gradient = false;
    bool is_parameter = false;
  };

  // Of autograd: a forward operator that needs a backward.
  struct Node {
    std::string layer;
    std::vector<Value> outputs;
    std::vector<BackwardOperator> backward;
  };

  struct Gradient {
    StorageId storage = -1;  // -1: none yet
    bool view = false;       // a part of the storage
  };

  Tensor& tensor(Value value) { return tensors_[static_cast<std::size_t>(value.index)]; }
  [[nodiscard]] const Tensor& tensor(Value value) const {
    return tensors_[static_cast<std::size_t>(value.index)];
  }
  Storage& storage(StorageId id) { return storages_[static_cast<std::size_t>(id)]; }
  [[nodiscard]] const Storage& storage(StorageId id) const {
    return storages_[static_cast<std::size_t>(id)];
  }
  Gradient& gradient(Value value) { return gradients_[static_cast<std::size_t>(value.index)]; }

  StorageId define(std::int64_t bytes);
  Value define_head(std::int64_t bytes, graph::StorageKind kind);
  Value define_tensor(StorageId on, std::int64_t bytes, bool needs_gradient);
  StorageId make(graph::Operator& op, std::int64_t bytes);
  void read(graph::Operator& op, StorageId id);
  void read(graph::Operator& op, Value value);
  void record(std::string layer, std::vector<Value> outputs,
              std::vector<BackwardOperator> backward);
  void append(graph::Operator op);
  void end_node();

  void run_backward(Value loss);
  void run_backward(const Node& node);
  void run_backward(const BackwardOperator& op, const Node& node,
                    const std::vector<Gradient>& given);
  void sum_made();
  void sum(Value value, Gradient more);
  void run_optimizer(const Optimizer& optimizer);
  graph::Trace assemble();

  Random random_;
  std::string layer_;
  std::int64_t operators_ = 1;  // the one that makes the gradient of the loss
  std::int64_t lists_ = 0;
  std::vector<Storage> storages_;
  std::vector<Tensor> tensors_;
  std::vector<Value> parameters_;
  std::vector<Node> nodes_;
  std::vector<Gradient> gradients_;               // of each tensor
  std::vector<std::pair<Value, Gradient>> made_;  // by the node that runs, not yet summed
  std::vector<StorageId> touched_;                // by it
  std::vector<StorageId> keep_;
  std::vector<graph::Event> head_;
  std::vector<graph::Event> draft_;  // all but the head and the releases
};

}  // namespace neap::bench
