// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The defaults for measured training, and the memory of a model and its optimizer.
#include "analysis/step.h"

#include <neap/analysis.h>

#include <c10/util/Type.h>
#include <torch/torch.h>

#include <typeinfo>
#include <unordered_set>

namespace neap::analysis {
namespace {

// Sums storages, each once, because views and tied weights share one.
class StorageSum {
 public:
  void add(const at::Tensor& tensor) {
    if (!tensor.defined() || !tensor.has_storage()) return;
    const c10::StorageImpl* const storage = tensor.storage().unsafeGetStorageImpl();
    if (seen_.insert(storage).second) bytes_ += static_cast<std::int64_t>(storage->nbytes());
  }
  [[nodiscard]] std::int64_t bytes() const { return bytes_; }

 private:
  std::unordered_set<const c10::StorageImpl*> seen_;
  std::int64_t bytes_ = 0;
};

// Adds the tensors of one parameter's state. False: the kind of state is not known.
template <class... Kinds>
bool add_state(StorageSum& sum, const torch::optim::OptimizerParamState& state) {
  const auto add_one = [&](const auto* kind) {
    if (kind == nullptr) return false;
    if constexpr (requires { kind->momentum_buffer(); }) sum.add(kind->momentum_buffer());
    if constexpr (requires { kind->exp_avg(); }) sum.add(kind->exp_avg());
    if constexpr (requires { kind->exp_avg_sq(); }) sum.add(kind->exp_avg_sq());
    if constexpr (requires { kind->max_exp_avg_sq(); }) sum.add(kind->max_exp_avg_sq());
    if constexpr (requires { kind->square_avg(); }) sum.add(kind->square_avg());
    if constexpr (requires { kind->grad_avg(); }) sum.add(kind->grad_avg());
    if constexpr (requires { kind->sum(); }) sum.add(kind->sum());
    return true;
  };
  return (add_one(dynamic_cast<const Kinds*>(&state)) || ...);
}

std::int64_t state_bytes(const torch::optim::Optimizer& optimizer) {
  StorageSum sum;
  for (const auto& [parameter, state] : optimizer.state()) {
    if (add_state<torch::optim::SGDParamState, torch::optim::AdamParamState,
                  torch::optim::AdamWParamState, torch::optim::RMSpropParamState,
                  torch::optim::AdagradParamState>(sum, *state)) {
      continue;
    }
    throw InvalidArgument(
        "categories: the optimizer's state is of none of SGD, Adam, AdamW, RMSprop and Adagrad, so "
        "its bytes are not known; use one of these, or a callback of your own");
  }
  return sum.bytes();
}

}  // namespace

std::string optimizer_text(OptimizerKind kind) {
  switch (kind) {
    case OptimizerKind::SGD:
      return "SGD";
    case OptimizerKind::Momentum:
      return "SGD with momentum";
    case OptimizerKind::Adam:
      return "Adam";
    case OptimizerKind::AdamAMSGrad:
      return "Adam with AMSGrad";
    case OptimizerKind::AdamW:
      return "AdamW";
    case OptimizerKind::AdamWAMSGrad:
      return "AdamW with AMSGrad";
  }
  return {};
}

std::string optimizer_text(const torch::optim::Optimizer& optimizer) {
  using namespace torch::optim;  // NOLINT(google-build-using-namespace): a list of its classes
  const OptimizerOptions& options = optimizer.defaults();
  if (const auto* const sgd_options = dynamic_cast<const SGDOptions*>(&options)) {
    return optimizer_text(sgd_options->momentum() != 0 ? OptimizerKind::Momentum
                                                       : OptimizerKind::SGD);
  }
  if (const auto* const adam = dynamic_cast<const AdamOptions*>(&options)) {
    return optimizer_text(adam->amsgrad() ? OptimizerKind::AdamAMSGrad : OptimizerKind::Adam);
  }
  if (const auto* const adamw = dynamic_cast<const AdamWOptions*>(&options)) {
    return optimizer_text(adamw->amsgrad() ? OptimizerKind::AdamWAMSGrad : OptimizerKind::AdamW);
  }
  const std::string type = c10::demangle(typeid(optimizer).name());
  return type.substr(type.rfind(':') + 1);
}

std::shared_ptr<torch::optim::Optimizer> sgd(const torch::nn::Module& model) {
  return std::make_shared<torch::optim::SGD>(model.parameters(),
                                             torch::optim::SGDOptions(0.01).momentum(0.9));
}

train::MicroBatch random_batch(at::IntArrayRef sizes) {
  return {torch::randn(sizes), torch::zeros({sizes[0]})};
}

at::Tensor mean_square(const at::Tensor& output, const at::Tensor& /*target*/) {
  return output.square().mean();
}

std::function<MemoryTracker::Categories()> categories_of(const torch::nn::Module& model,
                                                         const torch::optim::Optimizer& optimizer) {
  return [&model, &optimizer]() -> MemoryTracker::Categories {
    StorageSum parameters, gradients, buffers;
    for (const at::Tensor& parameter : model.parameters()) {
      parameters.add(parameter);
      gradients.add(parameter.grad());
    }
    for (const at::Tensor& buffer : model.buffers()) buffers.add(buffer);
    return {{"parameters", parameters.bytes()},
            {"gradients", gradients.bytes()},
            {"optimizer states", state_bytes(optimizer)},
            {"buffers", buffers.bytes()}};
  };
}

}  // namespace neap::analysis
