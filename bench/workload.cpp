// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "workload.h"

#include <neap/neap.h>
#include <neap/nn.h>

#include <ATen/Version.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <fstream>
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

Workload deck(std::int64_t batch) {
  Workload workload;
  workload.definition =
      "stem 7x7 of stride 2, 50 residual blocks of 64 channels at 112 x 112, 1000 classes; "
      "pictures of "
      "3 x 224 x 224, SGD with momentum";
  nn::ResNet model(nn::ResNetOptions{.channels = 64,
                                     .blocks = 50,
                                     .classes = 1000,
                                     .dropout = 0,
                                     .stem_kernel = 7,
                                     .stem_stride = 2});
  workload.model = model.ptr();
  workload.optimizer = sgd(*model);
  const at::Tensor x = torch::randn({batch, 3, 224, 224}), y = torch::randint(1000, {batch});
  set_losses(workload, [=](bool checkpointed) mutable {
    return torch::cross_entropy_loss(
        model->head(through(model->blocks, model->stem(x), checkpointed)), y);
  });
  workload.sequential_loss = [=]() mutable {
    const at::Tensor middle = checkpoint_sequential(model->blocks, /*segments=*/7, model->stem(x));
    return torch::cross_entropy_loss(model->head(middle), y);
  };
  return workload;
}

Workload large_transformer(std::int64_t batch) {
  constexpr std::int64_t kTokens = 256, kWords = 256;
  Workload workload;
  workload.definition =
      "12 blocks of 512, 8 heads, attention written out; texts of 256 tokens, AdamW";
  nn::GPT model(nn::GPTOptions{
      .vocabulary = kWords, .context = kTokens, .width = 512, .heads = 8, .layers = 12});
  workload.model = model.ptr();
  workload.optimizer =
      std::make_unique<torch::optim::AdamW>(model->parameters(), torch::optim::AdamWOptions(1e-3));
  const at::Tensor x = torch::randint(kWords, {batch, kTokens});
  const at::Tensor y = torch::randint(kWords, {batch * kTokens});
  set_losses(workload, [=](bool checkpointed) mutable {
    const at::Tensor scores = model->head(through(model->blocks, model->stem(x), checkpointed));
    return torch::cross_entropy_loss(scores.view({-1, kWords}), y);
  });
  workload.sequential_loss = [=]() mutable {
    const at::Tensor middle = checkpoint_sequential(model->blocks, /*segments=*/4, model->stem(x));
    return torch::cross_entropy_loss(model->head(middle).view({-1, kWords}), y);
  };
  return workload;
}

// An LSTM as single cells. torch::nn::LSTM is one operator of oneDNN per layer, which holds most of
// the step's bytes at once.
Workload lstm() {
  constexpr std::int64_t kSteps = 64, kTexts = 32, kWords = 256, kWidth = 256;
  Workload workload;
  workload.definition = "2 layers of 256, written as cells, 32 texts of 64 words, AdamW";
  torch::nn::Embedding embedding(kWords, kWidth);
  torch::nn::LSTMCell first(kWidth, kWidth), second(kWidth, kWidth);
  torch::nn::Linear scores(kWidth, kWords);
  torch::nn::ModuleList model(embedding, first, second, scores);
  workload.model = model.ptr();
  workload.optimizer =
      std::make_unique<torch::optim::AdamW>(model->parameters(), torch::optim::AdamWOptions(1e-3));
  const at::Tensor x = torch::randint(kWords, {kSteps, kTexts});
  const at::Tensor y = torch::randint(kWords, {kSteps * kTexts});
  set_losses(workload, [=](bool checkpointed) mutable {
    const auto layer = [](torch::nn::LSTMCell cell, const at::Tensor& words) -> at::Tensor {
      std::vector<at::Tensor> out;
      std::tuple<at::Tensor, at::Tensor> state{at::zeros({kTexts, kWidth}),
                                               at::zeros({kTexts, kWidth})};
      for (const at::Tensor& word : words.unbind()) {
        state = cell->forward(word, state);
        out.push_back(std::get<0>(state));
      }
      return at::stack(out);
    };
    at::Tensor words = embedding->forward(x);
    for (const auto& cell : {first, second}) {
      words = checkpointed ? checkpoint(layer, cell, words) : layer(cell, words);
    }
    return torch::cross_entropy_loss(scores->forward(words).view({-1, kWords}), y);
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

Workload unet(std::int64_t batch, std::int64_t side) {
  Workload workload;
  const std::string extent = std::to_string(side);
  workload.definition =
      "widths 16 to 128, " + std::to_string(batch) + " x 3 x " + extent + " x " + extent + ", SGD";
  nn::UNet model(nn::UNetOptions{});
  workload.model = model.ptr();
  workload.optimizer = sgd(*model);
  const at::Tensor x = torch::randn({batch, 3, side, side});
  const at::Tensor y = torch::randint(4, {batch, side, side});
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
      : name == "lstm" ? lstm()
      : name == "mlp"  ? mlp()
      : name == "unet"
          ? unet(/*batch=*/4, /*side=*/128)
          : throw std::invalid_argument(name + ": expected resnet, gpt, lstm, mlp or unet");
  workload.name = name;
  return workload;
}

Workload make_large_workload(const std::string& name, std::int64_t batch) {
  torch::manual_seed(1);
  Workload workload =
      name == "deck"          ? deck(batch)
      : name == "transformer" ? large_transformer(batch)
      : name == "unet"        ? unet(batch, /*side=*/256)
                       : throw std::invalid_argument(name + ": expected deck, transformer or unet");
  workload.name = name;
  return workload;
}

namespace {

std::string processor() {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line)) {
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  }
  return "unknown processor";
}

std::string today() {
  const std::time_t now = std::time(nullptr);
  char text[16];
  std::strftime(text, sizeof text, "%Y-%m-%d", std::gmtime(&now));
  return text;
}

}  // namespace

std::string machine() { return today() + ", " + processor() + ", LibTorch " + TORCH_VERSION; }

double now_ms() {
  return std::chrono::duration<double, std::milli>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

Need plain_need(Workload& workload) {
  Need need;
  for (int step = 0; step < 3; ++step) {
    workload.optimizer->zero_grad();
    memory::trim();
    memory::reset_peak();
    need.base = Bytes(memory::usage().live);
    workload.step(workload.loss);
    need.above = Bytes(memory::usage().peak) - need.base;
  }
  return need;
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
