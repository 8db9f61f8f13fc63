// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "families.h"

#include <string>
#include <vector>

namespace neap::bench {
namespace {

constexpr std::int64_t kClassifier = 12;  // operators of classify()

Value classify(Layers& layers, const Image& x) {
  layers.step().enter("head");
  return layers.cross_entropy(layers.linear(layers.mean(x), 10));
}

Image convolve(Layers& layers, const Image& x, std::int64_t channels, std::int64_t kernel = 3,
               std::int64_t stride = 1) {
  return layers.batch_norm(layers.convolution(x, channels, kernel, stride));
}

// The stage, of `stages`, by the part of the step that is recorded so far.
std::int64_t stage_at(const Layers& layers, std::int64_t end, std::int64_t stages) {
  return std::min(stages - 1, stages * layers.operators() / end);
}

}  // namespace

Value record_residual(Layers& layers, std::int64_t operators) {
  const std::int64_t end = operators - kClassifier;
  const std::int64_t batch = 4 * layers.random().between(2, 8);
  const std::int64_t width = 16 * layers.random().between(1, 3);
  layers.step().enter("stem");
  Image x = layers.relu_in_place(convolve(layers, layers.picture(batch, 3, 64), width));
  std::int64_t stage = 0;
  std::int64_t blocks = 0;
  repeat(layers, end, 0, [&] {
    layers.step().enter("blocks." + std::to_string(blocks++));
    const bool narrows = stage_at(layers, end, 4) > stage;
    const std::int64_t stride = narrows ? 2 : 1;
    const std::int64_t channels = x.channels * stride;
    Image y = layers.dropout(layers.relu_in_place(convolve(layers, x, channels, 3, stride)));
    y = convolve(layers, y, channels);
    if (narrows) {
      ++stage;
      x = convolve(layers, x, channels, 1, stride);
    }
    x = layers.relu_in_place(layers.add(y, x));
  });
  return classify(layers, pad(layers, end, x));
}

Value record_unet(Layers& layers, std::int64_t operators) {
  constexpr std::int64_t kUpBlock = 12;  // operators, including the sum of the skip's gradients
  constexpr std::int64_t kUpLevel = 3;
  constexpr std::int64_t kClasses = 4;
  constexpr std::int64_t kPixelClassifier = 7;
  const std::int64_t end = operators - kPixelClassifier;
  const std::int64_t levels = operators < 300 ? 2 : 5;
  const std::int64_t batch = layers.random().between(2, 8);
  const std::int64_t width = 8 * layers.random().between(1, 3);
  Image x = layers.picture(batch, 3, 128);
  std::int64_t level = 0;
  std::int64_t blocks = 0;
  const auto block = [&](const char* name, std::int64_t channels) {
    layers.step().enter(name + std::to_string(blocks++));
    x = layers.relu_in_place(convolve(layers, x, channels));
  };
  std::vector<Image> skips;
  repeat(layers, end - (levels - 1) * kUpLevel, kUpBlock, [&] {
    // The way down gets two fifths of the step, because the way up is longer.
    if (stage_at(layers, 2 * end / 5, levels) > level && level + 1 < levels && !skips.empty()) {
      ++level;
      x = layers.max_pool(x);
    }
    block("down.", width * (level + 1));
    skips.push_back(x);
  });
  for (; !skips.empty(); skips.pop_back()) {
    const Image& skip = skips.back();
    if (skip.side > x.side) x = layers.transposed_convolution(x, skip.channels);
    x = layers.concatenate({x, skip});
    block("up.", skip.channels);
  }
  x = pad(layers, end, x);
  layers.step().enter("head");
  x = layers.convolution(x, kClasses, 1, 1);
  return layers.cross_entropy({x.value, x.batch * x.side * x.side, kClasses});
}

Value record_dense(Layers& layers, std::int64_t operators) {
  constexpr std::int64_t kLargestGroup = 12;
  const std::int64_t end = operators - kClassifier;
  // Leaves room for the last group's concatenation. Its parts have other readers, so the gradient
  // of each part takes a sum.
  const std::int64_t blocks_end = end - kLargestGroup - 1;
  const std::int64_t batch = 4 * layers.random().between(2, 8);
  const std::int64_t growth = 8 * layers.random().between(1, 3);
  const std::int64_t group = layers.random().between(6, kLargestGroup);
  layers.step().enter("stem");
  Image x = layers.relu_in_place(convolve(layers, layers.picture(batch, 3, 64), 2 * growth));
  std::vector<Image> features = {x};
  std::int64_t stage = 0;
  std::int64_t blocks = 0;
  const auto all = [&] {
    return features.size() == 1 ? features.front() : layers.concatenate(features);
  };
  repeat(layers, blocks_end, 0, [&] {
    layers.step().enter("layers." + std::to_string(blocks++));
    x = layers.relu_in_place(layers.batch_norm(all()));
    if (static_cast<std::int64_t>(features.size()) == group) {
      x = layers.convolution(x, 2 * growth, 1, 1);
      if (stage_at(layers, blocks_end, 4) > stage) {
        ++stage;
        x = layers.max_pool(x);
      }
      features = {x};
      return;
    }
    x = layers.relu_in_place(layers.batch_norm(layers.convolution(x, 4 * growth, 1, 1)));
    features.push_back(layers.convolution(x, growth, 3, 1));
  });
  x = all();
  return classify(layers, pad(layers, end, x));
}

}  // namespace neap::bench
