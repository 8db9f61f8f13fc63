// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A model of your own for `neap train --model ./libown_model.so`: a convolutional network that
// hears which of a few tones is in a noisy signal.
#include <neap/checkpoint.h>
#include <neap/plugin.h>

#include <torch/torch.h>

#include <cmath>

namespace {

// One more hearing of the signal, twice as coarse.
struct BlockImpl : torch::nn::Module {
  BlockImpl(std::int64_t in, std::int64_t out)
      : conv(register_module(
            "conv", torch::nn::Conv1d(
                        torch::nn::Conv1dOptions(in, out, 5).stride(2).padding(2).bias(false)))),
        norm(register_module("norm", torch::nn::BatchNorm1d(out))) {}
  // x: (B, in, T). Returns (B, out, ceil(T / 2)).
  at::Tensor forward(const at::Tensor& x) { return torch::gelu(norm(conv(x))); }

  torch::nn::Conv1d conv;
  torch::nn::BatchNorm1d norm;
};
TORCH_MODULE(Block);

struct ToneNetImpl : torch::nn::Module {
  ToneNetImpl(std::int64_t channels, std::int64_t classes, bool use_checkpoint)
      : use_checkpoint(use_checkpoint),
        blocks(register_module("blocks", torch::nn::ModuleList())),
        head(register_module("head", torch::nn::Linear(64, classes))) {
    for (const std::int64_t width : {32, 64, 64, 64}) {
      blocks->push_back(Block(channels, width));
      channels = width;
    }
  }
  // x: (B, C, T). Returns scores (B, classes).
  at::Tensor forward(at::Tensor x) {
    for (const auto& module : *blocks) {
      auto& block = *module->as<BlockImpl>();
      x = use_checkpoint
              ? neap::checkpoint([&block](const at::Tensor& in) { return block.forward(in); }, x)
              : block.forward(x);
    }
    return head(x.mean(-1));
  }

  bool use_checkpoint;
  torch::nn::ModuleList blocks;
  torch::nn::Linear head;
};
TORCH_MODULE(ToneNet);

// One of the tones at an unknown moment of its swing, and noise over it.
neap::train::MicroBatch tones(std::int64_t rows, const neap::plugin::Samples& samples,
                              std::uint64_t seed) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  const std::int64_t channels = samples.shape[0], length = samples.shape[1];
  const at::Tensor tone = torch::randint(samples.classes, {rows}, generator, torch::kLong);
  const at::Tensor phase = torch::rand({rows, 1, 1}, generator);
  const at::Tensor turns =
      (tone + 1).view({rows, 1, 1}) * torch::arange(length).view({1, 1, length}) / length;
  const at::Tensor noise = torch::randn({rows, channels, length}, generator);
  return {torch::sin(2 * M_PI * (turns + phase)) + 0.5 * noise, tone};
}

neap::plugin::Definition tone_net() {
  return {
      .make_model = [](const neap::plugin::Samples& samples,
                       bool use_checkpoint) -> neap::train::Model {
        if (samples.shape.size() != 2) {
          throw neap::InvalidArgument("tone_net reads signals (C, T), as 1x256");
        }
        return ToneNet(samples.shape[0], samples.classes, use_checkpoint);
      },
      .loss =
          [](const at::Tensor& scores, const at::Tensor& labels) {
            return torch::nn::functional::cross_entropy(
                scores, labels,
                torch::nn::functional::CrossEntropyFuncOptions().label_smoothing(0.05));
          },
      .make_batch = tones,
      .samples = {.shape = {1, 256}, .classes = 8},
      .batch_size = 64,
      .optimizer = "adamw",
      .lr = 0.005,
  };
}

}  // namespace

NEAP_MODEL(tone_net, tone_net)
