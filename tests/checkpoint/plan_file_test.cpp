// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Plans from files, as `neap plan -o` writes them. A scope follows them from the first step on, as
// far as they foresee it. Where they are not followed, the note says so.
#include "autoplan/compile.h"
#include "checkpoint/planned.h"

#include <neap/neap.h>
#include <neap/train.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <unistd.h>

namespace neap::test {
namespace {

class FixedPlan : public testing::Test {
 public:
  FixedPlan() {
    std::filesystem::create_directories(folder_);
    memory::trim();
    chain_();
    trace_ = trace_step([&] { chain_(); });
    budget_ = planner::budget_of_share(trace_, 0.5) + Bytes(65536);
    plan_ = planner::solve(trace_, {.budget = planner::budget_of_share(trace_, 0.5)}).plan;
  }
  ~FixedPlan() override { std::filesystem::remove_all(folder_); }

 protected:
  std::filesystem::path write(const graph::Plan& plan) {
    std::filesystem::path path = folder_ / ("plan" + std::to_string(++files_) + ".jsonl");
    std::ofstream out(path);
    graph::write_plan(plan, out);
    return path;
  }

  std::filesystem::path folder_ =
      std::filesystem::temp_directory_path() / ("neap_fixed_plan_" + std::to_string(getpid()));
  int files_ = 0;
  Chain chain_{24};
  graph::Trace trace_;
  graph::Plan plan_;
  Bytes budget_;
};

std::int64_t reruns_of(const graph::Plan& plan) {
  return std::ranges::count(plan.steps, graph::Step::Action::Rerun, &graph::Step::action);
}

TEST_F(FixedPlan, is_followed_from_the_first_step_on) {
  ASSERT_GT(reruns_of(plan_), 0);
  const Fixed policy{write(plan_)};
  for (int step = 0; step < 3; ++step) {
    const Stats stats = run(std::ref(chain_), budget_, policy);
    EXPECT_EQ(stats.plan_hits, 1) << step << ": " << stats.plan_note;
    EXPECT_EQ(stats.replays, reruns_of(plan_));
    EXPECT_EQ(stats.plan_note, "");
  }
}

// Other solvers write plans without the operators that they foresee.
TEST_F(FixedPlan, that_foresees_nothing_is_followed_from_the_second_step_on) {
  plan_.operators.clear();
  const Fixed policy{write(plan_)};
  EXPECT_EQ(run(std::ref(chain_), budget_, policy).plan_hits, 0);
  const Stats stats = run(std::ref(chain_), budget_, policy);
  EXPECT_EQ(stats.plan_hits, 1);
  EXPECT_EQ(stats.replays, reruns_of(plan_));
}

// In each round, another operator of the forward differs.
TEST_F(FixedPlan, is_followed_as_far_as_it_foresees_the_step_and_the_note_says_how_far) {
  plan_.label = "a chain";
  const Fixed policy{write(plan_)};
  for (int at = 0; at < chain_.length; ++at) {
    SCOPED_TRACE(at);
    chain_.deviates_at = at;
    chain_();
    const ByteLists plain = chain_.bits;
    const Stats stats = run(std::ref(chain_), budget_, policy);
    EXPECT_EQ(stats.plan_hits, 0);
    EXPECT_EQ(stats.plan_misses, 1);
    EXPECT_EQ(stats.planned_operators, at);
    EXPECT_EQ(stats.plan_note,
              policy.plan.string() + ", made for a chain, was followed for " + std::to_string(at) +
                  " of " + std::to_string(plan_.operators.size()) + " operators: operator " +
                  std::to_string(at) +
                  " of this step, aten::sin, is not what it foresees there, by its name, its sizes "
                  "or its storages");
    EXPECT_EQ(first_difference(plain, chain_.bits), std::nullopt);
  }
  chain_.deviates_at = -1;
  EXPECT_EQ(run(std::ref(chain_), budget_, policy).plan_hits, 1);
}

// The first step of a training makes the optimizer's state. The plan is one for the later steps.
TEST_F(FixedPlan, of_a_training_is_followed_from_its_first_forward_on) {
  struct Training {
    torch::nn::Sequential net;
    std::unique_ptr<torch::optim::AdamW> optimizer;
    std::unique_ptr<train::Trainer> trainer;

    explicit Training(const train::TrainerOptions& options) {
      torch::manual_seed(1);
      for (int layer = 0; layer < 8; ++layer) {
        net->push_back(torch::nn::Linear(64, 64));
        net->push_back(torch::nn::BatchNorm1d(64));
        net->push_back(torch::nn::GELU());
        net->push_back(torch::nn::Dropout(0.1));
      }
      optimizer = std::make_unique<torch::optim::AdamW>(net->parameters());
      trainer = std::make_unique<train::Trainer>(
          [this](const at::Tensor& x, const at::Tensor& y) {
            return torch::mse_loss(net->forward(x), y);
          },
          *optimizer, options);
    }
    train::StepResult step(const at::Tensor& x) { return trainer->step(x, x); }
    [[nodiscard]] train::State state(double loss) const {
      return train::State::of(*net, *optimizer, loss);
    }
  };
  const auto batch = [](std::size_t number) {
    return torch::randn({512, 64}, at::detail::createCPUGenerator(number));
  };
  constexpr std::size_t kSteps = 4;
  graph::Trace trace;
  {
    Training traced({.plain = true});
    const at::Tensor x = batch(0);
    const auto step = [&] {
      traced.step(x);
      traced.optimizer->zero_grad();
    };
    step();
    trace = trace_steps(step, {.label = "a training"});
  }
  const graph::Plan plan =
      planner::solve(trace, {.budget = planner::budget_of_share(trace, 0.5), .followable = true})
          .plan;
  ASSERT_GT(reruns_of(plan), 0);
  std::vector<train::State> expected;
  {
    Training plain({.plain = true});
    for (std::size_t i = 0; i < kSteps; ++i) {
      expected.push_back(plain.state(plain.step(batch(i)).loss));
    }
  }
  Training planned({.budget = planner::budget_of_share(trace, 0.52), .policy = Fixed{write(plan)}});
  for (std::size_t i = 0; i < kSteps; ++i) {
    SCOPED_TRACE(i);
    const train::StepResult result = planned.step(batch(i));
    EXPECT_FALSE(planned.state(result.loss).first_difference(expected[i]));
    EXPECT_EQ(result.stats.plan_hits, i == 0 ? 0 : 1) << result.stats.plan_note;
    EXPECT_EQ(result.stats.replays, reruns_of(plan));
    if (i > 0) continue;
    EXPECT_GT(result.stats.planned_operators, 80) << "forward and backward";
    EXPECT_NE(
        result.stats.plan_note.find("of this step, aten::zeros_like, is not what it foresees"),
        std::string::npos)
        << result.stats.plan_note;
  }
}

// Reads a plan's steps from a text such as "run 0 free 1 rerun 0".
std::vector<graph::Step> steps_of(const std::string& text) {
  using enum graph::Step::Action;
  std::vector<graph::Step> steps;
  std::istringstream in(text);
  std::string word;
  for (std::int64_t target = 0; in >> word >> target;) {
    steps.push_back({word == "run" ? Run : word == "rerun" ? Rerun : Free, target});
  }
  return steps;
}

// Operators 0 to 5 make storages 1 to 6 from storage 0. The program lets go of `a` after operator
// 2.
void step_of_six(const at::Tensor& x) {
  at::Tensor b, e;
  {
    const at::Tensor a = x * 2;
    b = a + 1;
    e = a + 3;
  }
  const at::Tensor c = x * 4;
  const at::Tensor f = b * c;
  const at::Tensor g = e * c;
}

TEST_F(FixedPlan, keeps_what_the_program_lets_go_of_as_long_as_it_says) {
  const at::Tensor x = square(3);
  const auto step = [&] { step_of_six(x); };
  const Bytes budget = budget_of(40);
  const auto follow = [&](const std::string& text) {
    const Fixed policy{write({.budget = budget.count(), .steps = steps_of(text)})};
    for (int i = 0; i < 2; ++i) run(step, budget, policy);
    const Stats stats = run(step, budget, policy);
    EXPECT_EQ(stats.plan_hits, 1) << stats.plan_note;
    return std::pair(stats.replays, stats.evictions);
  };
  // `a` stays from its first run on.
  EXPECT_EQ(follow("run 0 run 1 free 2 run 2 run 3 rerun 1 free 1 run 4 free 2 free 5 run 5 free 3 "
                   "free 4 free 6"),
            (std::pair<std::int64_t, std::int64_t>(1, 3)))
      << "b again, from a; b goes for that, a when it is of no use any more, and one for room";
  // `a` comes back, and stays for the second of two storages that are made from it.
  EXPECT_EQ(follow("run 0 run 1 free 2 run 2 free 3 free 1 run 3 rerun 0 rerun 1 run 4 free 2 free "
                   "5 rerun 2 free 1 run 5 free 3 free 4 free 6"),
            (std::pair<std::int64_t, std::int64_t>(3, 5)))
      << "a, b and e again; b goes twice, e, a and f once";
  // `a` is freed before the last operator, because nothing that comes back there reads it.
  EXPECT_EQ(follow("run 0 run 1 free 2 run 2 run 3 rerun 1 run 4 free 5 free 4 rerun 3 free 1 free "
                   "2 run 5 free 3 free 4 free 6"),
            (std::pair<std::int64_t, std::int64_t>(2, 4)))
      << "b and c again; b, c and a go for that, and one for room";
}

TEST_F(FixedPlan, of_another_step_or_budget_is_not_followed_and_the_note_says_why) {
  const auto note_of = [&](const graph::Plan& plan, Bytes budget) {
    const Fixed policy{write(plan)};
    run(std::ref(chain_), budget, policy);
    const Stats stats = run(std::ref(chain_), budget, policy);
    EXPECT_EQ(stats.planned_operators, 0);
    return stats.plan_note;
  };
  graph::Plan shorter = plan_;
  shorter.steps.pop_back();
  shorter.steps.erase(shorter.steps.begin());
  shorter.operators.clear();  // else it contradicts the steps
  EXPECT_NE(note_of(shorter, budget_).find("does not fit this step, which is online: "),
            std::string::npos);
  Chain longer(30);
  longer();
  const graph::Trace other = trace_step([&] { longer(); });
  EXPECT_NE(note_of(graph::plain_plan(other), budget_ + Bytes(1)).find("does not fit this step"),
            std::string::npos);
  EXPECT_NE(note_of(graph::plain_plan(trace_), budget_ + Bytes(2)).find("the budget is"),
            std::string::npos);
  plan_.predicted_peak = budget_.count() + 4;
  EXPECT_NE(note_of(plan_, budget_ + Bytes(3)).find("the budget is"), std::string::npos);
}

TEST_F(FixedPlan, that_cannot_be_read_is_refused_when_the_scope_opens) {
  EXPECT_THROW(Scope({.budget = budget_, .policy = Fixed{folder_ / "none.jsonl"}}),
               InvalidArgument);
  std::ofstream(folder_ / "bad.jsonl") << "{\"neap_plan\":1}\n";
  EXPECT_THROW(Scope({.budget = budget_, .policy = Fixed{folder_ / "bad.jsonl"}}),
               graph::FormatError);
  const Stats stats = run(std::ref(chain_), budget_, Online{});  // no scope is left open
  EXPECT_EQ(stats.plan_hits, 0);
}

// A file may come from anywhere, and there is no trace to compare it with.
TEST_F(FixedPlan, that_contradicts_itself_is_refused_before_anything_follows_it) {
  const auto refusal = [&](const graph::Plan& plan) -> std::string {
    try {
      autoplan::compile(plan, 0);
    } catch (const InvalidArgument& error) {
      return error.what();
    }
    return "not refused";
  };
  using enum graph::Step::Action;
  graph::Plan plan{.steps = {{Run, 0}, {Run, 1}}, .operators = {{1, {0}, {}}, {2, {1}, {0}}}};
  EXPECT_EQ(refusal(plan), "not refused");
  const auto with = [&](std::vector<graph::Step> steps) {
    graph::Plan other = plan;
    other.steps = std::move(steps);
    return refusal(other);
  };
  EXPECT_EQ(with({{Run, 1}, {Run, 0}}),
            "it contradicts itself in line 2: operator 1 runs out of its order");
  EXPECT_EQ(with({{Run, 0}}),
            "it contradicts itself in line 3: 1 operators run, and something is foreseen of 2");
  EXPECT_EQ(with({{Run, 0}, {Run, 1}, {Run, 2}}),
            "it contradicts itself in line 5: 3 operators run, and something is foreseen of 2");
  EXPECT_EQ(with({{Rerun, 0}, {Run, 0}, {Run, 1}}),
            "it contradicts itself in line 2: operator 0 has not run yet");
  EXPECT_EQ(with({{Run, 0}, {Load, -1}, {Run, 1}}),
            "it contradicts itself in line 3: there is no storage -1");
  EXPECT_EQ(with({{Run, 0}, {Rerun, -1}, {Run, 1}}),
            "it contradicts itself in line 3: operator -1 has not run yet");
  EXPECT_EQ(with({{Run, 0}, {Free, 1 << 24}, {Run, 1}}),
            "it contradicts itself in line 3: there is no storage 16777216");
  plan.operators[1].changes = {-1};
  EXPECT_EQ(refusal(plan), "it contradicts itself: there is no storage -1");
}

}  // namespace
}  // namespace neap::test
