// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// After a first forward of AdaptiveCheckpointing that threw in its second layer, the next forward
// took layers that had never run for layers that keep nothing. So it checkpointed none of them.
#include <neap/neap.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <functional>
#include <stdexcept>
#include <vector>

namespace neap {
namespace {

TEST(AdaptiveForwardThatFailed, leaves_no_layer_that_is_taken_to_keep_nothing) {
  bool fails = true;
  const auto layer = [](const at::Tensor& x) { return x.tanh().exp().sin(); };
  std::vector<std::function<at::Tensor(const at::Tensor&)>> layers(6, layer);
  layers[1] = [&](const at::Tensor& x) {
    if (fails) throw std::runtime_error("no");
    return layer(x);
  };
  const at::Tensor x = torch::randn({64, 64}).requires_grad_();
  AdaptiveCheckpointing adaptive(Bytes(1));
  EXPECT_THROW(adaptive.forward_with_adaptive_checkpoint(layers, x), std::runtime_error);
  fails = false;
  const at::Tensor y = adaptive.forward_with_adaptive_checkpoint(layers, x);
  for (const AdaptiveDecision& decision : adaptive.decisions()) {
    EXPECT_TRUE(decision.checkpointed) << "layer " << decision.layer;
  }
  y.sum().backward();
}

}  // namespace
}  // namespace neap
