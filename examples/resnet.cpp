// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The residual network of the slides with checkpointed blocks, and a ResNet-18 with torchvision's
// names.
#include <neap/models.h>
#include <neap/neap.h>
#include <torch/torch.h>

#include <iostream>

struct Result {
  double loss;
  std::int64_t peak;
};

Result train(neap::CheckpointedResNet& model, const at::Tensor& x, const at::Tensor& y) {
  torch::optim::SGD optimizer(model->parameters(), torch::optim::SGDOptions(0.01).momentum(0.9));
  Result result{};
  for (int step = 0; step < 2; ++step) {
    optimizer.zero_grad();
    neap::memory::reset_peak();
    const at::Tensor loss = torch::cross_entropy_loss(model->forward(x), y);
    loss.backward();
    optimizer.step();
    result = {loss.item<double>(), neap::memory::usage().peak};
  }
  return result;
}

neap::CheckpointedResNet small_net(const neap::Segmentation& segmentation, bool use_checkpoint) {
  torch::manual_seed(1);
  neap::CheckpointedResNet model(/*num_blocks=*/12, segmentation);
  model->use_checkpoint = use_checkpoint;
  return model;
}

int main() {
  neap::install();
  const at::Tensor x = torch::randn({4, 3, 48, 48}), y = torch::randint(1000, {4});
  const auto by_block = neap::Segmentation::by_size(1), by_root = neap::Segmentation::square_root();
  Result plain{}, blocks{}, roots{};
  {
    auto model = small_net(by_block, /*use_checkpoint=*/false);
    plain = train(model, x, y);
  }
  {
    auto model = small_net(by_block, true);
    blocks = train(model, x, y);
    const auto buffers = model->named_buffers();
    std::cout << "batches counted by the first norm in 2 steps: "
              << buffers["bn1.num_batches_tracked"].item<std::int64_t>() << '\n';
  }
  {
    auto model = small_net(by_root, true);
    roots = train(model, x, y);
  }
  const bool same = blocks.loss == plain.loss && roots.loss == plain.loss;
  const bool smaller = blocks.peak < plain.peak && roots.peak < plain.peak;
  std::cout << "plain:            peak " << neap::Bytes(plain.peak).text() << '\n'
            << "by block:         peak " << neap::Bytes(blocks.peak).text() << '\n'
            << "by sqrt segments: peak " << neap::Bytes(roots.peak).text() << '\n'
            << "same loss: " << (same ? "yes" : "no") << '\n';

  neap::CheckpointedResNet resnet18(
      neap::nn::ImageNetResNet(neap::nn::ImageNetResNetOptions{.depth = 18}));
  std::int64_t parameters = 0;
  for (const at::Tensor& parameter : resnet18->parameters()) parameters += parameter.numel();
  std::cout << "ResNet-18: " << parameters << " parameters\n";
  resnet18->forward(x).sum().backward();
  return same && smaller ? 0 : 1;
}
