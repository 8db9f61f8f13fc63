// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A trace is what a plain step did: its peak, computed from the trace alone, is the allocator's to the byte.
#include "memory/allocator.h"
#include "support/families.h"

#include <neap/neap.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <iostream>
#include <map>
#include <string>

namespace neap {
namespace {

using graph::Operator;
using graph::Phase;

std::vector<Operator> operators_of(const graph::Trace& trace) {
  std::vector<Operator> all;
  for (const graph::Event& event : trace.events) {
    if (const auto* const op = std::get_if<Operator>(&event)) all.push_back(*op);
  }
  return all;
}

TEST(Trace, has_operators_with_phases_layers_and_what_they_read_make_and_write) {
  torch::manual_seed(1);
  torch::nn::Sequential model(torch::nn::Linear(64, 64), torch::nn::Tanh(),
                              torch::nn::Linear(64, 64));
  name(model, "net.");
  torch::optim::SGD optimizer(model->parameters(), torch::optim::SGDOptions(0.1));
  const at::Tensor x = torch::randn({64, 64});
  const graph::Trace trace = neap::trace(
      [&] {
        optimizer.zero_grad();
        model->forward(x).sum().backward();
        optimizer.step();
      },
      {{x, graph::StorageKind::Input}});
  std::map<graph::StorageKind, int> given;
  for (const graph::Event& event : trace.events) {
    if (const auto* const one = std::get_if<graph::Given>(&event)) ++given[one->kind];
  }
  EXPECT_EQ(given[graph::StorageKind::Parameter], 4);
  EXPECT_EQ(given[graph::StorageKind::Input], 1);
  std::map<Phase, std::vector<std::string>> names;
  for (const Operator& op : operators_of(trace)) {
    names[op.phase].push_back(op.name + (op.layer.empty() ? "" : "@" + op.layer));
    EXPECT_GT(op.ns, 0);
    EXPECT_GE(op.workspace, 0);
  }
  EXPECT_EQ(names[Phase::Forward],
            (std::vector<std::string>{"aten::addmm@net.0", "aten::tanh@net.0", "aten::addmm@net.2",
                                      "aten::sum@net.2", "aten::ones_like@net.2"}))
      << "the last is the loss's own gradient, made before the backward begins";
  EXPECT_FALSE(names[Phase::Backward].empty());
  EXPECT_EQ(std::ranges::count(names[Phase::Optimizer], std::string("aten::add_@net.0")), 2)
      << "weight and bias";
}

TEST(Trace, counts_the_scratch_that_an_operator_needs_while_it_runs) {
  const at::Tensor x = torch::randn({256, 256});
  const auto largest = [&](const std::function<void()>& step) {
    std::int64_t most = 0;
    for (const Operator& op : operators_of(neap::trace(step))) most = std::max(most, op.workspace);
    return most;
  };
  EXPECT_EQ(largest([&] { (void)x.tanh(); }), 0);
  // The sort of a row works on copies of values and indices.
  EXPECT_GT(largest([&] { (void)x.t().sort(1); }), 0);
}

TEST(Trace, leaves_regions_alone) {
  const at::Tensor x = torch::randn({64, 64}).requires_grad_();
  const graph::Trace trace = neap::trace([&] {
    checkpoint([](const at::Tensor& in) { return in.tanh().exp().sin(); }, x).sum().backward();
  });
  EXPECT_EQ(std::ranges::count(operators_of(trace), std::string("aten::tanh"), &Operator::name), 1);
}

TEST(Trace, ends_with_the_step_that_throws) {
  struct Mine {};
  EXPECT_THROW(neap::trace([] {
                 torch::randn({64}).sin();
                 throw Mine();
               }),
               Mine);
  const Scope scope({.budget = Bytes(memory::usage().live + (1 << 20))});
  EXPECT_THROW(neap::trace([] {}), ScopeConflict);
}

class TracedFamilies : public testing::TestWithParam<test::Family> {};

TEST_P(TracedFamilies, have_the_allocators_peak_and_the_plain_bits) {
  const test::Family& family = GetParam();
  const test::TrainingRun plain = test::run_plain(family, 3, 5);
  torch::manual_seed(5);
  const test::Job job = family.make();
  double loss = 0;
  for (int step = 0; step < 2; ++step) {
    for (const auto& optimizer : job.optimizers) optimizer->zero_grad();
    loss = job.step();
  }
  for (const auto& optimizer : job.optimizers) optimizer->zero_grad();
  memory::trim();
  memory::reset_peak();
  const std::int64_t base = memory::usage().live;
  const graph::Trace trace = neap::trace([&] { loss = job.step(); });
  const std::int64_t peak = memory::usage().peak - base;
  EXPECT_EQ(plain.states.back().first_difference(test::JobState::of(job, loss)), "");
  // What a kernel frees while it runs goes when it ends, when somebody watches.
  EXPECT_GE(peak, plain.peak - plain.base);
  EXPECT_LE(peak, (plain.peak - plain.base) * 103 / 100);
  EXPECT_EQ(graph::run_plainly(trace).peak - graph::run_plainly(trace).given,
            plain.peak - plain.base)
      << "the trace tells the peak of the step without anybody watching, to the byte";
}

INSTANTIATE_TEST_SUITE_P(Families, TracedFamilies, testing::ValuesIn(test::families()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace neap
