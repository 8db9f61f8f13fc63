// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// traces/generators.h: makes traces of training steps that nobody ran, with forward, backward and
// optimizer, of any length, to test the planner.
//
//   for (const std::string_view family : neap::bench::families()) {
//     const neap::graph::Trace trace = neap::bench::make_trace(family, 10'000, 1);
//     std::cout << neap::graph::simulate(trace, neap::graph::plain_plan(trace)).peak << '\n';
//   }
//
// Guarantees: the same arguments give the same trace on every machine. Each storage is released
// where LibTorch's autograd lets go of it. A saved tensor is never overwritten. Cost: about 2 us
// per operator, for every family. Limits: sizes and times come from counted flops and bytes, not
// from a machine. They have the right order and ratio.
#pragma once

#include <neap/graph.h>

#include <cstdint>
#include <span>
#include <string_view>

namespace neap::bench {

// chain        one operator after the other, times and sizes over three orders of magnitude
// residual     convolution, BatchNorm with running statistics, ReLU in place, dropout, and a sum
//              with the block's input; 4 stages
// unet         each block of the way down is concatenated on the way up, as in diffusion models; up
//              to 5 levels
// dense        each layer reads the concatenation of all earlier ones of its group (DenseNet), at
//              most 12
// recurrent    a 2-layer LSTM over T steps, gates written out: many small operators, weights used
//              T times
// transformer  pre-norm blocks, attention written out: scores, mask, softmax, dropout
// random       a random graph: in-degree 1-3, chains in place, operators that are random or not
//              replayable, data that arrives late
// unrolled     several forwards with optimizer steps between them, in place, and one backward
//              through all (MAML, unrolled GANs)
std::span<const std::string_view> families();

// Makes a step of about `operators` operators: within 10 % from 100 on. The seed chooses sizes,
// times, and whether gradients are released after the optimizer or stay until the end of the step.
// The trace keeps parameters, buffers and optimizer state. Throws: InvalidArgument for another
// family, or for fewer than 100 operators.
graph::Trace make_trace(std::string_view family, std::int64_t operators, std::uint64_t seed);

}  // namespace neap::bench
