// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// How much scratch memory a convolution needs depends on the processor. So each shape runs on this
// machine and is compared with what is said of its kernels. What is said of other processors is
// compared with measurements made there.
#include "analysis/convolution_scratch.h"

#include "memory/allocator.h"

#include <neap/analysis.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace neap;
using analysis::Convolution;
using analysis::Kernels;

constexpr Kernels kAvx512{16, 1}, kAvx2{8, 1}, kAvx2TwoThreads{8, 2};

// Square pictures.
struct Square {
  std::int64_t batch, in_channels, in, out_channels, kernel, stride = 1, padding = 0, groups = 1,
                                                             dilation = 1;
  bool transposed = false;

  [[nodiscard]] std::int64_t out() const {
    const std::int64_t reach = dilation * (kernel - 1) + 1;
    return transposed ? (in - 1) * stride - 2 * padding + reach
                      : (in + 2 * padding - reach) / stride + 1;
  }
  [[nodiscard]] Convolution convolution() const {
    return {.batch = batch,
            .in_channels = in_channels,
            .out_channels = out_channels,
            .groups = groups,
            .in = {1, in, in},
            .out = {1, out(), out()},
            .kernel = {1, kernel, kernel},
            .stride = {1, stride, stride},
            .padding = {0, padding, padding},
            .dilation = {1, dilation, dilation},
            .transposed = transposed};
  }
};

// With AVX2 this layer's backward needs more than it would seem. The kernels need a picture of 3
// rows or more, so oneDNN multiplies matrices instead, and each thread takes four times the weight
// for its part of the gradient.
TEST(ConvolutionScratch, a_picture_smaller_than_the_kernel_takes_four_weights_a_thread_with_avx2) {
  const Convolution layer =
      Square{
          .batch = 8, .in_channels = 512, .in = 2, .out_channels = 512, .kernel = 3, .padding = 1}
          .convolution();
  constexpr std::int64_t kPicture = 8 * 512 * 2 * 2 * 4, kWeight = 512 * 512 * 9 * 4;
  constexpr std::int64_t kWindows = 512 * 9 * 2 * 2 * 4;
  for (const Kernels& kernels : {kAvx512, kAvx2, kAvx2TwoThreads}) {
    const auto scratch = analysis::scratch_of(layer, kernels);
    // The scratch is the picture and the weight in oneDNN's order. The forward's result was also in
    // that order, and is converted back.
    EXPECT_EQ(scratch.forward, kPicture + kWeight);
    EXPECT_EQ(scratch.input_gradient, kPicture + kWeight);
  }
  EXPECT_EQ(analysis::scratch_of(layer, kAvx512).weight_gradient, kWeight);
  EXPECT_EQ(analysis::scratch_of(layer, kAvx2).weight_gradient, 4 * kWeight + kWindows);
  EXPECT_EQ(analysis::scratch_of(layer, kAvx2TwoThreads).weight_gradient,
            2 * (4 * kWeight + kWindows));
}

TEST(ConvolutionScratch, channels_are_padded_to_whole_blocks) {
  const Convolution layer =
      Square{.batch = 4, .in_channels = 8, .in = 96, .out_channels = 8, .kernel = 3, .padding = 1}
          .convolution();
  constexpr std::int64_t kPicture = 4 * 8 * 96 * 96 * 4;
  // Both pictures are padded to 16 channels then, and the weight to 16 x 16.
  EXPECT_EQ(analysis::scratch_of(layer, kAvx512).input_gradient, 3 * kPicture + 16 * 16 * 9 * 4);
  EXPECT_EQ(analysis::scratch_of(layer, kAvx2).input_gradient, kPicture + 8 * 8 * 9 * 4);
}

TEST(ConvolutionScratch, nothing_is_said_of_kernels_that_are_not_known) {
  const auto scratch = analysis::scratch_of(
      Square{.batch = 4, .in_channels = 8, .in = 9, .out_channels = 8, .kernel = 3}.convolution(),
      {});
  EXPECT_EQ(scratch.forward, 0);
  EXPECT_EQ(scratch.input_gradient, 0);
  EXPECT_EQ(scratch.weight_gradient, 0);
  EXPECT_EQ(Kernels{}.text(), "not known; scratch memory of convolutions is not counted");
  EXPECT_EQ(kAvx512.text(), "oneDNN's for AVX-512, 1 thread");
  EXPECT_EQ(kAvx2TwoThreads.text(), "oneDNN's for AVX2, 2 threads");
}

TEST(ConvolutionScratch, the_kernels_at_hand_are_those_that_onednn_was_told_to_take) {
  const Kernels kernels = analysis::kernels_at_hand();
  const char* const told = std::getenv("ONEDNN_MAX_CPU_ISA");
  if (told != nullptr && std::string(told) == "AVX2" && kernels.channel_block != 0) {
    EXPECT_EQ(kernels.channel_block, 8);
  }
  EXPECT_EQ(kernels.threads, at::get_num_threads());
}

struct OneDnnOff {
  OneDnnOff() { at::globalContext().setUserEnabledMkldnn(false); }
  OneDnnOff(const OneDnnOff&) = delete;
  OneDnnOff& operator=(const OneDnnOff&) = delete;
  ~OneDnnOff() { at::globalContext().setUserEnabledMkldnn(true); }
};

TEST(ConvolutionScratch,
     an_estimate_names_its_kernels_in_text_and_json_and_says_where_it_has_none) {
  const torch::nn::Conv2d layer(torch::nn::Conv2dOptions(8, 8, 3));
  const std::string names = analysis::kernels_at_hand().text();
  const MemoryUsage usage = estimate_memory_usage(*layer, {8, 32, 32}, 4);
  EXPECT_EQ(usage.kernels, names);
  EXPECT_NE(usage.text().find("\nkernels: " + names + '\n'), std::string::npos) << usage.text();
  EXPECT_NE(usage.to_json().find("\"kernels\": \"" + names + '"'), std::string::npos)
      << usage.to_json();
  const OneDnnOff off;
  const MemoryUsage without = estimate_memory_usage(*layer, {8, 32, 32}, 4);
  EXPECT_EQ(without.kernels, "not known; scratch memory of convolutions is not counted");
  if (usage.kernels != without.kernels) {
    EXPECT_GT(usage.peak, without.peak);
  }
}

// The bytes that the allocator sees above those that stay.
template <class Run>
std::int64_t seen_beside(const Run& run) {
  memory::reset_peak();
  const auto kept = run();
  return memory::usage().peak - memory::usage().live;
}

TEST(ConvolutionScratch, of_each_kind_of_convolution_it_is_what_the_allocator_sees) {
  const Kernels kernels = analysis::kernels_at_hand();
  if (kernels.channel_block == 0) GTEST_SKIP() << "this machine's kernels are not known";
  // Batch, channels, size, channels, kernel, stride, padding, groups, dilation, transposed.
  const std::vector<Square> shapes{
      {8, 3, 64, 64, 7, 2, 3},               // the first of an ImageNet ResNet
      {8, 64, 16, 64, 3, 1, 1},              //
      {8, 64, 16, 128, 3, 2, 1},             // strided
      {8, 64, 16, 128, 1, 2, 0},             // beside a skip
      {8, 256, 4, 256, 3, 1, 1},             //
      {8, 512, 2, 512, 3, 1, 1},             // a picture smaller than its kernel
      {4, 3, 96, 8, 3, 1, 1},                // few channels
      {4, 8, 96, 8, 3, 1, 1},                //
      {4, 24, 28, 40, 3, 1, 1},              // no whole blocks
      {4, 8, 48, 16, 5, 1, 2},               //
      {16, 1, 28, 64, 4, 4, 0},              // patches
      {16, 3, 28, 64, 1, 1, 0},              //
      {4, 32, 24, 16, 2, 2, 0, 1, 1, true},  // as a U-Net's
      {8, 64, 14, 32, 4, 2, 1, 1, 1, true},  //
      {4, 32, 14, 32, 3, 1, 1, 1, 1, true},  //
      {8, 32, 28, 32, 3, 1, 1, 32},          // one channel each
      {8, 24, 28, 24, 3, 1, 1, 24},          //
      {8, 64, 28, 64, 3, 1, 1, 2},           // groups of whole blocks
      {8, 48, 28, 48, 3, 1, 1, 4},           // and of others
      {8, 64, 14, 64, 3, 1, 2, 1, 2},        // dilated
      {2, 64, 28, 64, 3, 1, 2, 1, 2},        //
      {1, 64, 28, 16, 3, 1, 1},              // one picture
      {1, 8, 16, 16, 3, 1, 1},               // too small for oneDNN
      {4, 16, 8, 8, 1, 1, 0},                // a product of matrices
  };
  for (const Square& shape : shapes) {
    const at::Tensor x = torch::randn({shape.batch, shape.in_channels, shape.in, shape.in});
    const at::Tensor weight =
        shape.transposed ? torch::randn({shape.in_channels, shape.out_channels / shape.groups,
                                         shape.kernel, shape.kernel})
                         : torch::randn({shape.out_channels, shape.in_channels / shape.groups,
                                         shape.kernel, shape.kernel});
    const std::vector<std::int64_t> stride{shape.stride, shape.stride},
        padding{shape.padding, shape.padding}, dilation{shape.dilation, shape.dilation}, none{0, 0};
    at::Tensor y;
    const auto forward = [&] {
      return at::convolution(x, weight, {}, stride, padding, dilation, shape.transposed, none,
                             shape.groups);
    };
    const auto backward = [&](bool input) {
      return at::convolution_backward(y, x, weight, std::nullopt, stride, padding, dilation,
                                      shape.transposed, none, shape.groups, {input, !input, false});
    };
    y = forward();
    const auto said = analysis::scratch_of(shape.convolution(), kernels);
    const auto compare = [&](const char* which, std::int64_t expected, std::int64_t seen) {
      // The bytes of oneDNN's tables and of its threads' sums, some tens of KiB, are not known, and
      // the allocator rounds each block up.
      const std::int64_t bytes =
          static_cast<std::int64_t>(x.nbytes() + y.nbytes() + weight.nbytes());
      EXPECT_LE(std::abs(expected - seen), bytes / 25 + 40000)
          << which << " of " << x.sizes() << " by " << weight.sizes() << ", stride " << shape.stride
          << ", groups " << shape.groups << ": said " << expected << ", seen " << seen;
    };
    compare("forward", said.forward, seen_beside(forward));
    compare("input's gradient", said.input_gradient, seen_beside([&] { return backward(true); }));
    compare("weight's gradient", said.weight_gradient,
            seen_beside([&] { return backward(false); }));
  }
}

}  // namespace
