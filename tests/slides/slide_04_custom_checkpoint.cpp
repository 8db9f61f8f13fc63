// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Slide 4: a checkpoint that chooses what it keeps, and a checkpoint written by the program as an
// autograd function.
#include "same_bits.h"

#include <neap/all.h>
#include <torch/torch.h>

// The slide's own function. Unlike neap's, it ignores random numbers and captured weights.
struct CustomCheckpoint : torch::autograd::Function<CustomCheckpoint> {
  using Run = torch::Tensor (*)(const torch::Tensor&);
  static torch::Tensor forward(torch::autograd::AutogradContext* ctx, Run run_function,
                               const torch::Tensor& x) {
    ctx->saved_data["run_function"] = reinterpret_cast<std::int64_t>(run_function);
    ctx->save_for_backward({x});
    const torch::NoGradGuard no_grad;
    return run_function(x);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 const torch::autograd::variable_list& grads) {
    const auto run_function = reinterpret_cast<Run>(ctx->saved_data["run_function"].toInt());
    const torch::AutoGradMode grad(true);
    const auto x = ctx->get_saved_variables()[0].detach().requires_grad_();
    torch::autograd::backward({run_function(x)}, {grads[0]});
    return {torch::Tensor(), x.grad()};
  }
};

torch::Tensor function(const torch::Tensor& x) { return x.tanh().exp().sin(); }

int main() {
  neap::install();
  torch::nn::Linear layer(64, 64);
  const auto x = torch::randn({32, 64});
  const auto plain = [&] { return function(layer(x)); };
  const int ours = compare(
      *layer, [&] { return neap::custom_checkpoint(function, layer(x)); }, plain);
  const int keeping = compare(
      *layer,
      [&] { return neap::custom_checkpoint({.rules = {{.op = "aten::exp"}}}, function, layer(x)); },
      plain);
  const int theirs = compare(
      *layer,
      [&] {
        const neap::Scope scope;
        const auto y = CustomCheckpoint::apply(function, layer(x));
        return y;
      },
      plain);
  return ours + keeping + theirs;
}
