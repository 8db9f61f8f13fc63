// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "nn/options.h"

#include <neap/nn.h>

#include <ATen/ops/cat.h>
#include <ATen/ops/max_pool2d.h>

namespace neap::nn {
namespace {

torch::nn::Sequential two_convolutions(std::int64_t in, std::int64_t out) {
  torch::nn::Sequential both;
  for (const std::int64_t from : {in, out}) {
    both->push_back(
        torch::nn::Conv2d(torch::nn::Conv2dOptions(from, out, 3).padding(1).bias(false)));
    both->push_back(torch::nn::BatchNorm2d(out));
    both->push_back(torch::nn::ReLU());
  }
  return both;
}

}  // namespace

UNetImpl::UNetImpl(const UNetOptions& options) {
  require_positive("UNet", "in_channels", options.in_channels);
  require_positive("UNet", "classes", options.classes);
  require_positive("UNet", "levels (the number of widths)",
                   static_cast<std::int64_t>(options.widths.size()));
  std::int64_t channels = options.in_channels;
  for (const std::int64_t width : options.widths) {
    require_positive("UNet", "one of widths", width);
    down.push_back(
        register_module("down" + std::to_string(down.size()), two_convolutions(channels, width)));
    channels = width;
  }
  for (auto width = options.widths.rbegin() + 1; width != options.widths.rend(); ++width) {
    const std::string level = std::to_string(grow.size());
    grow.push_back(register_module(
        "grow" + level, torch::nn::ConvTranspose2d(
                            torch::nn::ConvTranspose2dOptions(channels, *width, 2).stride(2))));
    up.push_back(register_module("up" + level, two_convolutions(2 * *width, *width)));
    channels = *width;
  }
  scores = register_module(
      "scores", torch::nn::Conv2d(torch::nn::Conv2dOptions(channels, options.classes, 1)));
}

at::Tensor UNetImpl::forward(const at::Tensor& x) {
  const std::int64_t step = std::int64_t{1} << (down.size() - 1);
  if (x.dim() != 4 || x.size(2) % step != 0 || x.size(3) % step != 0) {
    throw InvalidArgument("UNet: pictures of " + shape_text(x) +
                          "; expected (B, in_channels, H, W) with H and W divisible by " +
                          std::to_string(step));
  }
  std::vector<at::Tensor> skips;
  at::Tensor out = x;
  for (std::size_t level = 0; level < down.size(); ++level) {
    if (level > 0) out = at::max_pool2d(out, 2);
    out = down[level]->forward(out);
    if (level + 1 < down.size()) skips.push_back(out);
  }
  for (std::size_t level = 0; level < up.size(); ++level) {
    out = at::cat({grow[level]->forward(out), skips.back()}, 1);
    skips.pop_back();
    out = up[level]->forward(out);
  }
  return scores->forward(out);
}

}  // namespace neap::nn
