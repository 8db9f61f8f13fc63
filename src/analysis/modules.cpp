// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "analysis/modules.h"

#include <torch/torch.h>

#include <cstring>

namespace neap::analysis {

std::string kind_of(const torch::nn::Module& module) {
  std::string name = module.name();
  name.erase(0, name.rfind(':') + 1);
  if (name.ends_with("Impl")) name.erase(name.size() - 4);
  return name;
}

std::vector<std::pair<std::string, const torch::nn::Module*>> modules_of(
    const torch::nn::Module& model) {
  std::vector<std::pair<std::string, const torch::nn::Module*>> all{{"", &model}};
  for (const auto& module : model.named_modules("", /*include_self=*/false)) {
    all.emplace_back(module.key(), module.value().get());
  }
  return all;
}

ModelGuard::ModelGuard(const torch::nn::Module& model) : parameters_(model.parameters()) {
  for (const at::Tensor& parameter : parameters_) keep(parameter);
  for (const at::Tensor& buffer : model.buffers()) keep(buffer);
  for (const at::Tensor& parameter : parameters_) gradients_.push_back(parameter.grad());
  for (const at::Tensor& parameter : parameters_) parameter.mutable_grad().reset();
}

ModelGuard::~ModelGuard() {
  const at::NoGradGuard no_grad;
  for (auto& [tensor, bytes] : kept_) {
    tensor.copy_(
        at::from_blob(bytes.data(), tensor.sizes(), tensor.options().requires_grad(false)));
  }
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    parameters_[i].mutable_grad() = gradients_[i];
  }
}

void ModelGuard::keep(const at::Tensor& tensor) {
  const at::Tensor dense = tensor.detach().contiguous();
  std::vector<std::byte> bytes(dense.nbytes());
  if (!bytes.empty()) std::memcpy(bytes.data(), dense.const_data_ptr(), bytes.size());
  kept_.emplace_back(tensor, std::move(bytes));
}

}  // namespace neap::analysis
