// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// snapshot/optimizer_state.h: an optimizer's options and state to and from a snapshot.
#pragma once

#include "snapshot/record.h"
#include "snapshot/tensors.h"

#include <torch/optim/optimizer.h>

#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace neap::snapshot {

// The names of a model's parameters, by the address that LibTorch's optimizers know them by.
using Names = std::unordered_map<const void*, std::string>;

// The name of a tensor of a parameter in the file of the state: exp_avg.fc.weight.
std::string name_of(const std::string& field, const std::string& parameter);

// Throws: InvalidArgument for an optimizer of another kind than those of optimizer_fields.h, or
// with a parameter that has no name.
void record_optimizer(Record& record, Named& tensors, const torch::optim::Optimizer& optimizer,
                      const Names& names);

// What is read, and not yet in the optimizer.
class LoadedState {
 public:
  // Replaces the optimizer's state and options.
  void put_into(torch::optim::Optimizer& optimizer) &&;

 private:
  friend LoadedState read_optimizer(const Record& record, const safetensors::File& file,
                                    const torch::optim::Optimizer& optimizer, const Names& names);
  std::vector<std::pair<void*, std::unique_ptr<torch::optim::OptimizerParamState>>> states_;
  std::vector<std::unique_ptr<torch::optim::OptimizerOptions>> options_;
};

// `file`: with the tensors of the state. Throws: Error when the optimizer is of another kind, or
// its groups have other parameters.
LoadedState read_optimizer(const Record& record, const safetensors::File& file,
                           const torch::optim::Optimizer& optimizer, const Names& names);

}  // namespace neap::snapshot
