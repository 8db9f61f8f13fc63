// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "families.h"

#include <string>
#include <utility>
#include <vector>

namespace neap::bench {
namespace {

constexpr std::int64_t kItem = 4;  // bytes of a float
constexpr std::int64_t kMostInner = 5;

// A bias that inner steps overwrite. The addition of the bias does not save it, so it may be
// overwritten before the backward.
struct Fast {
  Value value;
  std::int64_t columns;
  bool differentiable;  // a copy, and the gradient flows through its updates
};

Fast make_fast(Layers& layers, std::int64_t columns, bool differentiable) {
  const Value bias = layers.weight(1, columns);
  if (!differentiable) return {bias, columns, false};
  return {layers.step().run({.name = "aten::clone",
                             .reads = {bias},
                             .makes = {kItem * columns},
                             .backward = {{.of = {bias}}}})[0],
          columns, true};
}

Matrix add(Layers& layers, Matrix x, const Fast& fast) {
  const std::int64_t bytes = kItem * x.rows * x.columns;
  x.value = layers.step().run(
      {.name = "aten::add",
       .reads = {x.value, fast.value},
       .makes = {bytes},
       .ns = 2 * bytes / kBytesPerNs,
       .backward = {{.of = {x.value}},
                    {.name = "aten::sum", .of = {fast.value}, .ns = bytes / kBytesPerNs}}})[0];
  return x;
}

// Computes the gradient of the inner loss and makes a step along it.
void descend(Layers& layers, Fast& fast, const Matrix& activation) {
  const std::int64_t bytes = kItem * fast.columns;
  const Value gradient =
      layers.step().run({.name = "aten::sum",
                         .reads = {activation.value},
                         .makes = {bytes},
                         .ns = kItem * activation.rows * activation.columns / kBytesPerNs})[0];
  ForwardOperator step{.name = "aten::sub_",
                       .reads = {gradient},
                       .overwrites = fast.value,
                       .replayable = fast.differentiable};
  if (fast.differentiable) step.backward = {{.of = {fast.value}}};
  fast.value = layers.step().run(std::move(step))[0];
}

}  // namespace

// A network that runs several times on its own output, like a network unrolled in time. Between two
// runs its biases take a step in place. What all runs have made is needed by one backward.
Value record_unrolled(Layers& layers, std::int64_t operators) {
  constexpr std::int64_t kRun = 9;     // operators of a layer in a run, with those of the backward
  constexpr std::int64_t kStep = 2;    // operators of a step between two runs
  constexpr std::int64_t kUpdate = 2;  // operators of the optimizer
  constexpr std::int64_t kClassifier = 12;
  const std::int64_t rows = 256 * layers.random().between(2, 8);
  const std::int64_t width = 32 * layers.random().between(2, 4);
  const std::int64_t runs = layers.random().between(2, operators < 300 ? 2 : 5);
  const bool differentiable = layers.random().chance(50);
  const std::int64_t depth =
      (operators - kClassifier) / (kRun * runs + kStep * (runs - 1) + kUpdate);
  std::vector<Fast> biases;
  std::vector<Value> weights;
  for (std::int64_t layer = 0; layer < depth; ++layer) {
    layers.step().enter("layers." + std::to_string(layer));
    weights.push_back(layers.weight(width, width));
    biases.push_back(make_fast(layers, width, differentiable));
  }
  Matrix x = layers.rows(rows, width);
  for (std::int64_t run = 0; run < runs; ++run) {
    std::vector<Matrix> activations;
    for (std::size_t layer = 0; layer < biases.size(); ++layer) {
      layers.step().enter("layers." + std::to_string(layer));
      x = layers.gelu(add(layers, layers.product(x, weights[layer], width), biases[layer]));
      activations.push_back(x);
    }
    if (run + 1 == runs) break;
    for (std::size_t layer = 0; layer < biases.size(); ++layer) {
      layers.step().enter("layers." + std::to_string(layer));
      descend(layers, biases[layer], activations[layer]);
    }
  }
  layers.step().enter("head");
  return layers.cross_entropy(layers.linear(pad(layers, operators - kClassifier, x), 10));
}

}  // namespace neap::bench
