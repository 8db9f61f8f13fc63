// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// analysis/convolution_scratch.h: the temporary memory of a convolution's kernel, besides its
// operands and its result.
//
// oneDNN reorders pictures, weights and gradients into its own layout, in blocks of channels. Where
// none of its kernels supports a shape, it multiplies matrices, for which it copies the windows of
// the picture side by side. Both take more memory than the scratch of everything else. Both depend
// on the processor: blocks have 16 channels with AVX-512 and 8 with AVX2, and their kernels support
// different shapes. tests/analysis/convolution_scratch_test.cpp compares with the allocator's
// counts.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace neap::analysis {

// The kernels that an estimate assumes.
struct Kernels {
  std::int64_t channel_block = 0;  // see intercept/channel_block.h; 0: unknown
  std::int64_t threads = 1;

  [[nodiscard]] std::string text() const;
};
// The kernels that this thread would run now.
Kernels kernels_at_hand();

// A convolution of float tensors.
struct Convolution {
  // Depth, height, width. Missing dimensions are 1, with a padding of 0.
  using Places = std::array<std::int64_t, 3>;

  std::int64_t batch = 1, in_channels = 1, out_channels = 1, groups = 1;
  Places in = {1, 1, 1}, out = {1, 1, 1};
  Places kernel = {1, 1, 1}, stride = {1, 1, 1}, padding = {0, 0, 0}, dilation = {1, 1, 1};
  bool transposed = false;
};

// The largest scratch memory at one moment, in bytes.
struct ConvolutionScratch {
  std::int64_t forward = 0;  // besides input, weight and output
  // The backward makes the gradient of the input, then that of the weight. Each is besides input,
  // weight, the output's gradient, and the gradient that it makes.
  std::int64_t input_gradient = 0, weight_gradient = 0;
};

// All zeros when the kernels are unknown.
ConvolutionScratch scratch_of(const Convolution& convolution, const Kernels& kernels);

}  // namespace neap::analysis
