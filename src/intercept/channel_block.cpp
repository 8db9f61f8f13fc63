// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "intercept/channel_block.h"

#include "intercept/dispatch.h"

#include <ATen/Context.h>
#include <ATen/ops/mkldnn_reorder_conv2d_weight.h>
#include <ATen/ops/ones.h>

namespace neap::intercept {
namespace {

// LibTorch does not export oneDNN's query for the instruction set. But a weight in the layout of
// its kernels is padded to whole blocks, and that shows in its size.
std::int64_t ask() {
  constexpr std::int64_t kChannels = 8;
  const auto size_of = c10::Dispatcher::singleton().findSchema({"mkldnn::_nbytes", ""});
  if (!size_of) return 0;
  ensure_registered();
  const BelowAll below;
  const at::Tensor weight = at::ones({kChannels, kChannels, 1, 1});
  torch::jit::Stack stack{at::mkldnn_reorder_conv2d_weight(weight.to_mkldnn())};
  size_of->callBoxed(&stack);
  const std::int64_t rows =
      stack[0].toInt() / (kChannels * static_cast<std::int64_t>(sizeof(float)));
  return rows == 8 || rows == 16 ? rows : 0;
}

}  // namespace

std::int64_t channel_block() {
#if defined(__x86_64__)
  if (!at::globalContext().hasMKLDNN() || !at::globalContext().userEnabledMkldnn()) return 0;
  static const std::int64_t block = ask();
  return block;
#else
  return 0;  // the rule holds for x86 kernels only
#endif
}

}  // namespace neap::intercept
