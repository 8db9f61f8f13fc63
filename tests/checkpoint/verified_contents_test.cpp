// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Options::verify: operators that do not do the same each time, or that write in secret, are caught
// at the first byte, and nothing else is.
#include "regression/evicting.h"
#include "support/families.h"
#include "support/training_runs.h"

#include <neap/neap.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/library.h>
#include <torch/torch.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

namespace neap::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr std::int64_t kSide = 64;
constexpr std::int64_t kBytes = kSide * kSide * 4;
constexpr int kSeeds = 100;  // of each kind of operator

// What the operators below do wrong.
struct Wrong {
  std::int64_t byte = 0;
  int bit = 0;
  int calls = 0;
};
Wrong wrong;

void flip(const at::Tensor& tensor) {
  auto* const bytes = static_cast<std::uint8_t*>(tensor.data_ptr());
  bytes[wrong.byte] = static_cast<std::uint8_t>(bytes[wrong.byte] ^ (1 << wrong.bit));
}

// Another result in each second call: one bit of it.
at::Tensor drift(const at::Tensor& x) {
  at::Tensor y = x.clone();
  if (wrong.calls++ % 2 == 1) flip(y);
  return y;
}

// Writes into its argument after it has read it.
at::Tensor scribble(const at::Tensor& x) {
  at::Tensor y = x.clone();
  flip(x);
  return y;
}

class VerifiedContents : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    install();
    static torch::Library library(torch::Library::DEF, "verified_contents", std::nullopt, __FILE__,
                                  __LINE__);
    library.def("drift(Tensor x) -> Tensor");
    library.def("scribble(Tensor x) -> Tensor");
    library.impl("drift", c10::DispatchKey::CPU, TORCH_FN(drift));
    library.impl("scribble", c10::DispatchKey::CPU, TORCH_FN(scribble));
    declare_replayable("verified_contents::drift");
    declare_replayable("verified_contents::scribble");
  }

  // Another byte and bit for each seed.
  static void seed(int number) {
    wrong = {.byte = number * 7919 * 131 % kBytes, .bit = number % 8};
  }
  static at::Tensor call(const std::string& name, const at::Tensor& x) {
    return c10::Dispatcher::singleton()
        .findSchemaOrThrow(("verified_contents::" + name).c_str(), "")
        .typed<at::Tensor(const at::Tensor&)>()
        .call(x);
  }
  // What is said when `made` is used; empty: nothing was wrong.
  static std::string error_of_use(const at::Tensor& made) {
    try {
      (void)made.neg();
    } catch (const ReplayError& error) {
      return error.what();
    }
    return {};
  }
};

TEST_F(VerifiedContents, catches_each_operator_that_does_something_else_the_second_time) {
  const at::Tensor x = torch::rand({kSide, kSide});
  int caught = 0;
  for (int number = 0; number < kSeeds; ++number) {
    seed(number);
    Scope scope({.verify = true});
    const at::Tensor made = made_in_region([&] { return call("drift", x); });
    ASSERT_TRUE(evicted(made));
    const std::string error = error_of_use(made);
    EXPECT_THAT(error, AllOf(HasSubstr("verified_contents::drift: replayed, made other bytes"),
                             HasSubstr("neap::pin(tensor)")))
        << "seed " << number;
    if (!error.empty()) ++caught;
    EXPECT_TRUE(evicted(made));
    wrong.calls = 0;  // as the first time
    EXPECT_EQ(error_of_use(made), "") << "seed " << number;
    EXPECT_EQ(first_difference(bytes_of({x}), bytes_of({made})), std::nullopt);
    engine::Engine::instance().validate();
  }
  EXPECT_EQ(caught, kSeeds);
}

TEST_F(VerifiedContents, catches_each_operator_that_writes_into_what_it_reads) {
  int caught = 0;
  for (int number = 0; number < kSeeds; ++number) {
    seed(number);
    const at::Tensor base = torch::rand({kSide, kSide});
    Scope scope({.verify = true});
    // What it writes into is made again without the write, or is not made again at all.
    const bool inside = number % 2 == 0;
    const at::Tensor made = made_in_region([&] {
      const at::Tensor x = inside ? base.sin() : base;
      return call("scribble", x);
    });
    ASSERT_TRUE(evicted(made));
    const std::string error = error_of_use(made);
    EXPECT_THAT(error,
                HasSubstr(inside ? "aten::sin: replayed, made other bytes"
                                 : "verified_contents::scribble: replayed, made other bytes"))
        << "seed " << number;
    if (!error.empty()) ++caught;
    scope.abandon();
  }
  EXPECT_EQ(caught, kSeeds);
}

TEST_F(VerifiedContents, finds_nothing_without_the_option) {
  seed(1);
  const at::Tensor x = torch::rand({kSide, kSide});
  const Scope scope;
  const at::Tensor made = made_in_region([&] { return call("drift", x); });
  EXPECT_EQ(error_of_use(made), "");
  EXPECT_NE(first_difference(bytes_of({x}), bytes_of({made})), std::nullopt);
}

TEST_F(VerifiedContents, pinning_is_the_advice_that_works) {
  seed(2);
  const at::Tensor x = torch::rand({kSide, kSide});
  const Scope scope({.verify = true});
  const at::Tensor made = made_in_region([&] { return pin(call("drift", x)); });
  EXPECT_EQ(error_of_use(made), "");
}

TEST_F(VerifiedContents, an_older_version_is_compared_too) {
  seed(3);
  const at::Tensor x = torch::rand({kSide, kSide});
  const Bytes budget = room_for(8, kBytes);
  Scope scope({.budget = budget, .policy = Online{}, .verify = true});
  at::Tensor y = call("drift", x);
  const at::Tensor z = y.exp();
  EXPECT_THROW((void)torch::empty({budget.count()}, torch::kInt8), BudgetExceeded);
  ASSERT_TRUE(evicted(y) && evicted(z));
  wrong.calls = 0;
  y.add_(1);  // brings y back as it was, and makes a newer version
  ASSERT_TRUE(!evicted(y) && evicted(z));
  // Nor does it help that the newer one has gone since.
  EXPECT_THROW((void)torch::empty({budget.count()}, torch::kInt8), BudgetExceeded);
  ASSERT_TRUE(evicted(y));
  // The older version, of which z is made, comes out differently beside the newer one.
  EXPECT_THAT(error_of_use(z), HasSubstr("drift: replayed, made other bytes"));
  wrong.calls = 0;
  EXPECT_EQ(error_of_use(z), "");
  scope.abandon();
}

// A maker that the program has let go of is found too, and what it made wrongly does not stay.
TEST_F(VerifiedContents, what_was_made_wrongly_is_not_kept) {
  const at::Tensor x = torch::rand({kSide, kSide});
  const ByteLists expected = bytes_of({x.sin()});
  for (const bool budget : {false, true}) {
    seed(4);
    Options options{.policy = Online{}, .verify = true};
    if (budget) options.budget = room_for(8, kBytes);
    Scope scope(options);
    const at::Tensor made = made_in_region([&] { return call("drift", x).sin(); });
    if (budget) {
      EXPECT_THROW((void)torch::empty({options.budget->count()}, torch::kInt8), BudgetExceeded);
    }
    ASSERT_TRUE(evicted(made));
    wrong.calls = 1;
    EXPECT_THAT(error_of_use(made), HasSubstr("drift: replayed, made other bytes"));
    wrong.calls = 0;
    EXPECT_EQ(error_of_use(made), "");
    EXPECT_EQ(first_difference(expected, bytes_of({made})), std::nullopt);
    engine::Engine::instance().validate();
  }
}

TEST_F(VerifiedContents, what_no_kernel_writes_is_not_compared) {
  Scope scope({.verify = true});
  const at::Tensor scores = torch::rand({40, 3, 20}).log_softmax(2);
  const at::Tensor targets = torch::ones({3, 15}, torch::kLong);
  const at::Tensor lengths = torch::tensor({40, 30, 20}, torch::kLong);
  const at::Tensor sizes = torch::tensor({15, 7, 2}, torch::kLong);
  const at::Tensor loss = made_in_region([&] {
    return at::ctc_loss(scores, targets, lengths, sizes, 0, at::Reduction::None).repeat({100});
  });
  EXPECT_EQ(error_of_use(loss), "");
  const at::Tensor numbers = torch::arange(4096).floor_divide(7);
  const at::Tensor counts =
      made_in_region([&] { return std::get<2>(at::unique_consecutive(numbers, false, true)); });
  EXPECT_EQ(error_of_use(counts), "");
  const at::Tensor mean = made_in_region([&] { return at::mse_loss(scores, scores.exp()); });
  EXPECT_EQ(error_of_use(mean), "");
}

// In each training step of each family, online and by a plan. NEAP_VERIFIED_STEPS names how many.
TEST_F(VerifiedContents, finds_nothing_in_training_steps) {
  const char* const named = std::getenv("NEAP_VERIFIED_STEPS");
  const int wanted = named != nullptr ? std::atoi(named) : 120;
  const int each = 1 + wanted / static_cast<int>(2 * families().size());
  std::int64_t replays = 0;
  for (const Family& family : families()) {
    const TrainingRun plain = run_plain(family, 2, 1);
    const std::int64_t budget = budget_at(plain, 60);
    for (const bool online : {true, false}) {
      torch::manual_seed(1);
      const Job job = family.make();
      for (int step = 0; step < each; ++step) {
        const PlanMode mode = online ? PlanMode(Online{}) : PlanMode(Planned{});
        Scope scope({.budget = Bytes(budget), .policy = mode, .verify = true});
        (void)job.step();
        scope.end();
        replays += scope.stats().replays;
        finish_planning();
      }
    }
  }
  EXPECT_GT(replays, 10 * each);
}

}  // namespace
}  // namespace neap::test
