// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// How scopes begin, nest, fail and end.
#include "regression/evicting.h"
#include "support/message_of.h"

namespace neap::test {
namespace {

constexpr std::int64_t kSide = 64;
constexpr std::int64_t kBytes = kSide * kSide * 4;

bool clean() {
  return engine::Engine::instance().recorder_bytes() == 0 && !memory::budget().has_value();
}

TEST(Scope, nests_with_the_same_budget_and_ends_with_the_outermost) {
  const at::Tensor x = torch::rand({kSide, kSide});
  const Bytes budget = room_for(4, kBytes);
  std::vector<at::Tensor> made;
  Scope outer({.budget = budget, .policy = Online{}});
  {
    Scope inner({.budget = budget, .policy = Online{}});
    const Scope without_a_budget;
    for (int i = 0; i < 6; ++i) made.push_back(x * i);
    EXPECT_GT(inner.stats().evictions, 0);
    inner.end();
    inner.end();
  }
  EXPECT_EQ(memory::budget(), budget.count()) << "the outer one goes on";
  made.resize(2);
  outer.end();
  EXPECT_TRUE(clean());
}

TEST(Scope, of_another_budget_inside_is_refused_with_both) {
  const Bytes budget = room_for(100, kBytes);
  const Scope outer({.budget = budget, .policy = Online{}});
  const std::string text = message_of<ScopeConflict>(
      [&] { const Scope inner({.budget = Bytes(budget.count() / 2), .policy = Online{}}); });
  EXPECT_NE(text.find("a scope of another budget is open: " + budget.text()), std::string::npos)
      << text;
}

TEST(Scope, inside_a_region_is_refused_and_the_region_goes_on) {
  const at::Tensor x = torch::rand({kSide, kSide});
  std::string text;
  at::Tensor made;
  checkpoint([&] {
    text = message_of<ScopeConflict>([] { const Scope scope; });
    made = x * 2;
  });
  EXPECT_NE(text.find("cannot open inside checkpoint()"), std::string::npos) << text;
  EXPECT_TRUE(evicted(made));
  EXPECT_EQ(first_difference(bytes_of({x * 2}), bytes_of({made})), std::nullopt);
}

TEST(Scope, that_was_opened_outside_cannot_end_inside_a_region) {
  Scope scope;
  std::string text;
  checkpoint([&] { text = message_of<ScopeConflict>([&] { scope.end(); }); });
  EXPECT_NE(text.find("cannot end inside a checkpoint()"), std::string::npos) << text;
  scope.end();
  EXPECT_TRUE(clean());
}

TEST(Scope, of_no_bytes_or_less_is_refused) {
  for (const std::int64_t bytes : {0, -1}) {
    const std::string text = message_of<InvalidArgument>(
        [&] { const Scope scope({.budget = Bytes(bytes), .policy = Online{}}); });
    EXPECT_NE(text.find("a budget of " + std::to_string(bytes) + " bytes"), std::string::npos)
        << text;
  }
}

TEST(Scope, below_what_is_in_use_is_refused_and_leaves_nothing_set) {
  const at::Tensor x = torch::rand({kSide, kSide});
  const std::string text = message_of<BudgetExceeded>(
      [] { const Scope scope({.budget = Bytes(1000), .policy = Online{}}); });
  EXPECT_NE(text.find("cannot be set"), std::string::npos) << text;
  EXPECT_TRUE(clean());
  const Scope works;
}

// A scope in which the program holds more than the budget has room for.
class CrowdedScope : public testing::Test {
 protected:
  void fill() {
    for (int i = 0; i < 8; ++i) held_.push_back(x_ * i);
  }
  void expect_access_throws() {
    std::size_t lost = 0;
    for (const at::Tensor& one : held_) {
      try {
        static_cast<void>(one + 1);
      } catch (const c10::Error& error) {
        ++lost;
        EXPECT_NE(std::string(error.what()).find("its scope ended before it could be brought back"),
                  std::string::npos);
      }
    }
    EXPECT_GT(lost, 0U) << "all were there";
    EXPECT_LT(lost, held_.size()) << "none was";
  }

  const at::Tensor x_ = torch::rand({kSide, kSide});
  std::vector<at::Tensor> held_;
};

TEST_F(CrowdedScope, cannot_end_and_stays_open_until_there_is_room) {
  Scope scope({.budget = room_for(6, kBytes), .policy = Online{}});
  fill();
  EXPECT_THROW(scope.end(), BudgetExceeded);
  EXPECT_TRUE(memory::budget().has_value());
  held_.erase(held_.begin(), held_.begin() + 3);
  scope.end();
  EXPECT_TRUE(clean());
  for (int i = 3; i < 8; ++i) {
    EXPECT_EQ(
        first_difference(bytes_of({x_ * i}), bytes_of({held_[static_cast<std::size_t>(i - 3)]})),
        std::nullopt);
  }
}

TEST_F(CrowdedScope, throws_from_its_destructor_and_leaves_the_rest_with_an_access_error) {
  EXPECT_THROW(
      {
        const Scope scope({.budget = room_for(6, kBytes), .policy = Online{}});
        fill();
      },
      BudgetExceeded);
  EXPECT_TRUE(clean());
  expect_access_throws();
}

TEST_F(CrowdedScope, lets_the_programs_own_exception_through) {
  const std::string text = message_of<std::runtime_error>([&] {
    const Scope scope({.budget = room_for(6, kBytes), .policy = Online{}});
    fill();
    throw std::runtime_error("the program's own");
  });
  EXPECT_EQ(text, "the program's own");
  EXPECT_TRUE(clean());
  expect_access_throws();
}

TEST(Scope, that_an_operator_left_with_an_exception_leaves_a_clean_state) {
  const at::Tensor x = torch::rand({kSide, kSide}).requires_grad_();
  const auto step = [&] {
    x.mutable_grad().reset();
    torch::tanh(x * 3).mm(x).sum().backward();
    return bytes_of({x.grad()});
  };
  const ByteLists expected = step();
  memory::trim();
  const std::int64_t live = memory::usage().live;
  for (int i = 0; i < 3; ++i) {
    EXPECT_THROW(
        {
          const Scope scope({.budget = room_for(8, kBytes), .policy = Online{}});
          torch::tanh(x * 3).mm(torch::ones({kSide + 1, 2}));
        },
        c10::Error);
    EXPECT_TRUE(clean());
  }
  EXPECT_EQ(memory::usage().live, live);
  Scope scope({.budget = room_for(8, kBytes), .policy = Online{}});
  EXPECT_EQ(first_difference(expected, step()), std::nullopt);
}

TEST(Scope, is_left_at_the_next_operator_after_an_interrupt) {
  const at::Tensor x = torch::rand({kSide, kSide});
  int ran = 0;
  EXPECT_THROW(
      {
        const Scope scope;
        for (; ran < 10; ++ran) {
          if (ran == 3) interrupt();
          torch::tanh(x);
        }
      },
      Interrupted);
  EXPECT_EQ(ran, 3);
  EXPECT_TRUE(clean());
  torch::tanh(x);
}

TEST(Scope, counts_what_happened_in_it) {
  const at::Tensor x = torch::rand({kSide, kSide});
  const Bytes budget = room_for(4, kBytes);
  Scope scope({.budget = budget, .policy = Online{}});
  {
    std::vector<at::Tensor> made;
    for (int i = 0; i < 6; ++i) made.push_back(x * i);
    const at::Tensor again = made[0] + made[1];
  }
  scope.end();
  const Stats stats = scope.stats();
  EXPECT_EQ(stats.operators, 7);
  EXPECT_EQ(stats.budget_bytes, budget.count());
  EXPECT_LE(stats.peak_bytes, budget.count());
  EXPECT_GT(stats.evictions, 1);
  EXPECT_EQ(stats.evicted_bytes, stats.evictions * memory::footprint(kBytes));
  EXPECT_GT(stats.replays, 0);
  EXPECT_GT(stats.replay_ns, 0);
  EXPECT_GT(stats.bookkeeping_ns, 0);
  EXPECT_GT(stats.pinned_bytes, 0) << "x, which was made outside";
  EXPECT_GT(stats.recorder_bytes, 0);
}

}  // namespace
}  // namespace neap::test
