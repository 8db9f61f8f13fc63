// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The training steps that are measured: the models of the field's tables, with their data and optimizers.
#pragma once

#include <torch/torch.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace neap::bench {

struct Workload {
  std::string name;
  std::string definition;
  std::shared_ptr<torch::nn::Module> model;
  std::unique_ptr<torch::optim::Optimizer> optimizer;
  std::function<at::Tensor()> loss;                  // the forward on fixed random data
  std::function<at::Tensor()> checkpointed_loss;     // with neap::checkpoint around each block
  std::function<at::Tensor()> sequential_loss = {};  // in sqrt(n) segments; empty: no chain

  // zero_grad, forward, backward, optimizer.
  void step(const std::function<at::Tensor()>& forward) {
    optimizer->zero_grad();
    forward().backward();
    optimizer->step();
  }
};

// resnet, gpt, lstm, mlp or unet. Throws: std::invalid_argument for another name.
Workload make_workload(const std::string& name);
// deck, transformer or unet, of so many pictures or texts: models for which one machine is small.
Workload make_large_workload(const std::string& name, std::int64_t batch);

double median(std::vector<double> values);
// "1.21 (1.19-1.24)": median, and the quartiles around it.
std::string median_and_spread(const std::vector<double>& values, const char* format = "%.2f");
std::string number(const char* format, double value);
double now_ms();
// "2026-11-24, AMD EPYC, LibTorch 2.15.0".
std::string machine();

// Each prints its part of bench/README.md.
void measure_models(const std::vector<std::string>& names, int repetitions);
void print_trace(const std::string& model);
void measure_micro();
void measure_loader();
void measure_process_size(const char* program);
// Writes headline.md and a picture for each model into `folder`.
void measure_headline(const std::vector<std::string>& names, const std::string& folder);
// The measured process of measure_process_size.
int be_measured(const std::string& name, long long budget_bytes);

}  // namespace neap::bench
