// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// analysis/convolution_scratch.h: what a convolution's kernel holds for a moment beside its operands and its result.
//
// oneDNN brings pictures, weights and gradients into an order of its own, in blocks of channels; where none of its kernels takes
// a shape, it multiplies matrices, for which it lays the picture's windows side by side. Both are larger than the scratch of
// everything else, and both hang on the processor: blocks are of 16 channels with AVX-512 and of 8 with AVX2, and what one
// kernel refuses another takes. tests/analysis/convolution_scratch_test.cpp compares with what the allocator sees.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace neap::analysis {

// The kernels that an estimate assumes.
struct Kernels {
  std::int64_t channel_block = 0;  // see intercept/channel_block.h; 0: not known
  std::int64_t threads = 1;

  [[nodiscard]] std::string text() const;
};
// Those that would run now, in this thread.
Kernels kernels_at_hand();

// Of float.
struct Convolution {
  // Depth, height, width; 1, and a padding of 0, where there are fewer.
  using Places = std::array<std::int64_t, 3>;

  std::int64_t batch = 1, in_channels = 1, out_channels = 1, groups = 1;
  Places in = {1, 1, 1}, out = {1, 1, 1};
  Places kernel = {1, 1, 1}, stride = {1, 1, 1}, padding = {0, 0, 0}, dilation = {1, 1, 1};
  bool transposed = false;
};

// Bytes at the moment with the most of them.
struct ConvolutionScratch {
  std::int64_t forward = 0;  // beside input, weight and output
  // The backward makes the gradient of the input, then that of the weight. Each beside input, weight, the output's gradient, and
  // the gradient that it makes.
  std::int64_t input_gradient = 0, weight_gradient = 0;
};

// All zeros where the kernels are not known.
ConvolutionScratch scratch_of(const Convolution& convolution, const Kernels& kernels);

}  // namespace neap::analysis
