// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The training steps that are measured: models that are common in the field's tables, with data and
// optimizers.
#pragma once

#include <neap/base.h>

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
  std::function<at::Tensor()> loss;               // the forward on fixed random data
  std::function<at::Tensor()> checkpointed_loss;  // with neap::checkpoint around each block
  // In sqrt(n) segments; empty: the model is not a chain.
  std::function<at::Tensor()> sequential_loss = {};

  // Runs zero_grad, forward, backward and the optimizer.
  void step(const std::function<at::Tensor()>& forward) {
    optimizer->zero_grad();
    forward().backward();
    optimizer->step();
  }
};

struct Need {
  Bytes base;   // live between steps
  Bytes above;  // the peak of a plain step above it
};
// Of live bytes, in the third of three steps that are run for it.
Need plain_need(Workload& workload);

// resnet, gpt, lstm, mlp or unet. Throws: std::invalid_argument for another name.
Workload make_workload(const std::string& name);
// deck, transformer or unet, with a batch of pictures or texts: models that fill one machine.
Workload make_large_workload(const std::string& name, std::int64_t batch);

double median(std::vector<double> values);
// For example "1.21 (1.19-1.24)": the median, and the quartiles around it.
std::string median_and_spread(const std::vector<double>& values, const char* format = "%.2f");
std::string number(const char* format, double value);
double now_ms();
// For example "2026-11-24, AMD EPYC, LibTorch 2.15.0".
std::string machine();

// Each prints its part of bench/README.md.
void measure_models(const std::vector<std::string>& names, int repetitions);
void measure_offload(const std::string& directory, const std::vector<std::string>& names,
                     int repetitions);
void print_trace(const std::string& model);
void measure_micro();
void measure_loader();
void measure_process_size(const char* program);
// Writes headline.md and a picture for each model into `folder`.
void measure_headline(const std::vector<std::string>& names, const std::string& folder);
// Draws the picture of the README from its table.
void draw_frontier(const std::string& csv, const std::string& picture);
// Runs in the process that measure_process_size() starts, and prints what it measured.
int be_measured(const std::string& name, long long budget_bytes);

}  // namespace neap::bench
