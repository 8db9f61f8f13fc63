// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "analysis/convolution_scratch.h"

#include "intercept/channel_block.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace neap::analysis {
namespace {

constexpr std::int64_t kItemBytes = 4;
constexpr std::size_t kDepth = 0, kHeight = 1, kWidth = 2;

std::int64_t product(const Convolution::Places& places) {
  return places[kDepth] * places[kHeight] * places[kWidth];
}
bool any_above(const Convolution::Places& places, std::int64_t bound) {
  return std::any_of(places.begin(), places.end(), [&](std::int64_t i) { return i > bound; });
}
std::int64_t round_up(std::int64_t count, std::int64_t block) {
  return (count + block - 1) / block * block;
}

// Bytes of the three operands in a kernel's layout.
struct Operands {
  std::int64_t in = 0, out = 0, weight = 0;
};

// A convolution from the side with more places to that with fewer. A transposed convolution is the
// backward of such a one.
class Shape {
 public:
  Shape(const Convolution& convolution, const Kernels& kernels)
      : convolution_(convolution), kernels_(kernels) {
    if (convolution.transposed) {
      std::swap(convolution_.in, convolution_.out);
      std::swap(convolution_.in_channels, convolution_.out_channels);
    }
    in_ = convolution_.in_channels / convolution_.groups;
    out_ = convolution_.out_channels / convolution_.groups;
    taps_ = product(convolution_.kernel);
    strided_ = any_above(convolution_.stride, 1);
    dilated_ = any_above(convolution_.dilation, 1);
    plain_ = {bytes(convolution_.in_channels, convolution_.in),
              bytes(convolution_.out_channels, convolution_.out),
              kItemBytes * convolution_.groups * in_ * out_ * taps_};
  }

  // LibTorch uses its own kernels for small calls, and where one thread multiplies 1 x 1 matrices.
  [[nodiscard]] bool is_small() const {
    const auto& c = convolution_;
    const bool one = c.kernel[kHeight] == 1 && c.kernel[kWidth] == 1;
    const std::int64_t read =
        c.batch * (c.transposed ? c.out_channels * product(c.out) : c.in_channels * product(c.in));
    return !(strided_ || dilated_ || c.batch >= 16 || !one || kernels_.threads > 1) ||
           !(c.groups > 1 || (c.kernel[kHeight] > 3 && c.kernel[kWidth] > 3) || c.batch > 1 ||
             read > 20480);
  }
  [[nodiscard]] ConvolutionScratch small() const {
    const std::int64_t groups = convolution_.groups;
    // One group at a time, from copies.
    if (groups > 1) return {plain_.out, plain_.in, (plain_.in + plain_.out) / groups};
    return {windows(), convolution_.transposed || dilated_ ? windows() : 0, windows()};
  }

  [[nodiscard]] std::int64_t to_out() const {
    const auto& c = convolution_;
    for (const std::int64_t block : blocks()) {
      if (!takes_channels(block)) continue;
      // Not supported: a row of padding only, or more padding than the registers of a kernel hold.
      if (c.padding[kWidth] > c.out[kWidth] || c.padding[kWidth] >= (block == 16 ? span() : 4))
        break;
      const bool flat = c.groups == 1 && in_ < block;  // read without reordering
      const Operands one = blocked(block, flat);
      return std::max((flat ? 0 : one.in) + one.weight + one.out - plain_.out, one.out);
    }
    if (kernels_.channel_block == 16 && c.groups > 1)
      return std::max(plain_.in + plain_.weight, plain_.out);
    return std::max(plain_.out, matrices(0));
  }

  [[nodiscard]] std::int64_t to_in() const {
    const auto& c = convolution_;
    const std::int64_t block = kernels_.channel_block;
    if (strided_ && !dilated_ && (c.groups == 1 || (!by_channel() && out_ % 16 == 0))) {
      // Channels last: the picture's gradient is copied into that layout and back. Each thread also
      // has a picture with a margin.
      const std::int64_t margin = (span() - 1) / c.stride[kWidth];
      const std::int64_t picture =
          kItemBytes * out_ * c.out[kDepth] * (c.out[kHeight] + margin) * (c.out[kWidth] + margin);
      const std::int64_t tables = 8216 * kernels_.threads + 12288;
      const std::int64_t weight = kItemBytes * c.groups * out_ * round_up(in_, block) * taps_;
      return std::max(plain_.out + weight + picture * kernels_.threads + tables, 2 * plain_.in);
    }
    for (const std::int64_t each : blocks()) {
      if (!takes_channels(each)) continue;
      if ((dilated_ && strided_) || c.padding[kWidth] > c.out[kWidth]) break;
      const Operands one = blocked(each, false);
      return std::max(one.in + one.out + one.weight - plain_.in, one.in);
    }
    return std::max(plain_.in, matrices(0));
  }

  [[nodiscard]] std::int64_t to_weight() const {
    for (const std::int64_t block : blocks()) {
      if (!takes_channels(block) || !learns(block)) continue;
      const bool flat =
          convolution_.groups == 1 && taps_ > 1 && (block == 16 ? in_ <= 3 : in_ == 3);
      const Operands one = blocked(block, flat);
      return std::max((flat ? 0 : one.in) + one.out + one.weight - plain_.weight, one.weight);
    }
    // Each thread sums a gradient of its own. oneDNN allocates its number of bytes in floats.
    return std::max(matrices(kItemBytes * plain_.weight), plain_.weight);
  }

 private:
  [[nodiscard]] std::int64_t bytes(std::int64_t channels, const Convolution::Places& places) const {
    return kItemBytes * convolution_.batch * channels * product(places);
  }
  // The extent of a dilated kernel along a row.
  [[nodiscard]] std::int64_t span() const { return span_of(kWidth); }
  [[nodiscard]] std::int64_t span_of(std::size_t place) const {
    return convolution_.dilation[place] * (convolution_.kernel[place] - 1) + 1;
  }
  [[nodiscard]] bool by_channel() const { return convolution_.groups > 1 && in_ == 1 && out_ == 1; }

  // Where the kernels of the larger block do not support a shape, the smaller one is tried.
  [[nodiscard]] std::vector<std::int64_t> blocks() const {
    if (kernels_.channel_block == 16) return {16, 8};
    return {kernels_.channel_block};
  }
  [[nodiscard]] bool takes_channels(std::int64_t block) const {
    // Without groups, or with one channel per group, channels are padded to whole blocks.
    return convolution_.groups == 1 || by_channel() || (in_ % block == 0 && out_ % block == 0);
  }
  // flat: the picture has too few channels for a block.
  [[nodiscard]] Operands blocked(std::int64_t block, bool flat) const {
    const auto& c = convolution_;
    if (by_channel()) {
      const std::int64_t channels = round_up(c.groups, block);
      return {bytes(channels, c.in), bytes(channels, c.out), kItemBytes * channels * taps_};
    }
    if (c.groups > 1) return plain_;
    const std::int64_t in = flat ? in_ : round_up(in_, block), out = round_up(out_, block);
    return {bytes(in, c.in), bytes(out, c.out), kItemBytes * in * out * taps_};
  }
  // Whether the kernels of this block support the weight's gradient.
  [[nodiscard]] bool learns(std::int64_t block) const {
    const auto& c = convolution_;
    if (block == 16) {
      if (dilated_ && (strided_ || span_of(kHeight) > c.in[kHeight])) return false;
      return c.padding[kHeight] <= span_of(kHeight) / 2 && !(c.groups == 1 && in_ > 3 && in_ < 16);
    }
    return !dilated_ && c.kernel[kHeight] <= c.in[kHeight] &&
           c.padding[kHeight] < c.kernel[kHeight] && c.padding[kDepth] == 0 &&
           c.kernel[kDepth] <= c.in[kDepth];
  }
  // Bytes of the windows of one picture side by side, the matrix that a weight is multiplied with.
  [[nodiscard]] std::int64_t windows() const {
    if (taps_ == 1 && !strided_ && !any_above(convolution_.padding, 0)) return 0;
    return kItemBytes * in_ * taps_ * product(convolution_.out);
  }
  // For each thread: the windows, and `beside`.
  [[nodiscard]] std::int64_t matrices(std::int64_t beside) const {
    const bool by_picture = product(convolution_.out) / kernels_.threads < 256 &&
                            (convolution_.batch > 1 || convolution_.groups > 2);
    return (by_picture ? kernels_.threads : 1) * (windows() + beside);
  }

  Convolution convolution_;
  Kernels kernels_;
  std::int64_t in_ = 0, out_ = 0;  // channels of a group
  std::int64_t taps_ = 0;          // places of a kernel
  bool strided_ = false, dilated_ = false;
  Operands plain_;
};

}  // namespace

std::string Kernels::text() const {
  if (channel_block == 0) return "not known; scratch memory of convolutions is not counted";
  return std::string("oneDNN's for ") + (channel_block == 16 ? "AVX-512" : "AVX2") + ", " +
         std::to_string(threads) + (threads == 1 ? " thread" : " threads");
}

Kernels kernels_at_hand() { return {intercept::channel_block(), at::get_num_threads()}; }

ConvolutionScratch scratch_of(const Convolution& convolution, const Kernels& kernels) {
  if (kernels.channel_block == 0) return {};
  const Shape shape(convolution, kernels);
  if (shape.is_small()) return shape.small();
  ConvolutionScratch scratch{shape.to_out(), shape.to_in(), shape.to_weight()};
  if (convolution.transposed) std::swap(scratch.forward, scratch.input_gradient);
  return scratch;
}

}  // namespace neap::analysis
