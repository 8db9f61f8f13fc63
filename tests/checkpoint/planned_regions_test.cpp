// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// checkpoint(), keep() and tag() in scopes that follow plans: what goes is the plan's to say, until a region with rules says it.
#include "checkpoint/planned.h"

#include <functional>
#include <optional>

namespace neap::test {
namespace {

using Function = std::function<at::Tensor(const at::Tensor&)>;

at::Tensor inner(const at::Tensor& x) { return x.tanh().sin().tanh(); }

// A step of `function` and of a chain beside it.
class PlannedRegions : public testing::Test {
 protected:
  void step(const Function& function) {
    const at::Tensor x = chain_.x.detach().requires_grad_();
    function(x).sum().backward();
    const ByteLists of_function = bytes_of({x.grad()});
    chain_();
    bits_ = chain_.bits;
    bits_.insert(bits_.end(), of_function.begin(), of_function.end());
  }
  // The third of three equal steps: the second is the first that can follow a plan. `plain`: the function without regions.
  Stats third(const Function& function, const Function& plain, Bytes budget) {
    step(plain);
    const ByteLists expected = bits_;
    Stats stats;
    for (int i = 0; i < 3; ++i) {
      stats = run([&] { step(function); }, budget);
      EXPECT_EQ(first_difference(expected, bits_), std::nullopt) << "in step " << i;
    }
    return stats;
  }

  static at::Tensor unruled(const at::Tensor& x) { return checkpoint(inner, x); }
  // Its first tanh runs again: the second is its result, and sin stays.
  static at::Tensor ruled(const at::Tensor& x) { return custom_checkpoint(keep_sin(), inner, x); }
  static CheckpointOptions keep_sin() {
    CheckpointOptions options;
    options.rules = {{.op = "aten::sin"}};
    return options;
  }
  static at::Tensor twice(const at::Tensor& x) { return inner(inner(x)); }

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

TEST_F(PlannedRegions, with_rules_have_their_say) {
  const Stats stats = third(ruled, inner, budget_of(40));
  EXPECT_EQ(stats.plan_hits, 0);
  EXPECT_EQ(stats.replays, 1);
}

TEST_F(PlannedRegions, without_rules_are_regions_behind_one_with_rules_and_nothing_before_it) {
  const Stats before =
      third([](const at::Tensor& x) { return ruled(unruled(x)); }, twice, budget_of(40));
  EXPECT_EQ(before.plan_hits, 0);
  EXPECT_EQ(before.replays, 1) << "of the one with rules alone";
  const Stats behind =
      third([](const at::Tensor& x) { return unruled(ruled(x)); }, twice, budget_of(40));
  EXPECT_EQ(behind.plan_hits, 0);
  EXPECT_EQ(behind.replays, 2) << "a tanh of each";
}

TEST_F(PlannedRegions, can_lie_in_one_another_either_way) {
  const Stats inside = third(
      [](const at::Tensor& x) {
        return checkpoint([](const at::Tensor& y) { return ruled(y); }, x);
      },
      inner, budget_of(40));
  EXPECT_EQ(inside.plan_hits, 0);
  EXPECT_EQ(inside.replays, 1)
      << "the outer one was nothing when it began, and is nothing when it ends";
  const Stats outside =
      third([](const at::Tensor& x) { return custom_checkpoint(keep_sin(), unruled, x); }, inner,
            budget_of(40));
  EXPECT_EQ(outside.plan_hits, 0);
  EXPECT_EQ(outside.replays, 1) << "its rules hold for what lies in it";
}

// They say what a region does not take; where there is none they say nothing.
TEST_F(PlannedRegions, that_are_nothing_have_nothing_to_keep) {
  const auto keeping = [](const at::Tensor& x) {
    return checkpoint(
        [](const at::Tensor& y) {
          const at::Tensor kept = keep([&] { return y.tanh(); });
          return tag(kept.sin(), CheckpointPolicy::MustSave).tanh();
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
