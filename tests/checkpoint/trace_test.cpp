// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A trace says what a plain step did. Its peak, computed from the trace alone, is the allocator's
// to the byte.
#include "checkpoint/tracing.h"
#include "memory/allocator.h"
#include "support/families.h"
#include "support/training_runs.h"

#include <neap/neap.h>

#include <c10/core/CPUAllocator.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <map>
#include <string>
#include <thread>

namespace neap {
namespace {

using graph::Operator;
using graph::Phase;

using namespace test::tracing;

TEST(Trace, has_operators_with_phases_layers_and_what_they_read_make_and_write) {
  torch::manual_seed(1);
  torch::nn::Sequential model(torch::nn::Linear(64, 64), torch::nn::Tanh(),
                              torch::nn::Linear(64, 64));
  name_layers(model, "net.");
  torch::optim::SGD optimizer(model->parameters(), torch::optim::SGDOptions(0.1));
  const at::Tensor x = torch::randn({64, 64});
  const graph::Trace trace = neap::trace_step(
      [&] {
        optimizer.zero_grad();
        model->forward(x).sum().backward();
        optimizer.step();
      },
      {.known = {{x, graph::StorageKind::Input}}, .label = "two layers"});
  EXPECT_EQ(trace.label, "two layers");
  EXPECT_EQ(trace.device, "cpu");
  EXPECT_EQ(trace.torch, TORCH_VERSION);
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
    for (const Operator& op : operators_of(neap::trace_step(step)))
      most = std::max(most, op.workspace);
    return most;
  };
  EXPECT_EQ(largest([&] { (void)x.tanh(); }), 0);
  // The sort of a row works on copies of values and indices.
  EXPECT_GT(largest([&] { (void)x.t().sort(1); }), 0);
}

TEST(Trace, leaves_regions_alone) {
  const at::Tensor x = torch::randn({64, 64}).requires_grad_();
  const auto fn = [](const at::Tensor& in) { return in.tanh().exp().sin(); };
  const graph::Trace trace = neap::trace_step([&] { checkpoint(fn, x).sum().backward(); });
  EXPECT_EQ(std::ranges::count(operators_of(trace), std::string("aten::tanh"), &Operator::name), 1);
  x.mutable_grad().reset();
  const graph::Trace plain = neap::trace_step([&] { fn(x).sum().backward(); });
  EXPECT_EQ(graph::run_plainly(trace).after_forward.size(),
            graph::run_plainly(plain).after_forward.size());
}

TEST(Trace, ends_with_the_step_that_throws) {
  struct Mine {};
  EXPECT_THROW(neap::trace_step([] {
                 torch::randn({64}).sin();
                 throw Mine();
               }),
               Mine);
  const Scope scope({.budget = Bytes(memory::usage().live + (1 << 20))});
  EXPECT_THROW(neap::trace_step([] {}), ScopeConflict);
}

TEST(Trace, puts_what_was_there_in_front_and_the_rest_where_it_arrived) {
  const at::Tensor early = torch::randn({64, 64}), x = torch::randn({64, 64});
  const at::Tensor untouched = torch::randn({64, 64});
  at::Tensor late;
  const graph::Trace trace = neap::trace_step(
      [&] {
        const at::Tensor y = x.sin();
        // A loader does the same: another thread makes the tensor, so no operator of this thread
        // does.
        std::thread([&] { late = torch::ones({64, 64}); }).join();
        const at::Tensor z = y.exp() + late;
        (void)(z * early);
      },
      {.known = {{early, graph::StorageKind::Buffer}, {x, graph::StorageKind::Input}}});
  EXPECT_EQ(events_of(trace),
            (std::vector<std::string>{"given input", "given buffer", "given constant",  // untouched
                                      "aten::sin", "given constant", "aten::exp", "aten::add",
                                      "aten::mul"}));
}

TEST(Trace, has_the_peak_of_data_that_arrives_and_of_memory_that_nobody_touches) {
  const std::int64_t tensor = memory::footprint(1 << 20);
  const auto untouched = [](std::int64_t count) {
    return at::detail::empty_cpu({count << 18}, at::kFloat);
  };
  const at::Tensor x = torch::randn({1 << 18}), held = untouched(5);
  at::Tensor old = untouched(3), ahead, late;
  const auto step = [&] {
    std::thread([&] { late = torch::ones({1 << 18}); }).join();
    const at::Tensor y = x.sin();
    old.reset();                          // like the gradients of the step before
    ahead = untouched(4);                 // like the batches of later steps
    const at::Tensor z = y.exp() + late;  // the peak
    ahead.reset();
    (void)(z * 2);
  };
  memory::reset_peak();
  const std::int64_t base = memory::usage().live;
  const graph::Trace trace = neap::trace_step(step);
  const std::int64_t peak = memory::usage().peak;
  // The peak is late, y, exp and sum, plus the 4 of `ahead`, less the 3 that were let go.
  ASSERT_EQ(peak, base + 4 * tensor + memory::footprint(4 << 20) - memory::footprint(3 << 20));
  EXPECT_EQ(graph::run_plainly(trace).peak, peak);
  EXPECT_EQ(graph::plain_plan(trace).predicted_peak, peak);
  EXPECT_EQ(read_back(trace), trace);
}

TEST(Trace, has_what_the_allocator_holds_of_the_system_at_the_end_of_each_operator) {
  const at::Tensor x = torch::randn({1 << 18});
  memory::trim();
  std::vector<std::int64_t> reserved = {memory::usage().reserved};
  at::Tensor y, z;
  const graph::Trace trace = neap::trace_step([&] {
    y = x.sin();
    reserved.push_back(memory::usage().reserved);
    y.reset();  // it is kept for reuse
    z = x.cos();
    reserved.push_back(memory::usage().reserved);
  });
  std::vector<std::int64_t> found = {trace.reserved};
  for (const Operator& op : operators_of(trace)) found.push_back(op.reserved);
  EXPECT_EQ(found, reserved);
  EXPECT_GE(found[1], found[0] + memory::footprint(1 << 20));
  EXPECT_EQ(found[2], found[1]);
  EXPECT_EQ(read_back(trace), trace);
}

TEST(Trace, knows_what_a_scope_around_it_has_made) {
  const at::Tensor x = torch::randn({64, 64});
  const Scope scope({.observe = true});
  const at::Tensor y = x.sin();
  const graph::Trace trace = neap::trace_step([&] { (void)y.exp(); });
  const Operator exp = operators_of(trace).at(0);
  ASSERT_EQ(exp.reads.size(), 1);
  EXPECT_EQ(given_of(trace, exp.reads[0]).bytes, memory::footprint(4 * 64 * 64));
}

TEST(Trace, keeps_what_the_program_holds_at_the_end) {
  const at::Tensor x = torch::randn({64, 64}), untouched = torch::randn({64, 64});
  const at::Tensor weight = torch::randn({64, 64}).requires_grad_();
  at::Tensor out, dies_elsewhere;
  const graph::Trace trace = neap::trace_step([&] {
    dies_elsewhere = x.cos();
    out = (x.sin() * weight).exp();
    out.sum().backward();
    std::thread([&] { dies_elsewhere.reset(); }).join();
  });
  std::map<graph::StorageId, std::string> makers;
  for (const graph::Event& event : trace.events) {
    if (const auto* const given = std::get_if<graph::Given>(&event)) {
      makers[given->storage] = given->kind == graph::StorageKind::Parameter ? "weight" : "given";
    } else if (const auto* const op = std::get_if<Operator>(&event)) {
      for (const graph::Made& made : op->makes) makers[made.storage] = op->name;
    }
  }
  EXPECT_TRUE(std::ranges::is_sorted(trace.keep));
  std::vector<std::string> kept;
  for (const graph::StorageId id : trace.keep) kept.push_back(makers.at(id));
  std::ranges::sort(kept);
  // Nothing saves the product's result. The gradient is the last product.
  EXPECT_EQ(kept, (std::vector<std::string>{"aten::exp", "aten::mul", "given", "given", "weight"}));
  EXPECT_EQ(graph::plain_plan(trace).predicted_peak, graph::run_plainly(trace).peak);
}

TEST(Trace, tells_what_only_the_first_run_writes) {
  torch::nn::BatchNorm1d norm(64);
  name_layers(norm, "norm");
  const at::Tensor x = torch::randn({64, 64});
  std::vector<KnownTensor> known;
  for (const at::Tensor& buffer : norm->buffers()) {
    known.push_back({buffer, graph::StorageKind::Buffer});
  }
  const auto normalize = [&](const std::function<void()>& step) {
    const graph::Trace trace = neap::trace_step(step, {.known = known});
    EXPECT_EQ(read_back(trace), trace);
    for (const Operator& op : operators_of(trace)) {
      if (op.name == "aten::native_batch_norm") return std::pair(op, trace);
    }
    throw Error("no operator normalizes");
  };
  const auto [training, trace] = normalize([&] { norm->forward(x); });
  ASSERT_EQ(training.mutates_once.size(), 2);
  EXPECT_TRUE(training.mutates.empty());
  EXPECT_TRUE(training.replayable);
  for (const graph::StorageId id : training.mutates_once) {
    EXPECT_EQ(given_of(trace, id).kind, graph::StorageKind::Buffer);
  }
  // The step made these statistics itself. Their maker brings them back without the write, so they
  // are not among the storages that only a first run writes.
  const auto own = normalize([&] {
    const at::Tensor mean = torch::zeros({64}), variance = mean + 1;
    torch::batch_norm(x, {}, {}, mean, variance, /*training=*/true, 0.1, 1e-5, false);
  });
  EXPECT_TRUE(own.first.mutates_once.empty());
  EXPECT_EQ(own.first.mutates.size(), 2);
  EXPECT_FALSE(own.first.replayable);
  norm->eval();
  EXPECT_TRUE(normalize([&] { norm->forward(x); }).first.mutates_once.empty());
}

TEST(Trace, counts_memory_from_before_install_as_nothing_and_knows_who_writes_it) {
  c10::Allocator* const theirs = c10::GetDefaultCPUAllocator();
  const at::Tensor early = torch::empty({0});
  early.set_(c10::make_intrusive<c10::StorageImpl>(c10::StorageImpl::use_byte_size_t(), 1 << 12,
                                                   theirs->allocate(1 << 12), theirs, true),
             0, {1 << 10}, {1});
  early.fill_(1);
  const graph::Trace trace = neap::trace_step([&] {
    const at::Tensor y = early.sin();
    early.add_(y);
  });
  const std::vector<Operator> all = operators_of(trace);
  ASSERT_EQ(all[1].name, "aten::add_");
  ASSERT_EQ(all[1].mutates, all[0].reads);
  EXPECT_EQ(given_of(trace, all[0].reads[0]).bytes, 0);
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
  const graph::Trace trace = neap::trace_step([&] { loss = job.step(); });
  const std::int64_t peak = memory::usage().peak - base;
  EXPECT_EQ(plain.states.back().first_difference(test::JobState::of(job, loss)), "");
  // While a step is watched, memory that a kernel frees is freed only when the kernel ends.
  EXPECT_GE(peak, plain.peak - plain.base);
  EXPECT_LE(peak, (plain.peak - plain.base) * 103 / 100);
  EXPECT_EQ(graph::run_plainly(trace).peak - base, plain.peak - plain.base)
      << "the trace tells the peak of the step without anybody watching, to the byte";
  EXPECT_EQ(graph::plain_plan(trace).predicted_peak, graph::run_plainly(trace).peak);
  EXPECT_EQ(read_back(trace), trace);
}

TEST_P(TracedFamilies, have_the_same_trace_twice_but_for_times) {
  const auto traced = [] {
    torch::manual_seed(5);
    const test::Job job = GetParam().make();
    const auto step = [&] {
      job.step();
      for (const auto& optimizer : job.optimizers) optimizer->zero_grad();
    };
    step();
    return without_measures(neap::trace_step(step));
  };
  (void)traced();  // makes what a process makes only once
  const graph::Trace first = traced();
  EXPECT_EQ(first, traced());
}

INSTANTIATE_TEST_SUITE_P(Families, TracedFamilies, testing::ValuesIn(test::families()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace neap
