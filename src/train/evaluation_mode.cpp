// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include <neap/model.h>

#include <torch/nn/module.h>

namespace neap::train {

EvaluationMode::EvaluationMode(torch::nn::Module& module) {
  modes_.emplace_back(&module, module.is_training());
  // Parents come before their children, because train() of a parent changes its children.
  for (const auto& child : module.modules(/*include_self=*/false)) {
    modes_.emplace_back(child.get(), child->is_training());
  }
  module.eval();
}

EvaluationMode::~EvaluationMode() {
  for (const auto& [module, training] : modes_) module->train(training);
}

}  // namespace neap::train
