// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Chooses what a checkpoint keeps: by operator, by layer, by place in the source, by tensor, and by
// a memory limit.
#include <neap/neap.h>
#include <torch/torch.h>

#include <iostream>
#include <string>

namespace {

// Prints what is evicted when the region closes, and what its backward replays.
void show(const std::string& what, const neap::CheckpointOptions& options,
          const std::function<at::Tensor(at::Tensor)>& fn, const at::Tensor& x) {
  neap::Scope scope;
  const auto y = neap::custom_checkpoint(options, fn, x);
  const auto evictions = scope.stats().evictions;
  y.sum().backward();
  std::cout << what << ": " << evictions << " storages evicted, " << scope.stats().replays
            << " operators replayed\n";
}

}  // namespace

int main() {
  neap::install();
  torch::manual_seed(1);
  torch::nn::Sequential model;
  for (int i = 0; i < 4; ++i) {
    model->push_back(torch::nn::Linear(128, 128));
    model->push_back(torch::nn::GELU());
  }
  neap::name_layers(model, "net.");  // the layers are known as net.0, net.2, ...
  const auto x = torch::randn({256, 128}, torch::requires_grad());
  const auto forward = [&](torch::Tensor in) { return model->forward(in); };

  show("nothing kept", {}, forward, x);
  show("matrix products kept", neap::CheckpointOptions::save_compute(), forward, x);
  show("layer net.4 kept", {.rules = {{.layer = "net.4"}}}, forward, x);
  show("what 300 KiB can hold", {.keep_at_most = neap::Bytes::parse("300KiB")}, forward, x);
  show(
      "a part of the source kept", {},
      [](torch::Tensor in) {
        const auto a = neap::keep_results([&] { return in.tanh().exp(); });
        return a.sin().exp().cos();
      },
      x);
  show(
      "one tensor kept", {},
      [](torch::Tensor in) {
        const auto a = in.tanh();
        neap::set_checkpoint_policy(a, neap::CheckpointPolicy::MustSave);
        return a.exp().sin().exp();
      },
      x);

  neap::Scope scope({.observe = true});
  const auto y =
      neap::custom_checkpoint({.name = "net", .rules = {{.layer = "net.4"}}}, forward, x);
  std::cout << neap::saved_report(y).text(/*rows=*/5) << '\n';
}
