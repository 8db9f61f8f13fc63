// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Plans that are broken at each operator of a whole step (forward, backward and optimizer), and
// models that take turns.
#include "engine/engine.h"
#include "intercept/dispatch.h"
#include "support/families.h"
#include "support/training_runs.h"

#include <neap/neap.h>

#include <ATen/record_function.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>

namespace neap::test {
namespace {

// Runs an operator of its own before the program's operator number `at`, wherever that one is
// called from. Operators that kernels call internally do not count.
class Intrusion {
 public:
  explicit Intrusion(int at) {
    left_ = at;
    happened_ = false;
    calls_ = static_cast<std::size_t>(-1);
    handle_ = at::addThreadLocalCallback(
        at::RecordFunctionCallback(&before_operator).scopes({at::RecordScope::FUNCTION}));
  }
  Intrusion(const Intrusion&) = delete;
  Intrusion& operator=(const Intrusion&) = delete;
  ~Intrusion() { at::removeCallback(handle_); }
  static bool happened() { return happened_; }

 private:
  static std::unique_ptr<at::ObserverContext> before_operator(
      const at::RecordFunction& /*called*/) {
    const bool seen = c10::impl::tls_is_dispatch_key_included(intercept::key()) &&
                      !c10::impl::tls_is_dispatch_key_excluded(intercept::key());
    // A composite operator begins where the first of its parts begins.
    const std::size_t calls = engine::Engine::instance().calls().size();
    if (!seen || std::exchange(calls_, calls) == calls) return nullptr;
    if (left_-- != 0) return nullptr;
    happened_ = true;
    const at::RecordFunctionGuard silent(false);
    const at::NoGradGuard no_grad;
    (void)at::ones({3}).add_(1);
    return nullptr;
  }

  static inline int left_ = 0;
  static inline bool happened_ = false;
  static inline std::size_t calls_ = 0;  // of the program, at the last operator
  at::CallbackHandle handle_ = 0;
};

// The same job twice: plain, and inside a budget.
class Twins {
 public:
  Twins(const std::string& name, double percent)
      : family_(*std::ranges::find(families(), name, &Family::name)),
        plain_(make()),
        planned_(make()) {
    step(plain_);  // makes the optimizer's state
    step(planned_);
    memory::trim();
    memory::reset_peak();
    const std::int64_t base = memory::usage().live;
    step(plain_);
    const std::int64_t peak = memory::usage().peak;
    above_ = static_cast<std::int64_t>(static_cast<double>(peak - base) * percent / 100);
    step(planned_);
  }

  [[nodiscard]] std::int64_t above() const { return above_; }
  void step_plain() { step(plain_); }
  void step_planned() { step(planned_); }
  void expect_equal() {
    EXPECT_EQ(JobState::of(plain_.job, plain_.loss)
                  .first_difference(JobState::of(planned_.job, planned_.loss)),
              "");
  }

 private:
  struct Twin {
    Job job;
    double loss = 0;
    std::uint64_t seed = 1;
  };
  [[nodiscard]] Twin make() const {
    torch::manual_seed(1);
    return {family_.make()};
  }
  static void step(Twin& twin) {
    torch::manual_seed(++twin.seed);
    for (const auto& optimizer : twin.job.optimizers) optimizer->zero_grad();
    twin.loss = twin.job.step();
  }

  const Family& family_;
  Twin plain_, planned_;
  std::int64_t above_ = 0;
};

Stats in_scope(std::int64_t budget, const std::function<void()>& steps) {
  Stats stats;
  {
    Scope scope({.budget = Bytes(budget)});
    steps();
    engine::Engine::instance().validate();
    scope.end();
    stats = scope.stats();
  }
  EXPECT_LE(stats.peak_bytes, budget);
  memory::validate();
  finish_planning();
  return stats;
}

// A budget of `above` bytes more than what is live.
std::int64_t with_room(std::int64_t above) {
  memory::trim();
  return memory::usage().live + above;
}

class BrokenPlans : public testing::TestWithParam<std::string> {};

TEST_P(BrokenPlans, go_on_line_with_equal_bits_wherever_in_the_step_a_call_is_new) {
  Twins twins(GetParam(), 75);
  const std::int64_t budget = with_room(twins.above());
  const auto step = [&] { twins.step_planned(); };
  const auto both = [&](int at) {
    twins.step_plain();
    const Intrusion intrusion(at);
    Stats stats = in_scope(budget, step);
    twins.expect_equal();
    return stats;
  };
  constexpr int kNever = -1;
  both(kNever);
  both(kNever);  // useless plans of other tests are replaced now
  const Stats whole = both(kNever);
  ASSERT_EQ(whole.plan_hits, 1) << whole.plan_note;
  ASSERT_GT(whole.replays, 0);
  std::int64_t broken = 0;
  for (int at = 0;; ++at) {
    SCOPED_TRACE("before operator " + std::to_string(at));
    const Stats stats = both(at);
    if (!Intrusion::happened()) break;
    EXPECT_EQ(stats.plan_hits, 0);
    EXPECT_EQ(stats.plan_misses, 1);
    ++broken;
  }
  EXPECT_EQ(broken, whole.planned_operators) << "each but the views, which no plan foresees";
  both(kNever);
  EXPECT_EQ(both(kNever).plan_hits, 1) << "the plan is still there";
}

INSTANTIATE_TEST_SUITE_P(Families, BrokenPlans, testing::Values("gan"),
                         [](const auto& info) { return info.param; });

TEST(TwoModels, have_one_plan_when_they_take_turns_in_a_scope) {
  Twins one("resnet", 70), other("transformer", 70);
  const std::int64_t budget = with_room(std::max(one.above(), other.above()));
  Stats stats;
  for (int round = 0; round < 4; ++round) {
    for (int turn = 0; turn < 2; ++turn) {
      one.step_plain();
      other.step_plain();
    }
    stats = in_scope(budget, [&] {
      for (int turn = 0; turn < 2; ++turn) {
        one.step_planned();
        other.step_planned();
      }
    });
    one.expect_equal();
    other.expect_equal();
  }
  EXPECT_EQ(stats.plan_hits, 1) << stats.plan_note;
  EXPECT_GT(stats.replays, 0);
}

TEST(TwoModels, have_a_plan_each_when_their_scopes_take_turns) {
  Twins one("resnet", 70), other("transformer", 70);
  const std::int64_t budget = with_room(std::min(one.above(), other.above()));
  int hits = 0;
  for (int round = 0; round < 8; ++round) {
    Twins& twins = round % 2 == 0 ? one : other;
    twins.step_plain();
    const Stats stats = in_scope(budget, [&] { twins.step_planned(); });
    twins.expect_equal();
    if (round >= 4) hits += static_cast<int>(stats.plan_hits);
  }
  EXPECT_EQ(hits, 4) << "of the third and fourth step of each";
}

}  // namespace
}  // namespace neap::test
