// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// traces/step_builder.h: records a forward, operator by operator, and appends the backward and the
// optimizer as LibTorch runs them.
//
//   StepBuilder step(/*seed=*/1);
//   const Value x = step.given(4096, StorageKind::Input), w = step.parameter(1024);
//   const Value y = step.run({.name = "aten::mm", .reads = {x, w}, .makes = {4096}, .ns = 9000,
//                             .backward = {{.name = "aten::mm", .of = {w}, .saved = {x}, .ns = 9000}}})[0];
//   const graph::Trace trace = std::move(step).finish(/*loss=*/y, {}, "one product");
//
// Note [Lifetimes]
// Backward operators run in the reverse order of the forward, once all gradients of their outputs
// are summed. A node of autograd holds what it saved, and the gradients that it was given, until
// its last operator has run. Only then are its results summed. A sum is written into the older
// gradient if nothing else holds that storage; otherwise it makes a new storage. So a storage is
// released where its last node ends. Source: InputBuffer.cpp and engine.cpp of LibTorch.
#pragma once

#include "random.h"

#include <neap/graph.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace neap::bench {

// What memory-bound operators read and write per ns.
constexpr std::int64_t kBytesPerNs = 10;

// A tensor of the program. Several tensors can share a storage: views, and the result of an
// operator in place.
struct Value {
  std::int64_t index = -1;
};

struct BackwardOperator {
  // Empty: no operator runs, and the gradients are the output's own or views of it.
  std::string name = {};
  // Inputs whose gradients it makes; inputs that need none are left out.
  std::vector<Value> of = {};
  std::vector<Value> saved = {};                // inputs that it reads again
  std::vector<std::size_t> saved_outputs = {};  // outputs that it reads, by position
  std::int64_t ns = 0;
  std::int64_t workspace = 0;
};

struct ForwardOperator {
  std::string name = {};
  std::vector<Value> reads = {};
  // Read and written in place; the result is the first output.
  std::optional<Value> overwrites = {};
  std::vector<Value> mutates_once = {};  // running statistics
  std::vector<std::int64_t> makes = {};  // bytes of each output
  std::int64_t ns = 0;                   // without the time to dispatch an operator
  std::int64_t workspace = 0;
  bool random = false;
  bool replayable = true;
  std::vector<BackwardOperator> backward = {};  // in this order; empty: no gradient
};

struct Optimizer {
  std::string name = "aten::_fused_sgd_";
  int states = 1;  // states per parameter, each as large as the parameter
  bool gradients_stay = true;
};

class StepBuilder {
 public:
  explicit StepBuilder(std::uint64_t seed) : random_(seed) {}

  // They are there from the start and are never released.
  Value parameter(std::int64_t bytes);
  Value given(std::int64_t bytes, graph::StorageKind kind);
  // Adds data that arrives now, before the next operator. It is released after its last use.
  Value arrive(std::int64_t bytes);

  // Returns the outputs. Throws: std::logic_error for an input that was overwritten since it was
  // made, and for overwriting what a backward needs.
  std::vector<Value> run(ForwardOperator op);
  // Returns parts of a tensor, on its storage. No operator runs. The backward joins their
  // gradients.
  std::vector<Value> views(Value whole, std::int64_t count);
  // True when an operator in place may overwrite the value.
  [[nodiscard]] bool can_overwrite(Value value) const;

  void enter(std::string layer) { layer_ = std::move(layer); }
  Random& random() { return random_; }
  // The number of operators that finish() would make of what was recorded so far. It is exact when
  // all of it leads to the loss.
  [[nodiscard]] std::int64_t operators() const { return operators_; }
  [[nodiscard]] std::int64_t bytes(Value value) const { return tensor(value).bytes; }

  graph::Trace finish(Value loss, const Optimizer& optimizer, std::string label) &&;

 private:
  using StorageId = graph::StorageId;

  struct Storage {
    std::int64_t bytes = 0;
    std::int64_t version = 0;
    std::int64_t last_use = -1;  // index in draft_; -1: none
    std::int64_t listed_by = 0;  // the number of the last list of reads that contains it
    std::int64_t holders = 0;    // for a gradient: the number of tensors whose gradient it is
    bool saved = false;          // a backward reads it
    bool given = false;
    bool held = false;  // held by the program until the end
  };

  struct Tensor {
    StorageId storage = 0;
    std::int64_t bytes = 0;
    std::int64_t version = 0;  // the storage's version when the tensor was made
    std::int64_t uses = 0;     // number of gradients that will be summed
    bool needs_gradient = false;
    bool is_parameter = false;
  };

  // A node of autograd: a forward operator that needs a backward.
  struct Node {
    std::string layer;
    std::vector<Value> outputs;
    std::vector<BackwardOperator> backward;
  };

  struct Gradient {
    StorageId storage = -1;  // -1: none yet
    bool view = false;       // it is a part of the storage
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
  std::int64_t operators_ = 1;  // 1 is the operator that makes the gradient of the loss
  std::int64_t lists_ = 0;
  std::vector<Storage> storages_;
  std::vector<Tensor> tensors_;
  std::vector<Value> parameters_;
  std::vector<Node> nodes_;
  std::vector<Gradient> gradients_;               // by tensor
  std::vector<std::pair<Value, Gradient>> made_;  // made by the current node, not yet summed
  std::vector<StorageId> touched_;                // storages that the current node uses
  std::vector<StorageId> keep_;
  std::vector<graph::Event> head_;
  std::vector<graph::Event> draft_;  // all events except the head and the releases
};

}  // namespace neap::bench
