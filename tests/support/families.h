// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/support/families.h: small training jobs of the kinds that people train. Each makes the
// engine do something that the others do not.
#pragma once

#include <torch/torch.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace neap::test {

// A model with its optimizers. step() is a whole training step and returns the loss. It is code as
// a user writes it, without neap.
struct Job {
  std::shared_ptr<torch::nn::Module> model;
  std::vector<std::shared_ptr<torch::optim::Optimizer>> optimizers;
  std::function<double()> step;
};

struct Family {
  std::string name;
  std::function<Job()> make;  // draws from LibTorch's generator, so seed it first
  bool two_threads = false;   // plain LibTorch gives the same bits twice with two threads
};

// The device of the families. It is the CPU, unless a test changes it.
c10::DeviceType& place();
const std::vector<Family>& families();
// Ways to train that hold, make or write tensors outside of the layers. Some have a peak that
// cannot be far below that of plain LibTorch.
const std::vector<Family>& schemes();

}  // namespace neap::test
