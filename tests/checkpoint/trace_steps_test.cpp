// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// trace_steps(): several equal steps give one trace. Otherwise an error says where they differ.
#include "autoplan/recorder.h"
#include "checkpoint/tracing.h"
#include "support/message_of.h"

#include <neap/neap.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <map>
#include <string>
#include <vector>

namespace neap {
namespace {

using autoplan::merge;
using autoplan::Recording;
using namespace test::tracing;

TEST(TraceSteps, are_the_trace_of_one_of_them_but_for_times) {
  torch::manual_seed(1);
  torch::nn::Sequential model(torch::nn::Linear(64, 64), torch::nn::Dropout(0.5),
                              torch::nn::Linear(64, 64));
  torch::optim::Adam optimizer(model->parameters(), torch::optim::AdamOptions(1e-3));
  const at::Tensor x = torch::randn({64, 64});
  int steps = 0;
  const auto step = [&] {
    ++steps;
    optimizer.zero_grad();
    model->forward(x).sum().backward();
    optimizer.step();
  };
  step();
  const graph::Trace one = neap::trace_step(step, {.label = "small"});
  const graph::Trace three = neap::trace_steps(step, {.label = "small"});
  EXPECT_EQ(steps, 5);
  EXPECT_EQ(without_measures(one), without_measures(three));
  std::map<graph::StorageKind, int> kinds;
  for (const graph::Event& event : three.events) {
    if (const auto* const given = std::get_if<graph::Given>(&event)) ++kinds[given->kind];
  }
  EXPECT_EQ(kinds[graph::StorageKind::Optimizer], 8) << "two moments of four parameters";
  EXPECT_EQ(kinds[graph::StorageKind::Parameter], 4) << "transposed weights without a name too";
}

TEST(TraceSteps, merge_medians_of_times_and_the_worst_of_memory) {
  const auto step = [](std::int64_t ns, std::int64_t workspace, bool replayable,
                       std::int64_t position, std::int64_t untouched) {
    Recording recording;
    graph::Operator op{.name = "a", .ns = ns, .workspace = workspace, .replayable = replayable};
    recording.operators = {op, op};
    recording.arrivals = {{{.storage = 0, .bytes = 8}, position, 1}};
    recording.untouched = {0, untouched, 0, 5};
    return recording;
  };
  Recording merged =
      merge({step(90, 10, true, 1, 3), step(10, 30, true, 0, 9), step(20, 20, true, 1, 4)});
  EXPECT_EQ(merged.operators[1].ns, 20);
  EXPECT_EQ(merged.operators[1].workspace, 30);
  EXPECT_TRUE(merged.operators[1].replayable);
  EXPECT_EQ(merged.arrivals[0].position, 0);
  EXPECT_EQ(merged.untouched, (std::vector<std::int64_t>{0, 9, 0, 5}));
  merged = merge({step(30, 0, true, 1, 3), step(10, 0, false, 1, 3)});
  EXPECT_EQ(merged.operators[0].ns, 20) << "the mean of the two in the middle";
  EXPECT_FALSE(merged.operators[0].replayable);
}

TEST(TraceSteps, that_are_not_the_same_are_refused_with_the_first_operator_that_differs) {
  const at::Tensor x = torch::randn({64, 64});
  std::vector<at::Tensor> held;
  int step = 0;
  const auto refusal = [&](const std::function<void()>& run) {
    step = 0;
    held.clear();
    return test::message_of<Error>([&] {
      neap::trace_steps([&] {
        ++step;
        run();
      });
    });
  };
  const std::string begin = "neap::trace_steps: step 3 is not as the first one: ";
  const std::string end =
      "; trace a step that does the same each time, after one that is not traced and makes the "
      "optimizer's state";
  const std::string storages = ", uses, makes or leaves other storages, or of other sizes";
  EXPECT_EQ(refusal([&] { (void)(step < 3 ? x.sin().exp() : x.sin().cos()); }),
            begin + "operator 1 is aten::cos and was aten::exp" + end);
  EXPECT_EQ(refusal([&] { (void)x.narrow(0, 0, step < 3 ? 64 : 32).sin().exp(); }),
            begin + "operator 0, aten::sin" + storages + end);
  EXPECT_EQ(
      refusal([&] { (void)(step < 3 ? x.sin().exp() : x.sin()); }),
      begin + "it has 1 operators and had 2; operator 1, aten::exp, is in one of them only" + end);
  for (const bool held_by_last : {true, false}) {
    EXPECT_EQ(refusal([&] {
                const at::Tensor y = x.sin().exp();
                if ((step == 3) == held_by_last) held.push_back(y);
              }),
              begin + "operator 1, aten::exp" + storages + end);
  }
  const at::Tensor other = torch::randn({32, 64});
  EXPECT_EQ(refusal([&] {
              const at::Tensor y = x.sin();
              (void)(step < 3 ? x : other).sum();
            }),
            begin + "operator 1, aten::sum" + storages + end);
  EXPECT_EQ(refusal([&] { (void)x.sin(); }), "nothing was thrown");
}

TEST(TraceSteps, refuse_less_than_one) {
  EXPECT_EQ(test::message_of<InvalidArgument>([] { neap::trace_steps([] {}, {}, 0); }),
            "neap::trace_steps: 0 steps; expected 1 or more");
}

}  // namespace
}  // namespace neap
