// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// checkpoint(), keep_results() and set_checkpoint_policy() in scopes that follow plans. The plan
// decides what is evicted, except where rules say otherwise.
#include "checkpoint/planned.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>
#include <torch/torch.h>

#include <functional>
#include <optional>

namespace neap::test {
namespace {

using Function = std::function<at::Tensor(const at::Tensor&)>;

at::Tensor inner(const at::Tensor& x) { return x.tanh().sin().tanh(); }

// An operator that counts how often it runs, including replays.
int sine_calls = 0;
at::Tensor sine(const at::Tensor& x) {
  ++sine_calls;
  return x.sin();
}
// An operator that takes so long that a plan recomputes sines first, even when a busy machine
// disturbs the measured times.
at::Tensor slow(const at::Tensor& x) {
  at::Tensor y = x.softmax(1);
  for (int i = 0; i < 40; ++i) y.sin_();
  return y;
}
TORCH_LIBRARY(neap_planned, library) {
  library.def("sine(Tensor x) -> Tensor");
  library.impl("sine", c10::DispatchKey::CPU, TORCH_FN(sine));
  library.def("slow(Tensor x) -> Tensor");
  library.impl("slow", c10::DispatchKey::CPU, TORCH_FN(slow));
}
// Calls an operator with one tensor and saves its result.
struct SaveResult : torch::autograd::Function<SaveResult> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const char* name,
                            const at::Tensor& x) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const auto op = c10::Dispatcher::singleton()
                        .findSchemaOrThrow(name, "")
                        .typed<at::Tensor(const at::Tensor&)>();
    at::Tensor y = op.call(x);
    context->save_for_backward({y});
    return y;
  }
  // The backward reads the saved result. Which function of it does not matter.
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    return {at::Tensor(), gradients[0] * context->get_saved_variables()[0].cos()};
  }
};

constexpr int kSines = 6;
at::Tensor sines(const at::Tensor& x) {
  at::Tensor y = x;
  for (int i = 0; i < kSines; ++i) {
    y = SaveResult::apply("neap_planned::sine", SaveResult::apply("neap_planned::slow", y));
  }
  return y;
}
CheckpointOptions rule(CheckpointPolicy policy) {
  CheckpointOptions options;
  options.rules = {{.op = "neap_planned::sine", .policy = policy}};
  return options;
}

// A step of `function`, with a chain beside it.
class PlannedRegions : public testing::Test {
 protected:
  void SetUp() override {
    declare_replayable("neap_planned::sine");
    declare_replayable("neap_planned::slow");
  }
  void step(const Function& function) {
    const at::Tensor x = chain_.x.detach().requires_grad_();
    function(x).sum().backward();
    const ByteLists of_function = bytes_of({x.grad()});
    chain_();
    bits_ = chain_.bits;
    bits_.insert(bits_.end(), of_function.begin(), of_function.end());
  }
  // The statistics of the third of three equal steps. The second is the first that can follow a
  // plan. `plain` is the function without regions.
  Stats third(const Function& function, const Function& plain, Bytes budget) {
    step(plain);
    const ByteLists expected = bits_;
    Stats stats;
    for (int i = 0; i < 3; ++i) {
      sine_calls = 0;
      stats = run([&] { step(function); }, budget);
      EXPECT_EQ(first_difference(expected, bits_), std::nullopt) << "in step " << i;
    }
    return stats;
  }

  static at::Tensor unruled(const at::Tensor& x) { return checkpoint(inner, x); }
  static at::Tensor ruled(const at::Tensor& x) { return custom_checkpoint(keep_sin(), inner, x); }
  static CheckpointOptions keep_sin() {
    CheckpointOptions options;
    options.rules = {{.op = "aten::sin"}};
    return options;
  }

  Chain chain_{12};
  ByteLists bits_;
};

TEST_F(PlannedRegions, are_nothing_without_rules) {
  const Stats roomy = third(unruled, inner, budget_of(40));
  EXPECT_EQ(roomy.plan_hits, 1) << roomy.plan_note;
  EXPECT_EQ(roomy.replays, 0) << "where all fits nothing runs again";
  const Stats tight = third(unruled, inner, budget_of(11));
  EXPECT_EQ(tight.plan_hits, 1) << tight.plan_note;
  EXPECT_GT(tight.replays, 0);
}

TEST_F(PlannedRegions, with_rules_leave_a_plan_that_frees_nothing_where_all_fits) {
  const Stats stats = third(ruled, inner, budget_of(40));
  EXPECT_EQ(stats.plan_hits, 1) << stats.plan_note;
  EXPECT_EQ(stats.replays, 0);
}

TEST_F(PlannedRegions, no_plan_runs_again_what_must_be_saved) {
  const auto counted = [](const CheckpointOptions& options) {
    return [options](const at::Tensor& x) { return custom_checkpoint(options, sines, x); };
  };
  // The budget is tight, so with the rule the plan must evict other results instead.
  const Bytes budget = budget_of(9);
  const Stats without = third(counted({}), sines, budget);
  EXPECT_EQ(without.plan_hits, 1) << without.plan_note;
  EXPECT_GT(sine_calls, kSines) << "else the rule below would change nothing";
  const Stats with = third(counted(rule(CheckpointPolicy::MustSave)), sines, budget);
  EXPECT_EQ(with.plan_hits, 1) << with.plan_note;
  EXPECT_EQ(sine_calls, kSines);
  EXPECT_GT(with.replays, 0);
}

TEST_F(PlannedRegions, what_is_preferred_gives_way_to_the_budget) {
  const auto preferred = [](const at::Tensor& x) {
    return custom_checkpoint(rule(CheckpointPolicy::PreferSave), sines, x);
  };
  const Stats roomy = third(preferred, sines, budget_of(9));
  EXPECT_EQ(roomy.plan_hits, 1) << roomy.plan_note;
  EXPECT_EQ(sine_calls, kSines);
  const Stats tight = third(preferred, sines, budget_of(6));
  EXPECT_EQ(tight.plan_hits, 1) << tight.plan_note;
  EXPECT_GT(sine_calls, kSines);
}

TEST_F(PlannedRegions, what_must_be_recomputed_goes_when_the_region_closes) {
  const auto recomputed = [](const at::Tensor& x) {
    return custom_checkpoint(rule(CheckpointPolicy::MustRecompute), sines, x);
  };
  const Stats stats = third(recomputed, sines, budget_of(40));
  EXPECT_EQ(stats.plan_hits, 1) << stats.plan_note;
  EXPECT_EQ(sine_calls, 2 * kSines - 1) << "the last is the region's result, and stays";
}

// A plan that was made for other rules frees what these rules save.
TEST_F(PlannedRegions, with_other_rules_are_another_step) {
  const Bytes budget = budget_of(9) + Bytes(64);  // no other test has it: plans outlive tests
  third([](const at::Tensor& x) { return sines(x); }, sines, budget);
  EXPECT_GT(sine_calls, kSines);
  const auto saved = [](const at::Tensor& x) {
    return custom_checkpoint(rule(CheckpointPolicy::MustSave), sines, x);
  };
  sine_calls = 0;
  const Stats first = run([&] { step(saved); }, budget);
  EXPECT_EQ(first.plan_hits, 0);
  EXPECT_EQ(first.plan_misses, 1);
  EXPECT_EQ(sine_calls, kSines);
}

TEST_F(PlannedRegions, can_lie_in_one_another_either_way) {
  const auto within = [](const at::Tensor& x) {
    return checkpoint(
        [](const at::Tensor& y) {
          return custom_checkpoint(rule(CheckpointPolicy::MustSave), sines, y);
        },
        x);
  };
  const auto around = [](const at::Tensor& x) {
    return custom_checkpoint(
        rule(CheckpointPolicy::MustSave), [](const at::Tensor& y) { return checkpoint(sines, y); },
        x);
  };
  for (const Function& function : {Function(within), Function(around)}) {
    const Stats stats = third(function, sines, budget_of(9));
    EXPECT_EQ(stats.plan_hits, 1) << stats.plan_note;
    EXPECT_EQ(sine_calls, kSines) << "rules hold for what lies in their region";
    EXPECT_GT(stats.replays, 0);
  }
}

// Rules say what a region does not evict. Where there is no region they do nothing.
TEST_F(PlannedRegions, that_are_nothing_have_nothing_to_keep) {
  const auto keeping = [](const at::Tensor& x) {
    return checkpoint(
        [](const at::Tensor& y) {
          const at::Tensor kept = keep_results([&] { return y.tanh(); });
          return set_checkpoint_policy(kept.sin(), CheckpointPolicy::MustSave).tanh();
        },
        x);
  };
  const Stats roomy = third(keeping, inner, budget_of(40));
  EXPECT_EQ(roomy.plan_hits, 1) << roomy.plan_note;
  EXPECT_EQ(roomy.replays, 0);
  const Stats tight = third(keeping, inner, budget_of(11));
  EXPECT_EQ(tight.plan_hits, 1) << tight.plan_note;
  EXPECT_GT(tight.replays, 0);
}

}  // namespace
}  // namespace neap::test
