// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// traces/generators.h: training steps that nobody ran: forward, backward, optimizer, of any length, as traces to plan for.
//
//   for (const std::string_view family : neap::bench::families()) {
//     const neap::graph::Trace trace = neap::bench::make_trace(family, /*operators=*/10'000, /*seed=*/1);
//     std::cout << family << ": " << neap::graph::simulate(trace, neap::graph::plain_plan(trace)).peak << '\n';
//   }
//
// Guarantees: the same arguments give the same trace on every machine; each storage is released where LibTorch's autograd
// lets go of it; a saved tensor is never written into. Cost: about 2 us an operator, whatever the family.
// Limits: sizes and times come from counted flops and bytes, not from a machine; they are of the right order and ratio.
#pragma once

#include <neap/graph.h>

#include <cstdint>
#include <span>
#include <string_view>

namespace neap::bench {

// chain        one operator after the other, times and sizes over three orders of magnitude
// residual     convolution, BatchNorm with running statistics, ReLU in place, dropout, a sum with the block's input; 4 stages
// unet         each block of the way down is concatenated on the way up, as in diffusion models; up to 5 levels
// dense        each layer reads the concatenation of all earlier ones of its group (DenseNet), at most 12
// recurrent    a 2-layer LSTM over T steps, gates written out: many small operators, weights used T times
// transformer  pre-norm blocks, attention written out: scores, mask, softmax, dropout
// random       a random graph: in-degree 1-3, chains in place, random and not replayable operators, data that arrives late
// unrolled     several forwards with optimizer steps between them, in place, and one backward through all (MAML, unrolled GANs)
std::span<const std::string_view> families();

// A step of about so many operators: within 10 % from 100 on. The seed chooses sizes, times, and what the gradients' end is:
// released after the optimizer, or held to the end of the step. keep: parameters, buffers, optimizer state.
// Throws: InvalidArgument for another family, or fewer than 100 operators.
graph::Trace make_trace(std::string_view family, std::int64_t operators, std::uint64_t seed);

}  // namespace neap::bench
