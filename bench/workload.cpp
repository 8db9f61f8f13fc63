// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "workload.h"

#include <neap/neap.h>
#include <neap/nn.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <stdexcept>

namespace neap::bench {
namespace {

std::unique_ptr<torch::optim::Optimizer> sgd(const torch::nn::Module& model) {
  return std::make_unique<torch::optim::SGD>(model.parameters(),
                                             torch::optim::SGDOptions(0.01).momentum(0.9));
}

template <class Blocks>
at::Tensor through(Blocks& blocks, at::Tensor x, bool checkpointed) {
  for (auto& block : blocks) {
    const auto run = [&](const at::Tensor& in) -> at::Tensor { return block->forward(in); };
    x = checkpointed ? checkpoint(run, x) : run(x);
  }
  return x;
}

template <class Forward>
void set_losses(Workload& workload, Forward forward) {
  workload.loss = [forward]() mutable { return forward(false); };
  workload.checkpointed_loss = [forward]() mutable { return forward(true); };
}

Workload resnet() {
  Workload workload;
  workload.definition = "16 blocks of 32 channels, 32 x 3 x 32 x 32, SGD";
  nn::ResNet model(nn::ResNetOptions{});
  workload.model = model.ptr();
  workload.optimizer = sgd(*model);
  const at::Tensor x = torch::randn({32, 3, 32, 32}), y = torch::randint(10, {32});
  set_losses(workload, [=](bool checkpointed) mutable {
    return torch::cross_entropy_loss(
        model->head(through(model->blocks, model->stem(x), checkpointed)), y);
  });
  return workload;
}

Workload gpt() {
  Workload workload;
  workload.definition = "6 blocks of 256, 4 heads, attention written out, 8 x 256 tokens, AdamW";
  nn::GPT model(nn::GPTOptions{});
  workload.model = model.ptr();
  workload.optimizer =
      std::make_unique<torch::optim::AdamW>(model->parameters(), torch::optim::AdamWOptions(1e-3));
  const at::Tensor x = torch::randint(256, {8, 256}), y = torch::randint(256, {2048});
  set_losses(workload, [=](bool checkpointed) mutable {
    const at::Tensor scores = model->head(through(model->blocks, model->stem(x), checkpointed));
    return torch::cross_entropy_loss(scores.view({-1, 256}), y);
  });
  return workload;
}

Workload mlp() {
  Workload workload;
  workload.definition = "24 layers of 1024 with GELU, 1024 rows, SGD";
  nn::MLP model(nn::MLPOptions{});
  workload.model = model.ptr();
  workload.optimizer = sgd(*model);
  const at::Tensor x = torch::randn({1024, 1024}), y = torch::randn({1024, 1024});
  set_losses(workload, [=](bool checkpointed) mutable {
    return torch::mse_loss(through(model->blocks, x, checkpointed), y);
  });
  return workload;
}

Workload unet() {
  Workload workload;
  workload.definition = "widths 16 to 128, 4 x 3 x 128 x 128, SGD";
  nn::UNet model(nn::UNetOptions{});
  workload.model = model.ptr();
  workload.optimizer = sgd(*model);
  const at::Tensor x = torch::randn({4, 3, 128, 128}), y = torch::randint(4, {4, 128, 128});
  set_losses(workload, [=](bool checkpointed) mutable {
    std::vector<at::Tensor> skips;
    at::Tensor out = x;
    const auto run = [&](torch::nn::Sequential& convolutions, const at::Tensor& in) -> at::Tensor {
      const auto forward = [&](const at::Tensor& value) -> at::Tensor {
        return convolutions->forward(value);
      };
      return checkpointed ? checkpoint(forward, in) : forward(in);
    };
    for (std::size_t level = 0; level < model->down.size(); ++level) {
      if (level > 0) out = torch::max_pool2d(out, 2);
      out = run(model->down[level], out);
      skips.push_back(out);
    }
    skips.pop_back();
    for (std::size_t level = 0; level < model->up.size(); ++level) {
      out = torch::cat({model->grow[level]->forward(out), skips.back()}, 1);
      skips.pop_back();
      out = run(model->up[level], out);
    }
    return torch::cross_entropy_loss(model->scores->forward(out), y);
  });
  return workload;
}

}  // namespace

Workload make_workload(const std::string& name) {
  torch::manual_seed(1);
  Workload workload =
      name == "resnet" ? resnet()
      : name == "gpt"  ? gpt()
      : name == "mlp"  ? mlp()
      : name == "unet" ? unet()
                       : throw std::invalid_argument(name + ": expected resnet, gpt, mlp or unet");
  workload.name = name;
  return workload;
}

double now_ms() {
  return std::chrono::duration<double, std::milli>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values.empty() ? 0 : values[values.size() / 2];
}

std::string number(const char* format, double value) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), format, value);
  return text.data();
}

std::string median_and_spread(const std::vector<double>& values, const char* format) {
  std::vector<double> sorted = values;
  std::ranges::sort(sorted);
  if (sorted.empty()) return "-";
  return number(format, sorted[sorted.size() / 2]) + " (" +
         number(format, sorted[sorted.size() / 4]) + "-" +
         number(format, sorted[sorted.size() * 3 / 4]) + ")";
}

}  // namespace neap::bench
