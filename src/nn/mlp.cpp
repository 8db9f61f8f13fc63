// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "nn/options.h"

#include <neap/nn.h>

#include <string>

namespace neap::nn {
namespace {

std::vector<std::int64_t> widths_of(const MLPOptions& options) {
  require_positive("MLP", "in", options.in);
  require_positive("MLP", "width", options.width);
  require_positive("MLP", "out", options.out);
  require_positive("MLP", "layers", options.layers);
  std::vector<std::int64_t> widths(static_cast<std::size_t>(options.layers), options.width);
  widths.back() = options.out;
  return widths;
}

}  // namespace

MLPImpl::MLPImpl(const MLPOptions& options)
    : MLPImpl(options.in, widths_of(options), Activation::GELU, options.activate_last) {}

MLPImpl::MLPImpl(std::int64_t in, const std::vector<std::int64_t>& widths, Activation activation,
                 bool activate_last) {
  require_positive("MLP", "in", in);
  require_positive("MLP", "layers (the number of widths)",
                   static_cast<std::int64_t>(widths.size()));
  for (const std::int64_t width : widths) {
    require_positive("MLP", "one of widths", width);
    torch::nn::Sequential block(torch::nn::Linear(in, width));
    if (blocks.size() + 1 < widths.size() || activate_last) {
      if (activation == Activation::ReLU) {
        block->push_back(torch::nn::ReLU());
      } else {
        block->push_back(torch::nn::GELU());
      }
    }
    blocks.push_back(register_module("block" + std::to_string(blocks.size()), block));
    in = width;
  }
}

at::Tensor MLPImpl::forward(const at::Tensor& x) {
  at::Tensor out = x.dim() > 2 ? x.flatten(1) : x;
  for (torch::nn::Sequential& block : blocks) out = block->forward(out);
  return out;
}

}  // namespace neap::nn
