// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "nn/options.h"

#include <neap/nn.h>

namespace neap::nn {

MLPImpl::MLPImpl(const MLPOptions& options) {
  require_positive("MLP", "in", options.in);
  require_positive("MLP", "width", options.width);
  require_positive("MLP", "out", options.out);
  require_positive("MLP", "layers", options.layers);
  for (std::int64_t layer = 0; layer < options.layers; ++layer) {
    const bool last = layer + 1 == options.layers;
    torch::nn::Sequential block(torch::nn::Linear(layer == 0 ? options.in : options.width,
                                                  last ? options.out : options.width));
    if (!last || options.activate_last) block->push_back(torch::nn::GELU());
    blocks.push_back(register_module("block" + std::to_string(layer), block));
  }
}

at::Tensor MLPImpl::forward(const at::Tensor& x) {
  at::Tensor out = x.dim() > 2 ? x.flatten(1) : x;
  for (torch::nn::Sequential& block : blocks) out = block->forward(out);
  return out;
}

}  // namespace neap::nn
