// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/summary.h: a model's layers with the sizes of their outputs, their parameters, and what they
// take in a training step.
//
//   const neap::graph::Trace trace = neap::trace_steps(step);   // of a step of the same model
//   for (const auto& layer : neap::summarize(model, x, trace)) {
//     std::cout << layer.name << ' ' << layer.parameters << ' ' << layer.flops << '\n';
//   }
//
// An operator belongs to the layer whose parameter it reads, or else to the layer before it; and to
// all layers that this one is in. So a layer without parameters, such as a ReLU between two Linear,
// is not seen: what it makes counts for the layer before it. Operators that read a parameter of two
// layers belong to the last of them.
//
// FLOPs are those of the forward, with the convention of torch.utils.flop_counter: a multiply-add
// is 2, and only products of matrices, convolutions, attention and the matrices of recurrent layers
// count.
//
// Units: bytes, ns. Threads: the calling thread.
#pragma once

#include <neap/graph.h>
#include <neap/model.h>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace neap {

namespace analysis {

struct LayerSummary {
  std::string name = {};  // as in named_modules(); empty: the model itself
  std::string kind = {};  // Linear, Conv2d
  // Sizes of its output, with the batch: of the operator that reads the layer's parameters, or, for
  // one with layers inside, of its last operator. Empty: unknown.
  std::vector<std::int64_t> output = {};
  std::int64_t parameters = 0;       // numbers; a shared one counts for the first that has it
  std::int64_t parameter_bytes = 0;  // of these
  bool seen = false;             // an operator of the forward belongs to it; false: all below are 0
  std::int64_t activations = 0;  // bytes that it makes in the forward and the backward finds
  std::int64_t flops = 0;
  std::int64_t forward_ns = 0;
  std::int64_t backward_ns = 0;
};

}  // namespace analysis

// All modules, each after the one that it is in, the model first; each with all that it has inside.
// `trace`: of a step of this model, or of another one of the same layers, with a batch as `x`, with
// its layers named (neap::name_layers). Runs one forward of x; the model's parameters, buffers and
// gradients, and LibTorch's generator, are as before at the end.
// Throws: what the model throws; graph::FormatError when the trace is invalid.
NEAP_EXPORT std::vector<analysis::LayerSummary> summarize(const train::Model& model,
                                                          const at::Tensor& x,
                                                          const graph::Trace& trace);

}  // namespace neap
