// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "job.h"

#include <neap/nn.h>

#include <algorithm>
#include <numeric>
#include <utility>

namespace neap::app {
namespace {

constexpr std::int64_t kClasses = 10;
constexpr double kMean = 0.2860, kDeviation = 0.3530;  // of Fashion-MNIST's training pictures

template <class Model>
void set_model(Job& job, Model model) {
  job.model = model.ptr();
  job.forward = [model](const at::Tensor& x) mutable { return model->forward(x); };
}

std::unique_ptr<torch::optim::Optimizer> make_optimizer(const TrainingOptions& options,
                                                        const torch::nn::Module& model) {
  const double lr = options.lr > 0 ? options.lr : default_lr(options.optimizer);
  const auto parameters = model.parameters();
  if (options.optimizer == "sgd") {
    return std::make_unique<torch::optim::SGD>(
        parameters, torch::optim::SGDOptions(lr).momentum(0.9).weight_decay(5e-4));
  }
  if (options.optimizer == "adam") {
    return std::make_unique<torch::optim::Adam>(parameters, torch::optim::AdamOptions(lr));
  }
  return std::make_unique<torch::optim::AdamW>(parameters,
                                               torch::optim::AdamWOptions(lr).weight_decay(0.01));
}

}  // namespace

Job make_job(const TrainingOptions& options, std::int64_t side) {
  torch::manual_seed(static_cast<std::uint64_t>(options.seed));
  Job job;
  if (options.model == "mlp") {
    set_model(job, nn::MLP(nn::MLPOptions{.in = side * side,
                                          .width = 512,
                                          .out = kClasses,
                                          .layers = 6,
                                          .activate_last = false}));
  } else if (options.model == "resnet") {
    set_model(job, nn::ResNet(nn::ResNetOptions{.in_channels = 1,
                                                .channels = 16,
                                                .blocks = 16,
                                                .classes = kClasses,
                                                .dropout = 0.1,
                                                .downsample_after = {4, 9}}));
  } else {
    set_model(job, nn::PatchTransformer(nn::PatchTransformerOptions{
                       .image = side, .channels = 1, .patch = 4, .classes = kClasses}));
  }
  job.optimizer = make_optimizer(options, *job.model);
  job.loss = [forward = job.forward](const at::Tensor& x, const at::Tensor& y) {
    return torch::cross_entropy_loss(forward(x), y);
  };
  return job;
}

Batches::Batches(data::Labeled labeled, std::int64_t batch_size, std::int64_t seed, bool shuffle)
    : labeled_(std::move(labeled)),
      batch_size_(batch_size),
      shuffle_(shuffle),
      random_(static_cast<std::uint64_t>(seed)),
      order_(static_cast<std::size_t>(labeled_.labels.size(0))) {
  std::iota(order_.begin(), order_.end(), std::int64_t{0});
}

void Batches::start_epoch() {
  if (shuffle_) std::ranges::shuffle(order_, random_);
}

std::int64_t Batches::per_epoch() const {
  const auto rows = static_cast<std::int64_t>(order_.size());
  // Training leaves the last, smaller batch out: BatchNorm's statistics of a few pictures are noise.
  return shuffle_ ? std::max<std::int64_t>(1, rows / batch_size_)
                  : (rows + batch_size_ - 1) / batch_size_;
}

Batch Batches::at(std::int64_t index) const {
  const std::int64_t begin = index * batch_size_;
  const std::int64_t end = std::min(begin + batch_size_, static_cast<std::int64_t>(order_.size()));
  std::vector<std::int64_t> rows(order_.begin() + begin, order_.begin() + end);
  const at::Tensor chosen = torch::tensor(rows, torch::kLong);
  Batch batch;
  batch.x = labeled_.images.index_select(0, chosen).unsqueeze(1).to(torch::kFloat);
  batch.x.div_(255).sub_(kMean).div_(kDeviation);
  batch.y = labeled_.labels.index_select(0, chosen);
  return batch;
}

Batch random_batch(std::int64_t rows, std::int64_t side, std::uint64_t seed) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  return {torch::randn({rows, 1, side, side}, generator),
          torch::randint(kClasses, {rows}, generator, torch::kLong)};
}

}  // namespace neap::app
