// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Options::offload: storages come back by copies, too. The bits are those of plain LibTorch, in
// budgets below what recomputation alone needs, and neither the budget nor the limit is passed.
#include "regression/evicting.h"
#include "support/families.h"
#include "support/scratch_folder.h"
#include "support/training_runs.h"

#include <neap/neap.h>
#include <neap/train.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/library.h>
#include <torch/torch.h>

#include <sys/wait.h>
#include <unistd.h>

#include <iostream>
#include <optional>
#include <string>
#include <vector>

namespace neap::test {
namespace {

using ::testing::HasSubstr;

constexpr int kSteps = 3;
constexpr std::int64_t kSide = 128;
constexpr std::int64_t kBytes = kSide * kSide * 4;

at::Tensor begins(const at::Tensor& x) { return x.clone(); }

class Offloading : public ::testing::Test, protected ScratchFolder {
 protected:
  static void SetUpTestSuite() { install(); }
  [[nodiscard]] Offload here() const { return {.directory = folder_}; }
  [[nodiscard]] Options options(Bytes budget) const {
    return {.budget = budget, .policy = Online{}, .offload = here()};
  }
  // Evicts whatever can go, and fails.
  static void fill(Bytes budget) {
    EXPECT_THROW((void)torch::empty({2 * budget.count()}, torch::kInt8), BudgetExceeded);
  }
};

class OffloadingFamily : public Offloading, public ::testing::WithParamInterface<Family> {};

TEST_P(OffloadingFamily, leaves_the_same_bits_in_budgets_that_recomputation_does_not_fit) {
  const Family& family = GetParam();
  const TrainingRun plain = run_plain(family, kSteps, 1);
  std::int64_t offloads = 0;
  for (const int percent : {60, 30, 15, 10, 5}) {
    SCOPED_TRACE(std::to_string(percent) + " %");
    const std::int64_t budget = budget_at(plain, percent);
    TrainingRun run;
    try {
      run = run_in_scope(family, kSteps, 1, budget, Online{}, here());
    } catch (const BudgetExceeded&) {
      std::cout << "  " << family.name << " does not fit into " << percent << " %\n";
      break;
    }
    offloads += run.last.offloads;
    EXPECT_LE(run.peak, budget);
    for (std::size_t step = 0; step < plain.states.size(); ++step) {
      ASSERT_EQ(plain.states[step].first_difference(run.states[step]), "") << "in step " << step;
    }
  }
  EXPECT_GT(offloads, 0) << "nothing was copied, so nothing was tested";
}

TEST_P(OffloadingFamily, leaves_the_same_bits_by_plans_that_copy) {
  const Family& family = GetParam();
  const TrainingRun plain = run_plain(family, kSteps + 1, 1);
  for (const int percent : {50, 30, 15}) {
    SCOPED_TRACE(std::to_string(percent) + " %");
    const std::int64_t budget = budget_at(plain, percent);
    TrainingRun run;
    try {
      run = run_in_scope(family, kSteps + 1, 1, budget, Planned{}, here());
    } catch (const BudgetExceeded&) {
      break;
    }
    std::cout << "  " << family.name << " at " << percent << " %: plan "
              << (run.last.plan_hits > 0 ? "followed" : "left") << ", " << run.last.replays
              << " replays, " << run.last.loads << " loads, " << run.last.unplanned_bytes
              << " bytes unplanned\n";
    EXPECT_LE(run.peak, budget);
    for (std::size_t step = 0; step < plain.states.size(); ++step) {
      ASSERT_EQ(plain.states[step].first_difference(run.states[step]), "") << "in step " << step;
    }
  }
}

std::string name_of(const testing::TestParamInfo<Family>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(Families, OffloadingFamily, testing::ValuesIn(families()), name_of);

TEST_F(Offloading, what_nothing_can_make_again_comes_back) {
  const at::Tensor batch = torch::rand({kSide, kSide});
  const ByteLists expected = bytes_of({batch.mul(2)});
  const Bytes budget = room_for(8, kBytes);
  Scope scope(options(budget));
  at::Tensor state = torch::zeros({kSide, kSide});
  state.copy_(batch.mul(2));
  {
    const torch::NoGradGuard guard;
    state.mul_(1);  // written with grad mode off: nothing makes it again
  }
  fill(budget);
  ASSERT_TRUE(evicted(state));
  EXPECT_EQ(scope.stats().replays, 0);
  EXPECT_EQ(first_difference(expected, bytes_of({state})), std::nullopt);
  EXPECT_EQ(scope.stats().replays, 0);
  EXPECT_EQ(scope.stats().loads, 1);
  engine::Engine::instance().validate();
}

TEST_F(Offloading, what_the_program_holds_by_address_stays) {
  const at::Tensor batch = torch::rand({kSide, kSide});
  at::Tensor weight = torch::rand({kSide, kSide}, torch::requires_grad());
  const Bytes budget = room_for(12, kBytes);
  Scope scope(options(budget));
  const Pinned pinned(weight);
  at::Tensor filled = torch::empty({kSide, kSide});
  at::Tensor shown = torch::rand({kSide, kSide});
  expose(shown);
  const std::vector<at::Tensor> held{batch, weight, filled, shown};
  std::vector<const void*> places;
  for (const at::Tensor& one : held) {
    (void)one.detach().neg();
    places.push_back(one.const_data_ptr());
  }
  fill(budget);
  for (std::size_t i = 0; i < held.size(); ++i) {
    EXPECT_EQ(held[i].const_data_ptr(), places[i]) << i;
  }
}

// As a collective does that goes on in another thread.
TEST_F(Offloading, what_an_operator_of_an_extension_reads_or_makes_stays) {
  static torch::Library library(torch::Library::DEF, "offloading", std::nullopt, __FILE__,
                                __LINE__);
  library.def("begin(Tensor x) -> Tensor");
  library.impl("begin", c10::DispatchKey::CPU, TORCH_FN(begins));
  const auto begin = c10::Dispatcher::singleton()
                         .findSchemaOrThrow("offloading::begin", "")
                         .typed<at::Tensor(const at::Tensor&)>();
  at::Tensor weight = torch::rand({kSide, kSide}, torch::requires_grad());
  at::Tensor other = torch::rand({kSide, kSide}, torch::requires_grad());
  const Bytes budget = room_for(8, kBytes);
  Scope scope(options(budget));
  (void)weight.neg();
  (void)other.neg();
  fill(budget);
  ASSERT_TRUE(evicted(weight) && evicted(other));
  const torch::NoGradGuard guard;
  const at::Tensor made = begin.call(weight);
  fill(budget);
  EXPECT_FALSE(evicted(weight)) << "a copy from before must not let it go";
  EXPECT_FALSE(evicted(made));
  EXPECT_TRUE(evicted(other));
}

TEST_F(Offloading, what_a_sparse_tensor_may_hold_stays) {
  at::Tensor values = torch::rand({kSide * kSide}, torch::requires_grad());
  const at::Tensor places = torch::arange(kSide * kSide).unsqueeze(0);
  const Bytes budget = room_for(12, kBytes);
  Scope scope(options(budget));
  const torch::NoGradGuard guard;
  (void)values.neg();
  fill(budget);
  ASSERT_TRUE(evicted(values));
  const at::Tensor sparse = torch::sparse_coo_tensor(places, values.detach(), {kSide * kSide});
  fill(budget);
  EXPECT_FALSE(evicted(values));
  EXPECT_EQ(first_difference(bytes_of({values.mul(1)}), bytes_of({sparse.to_dense()})),
            std::nullopt);
}

TEST_F(Offloading, a_second_eviction_of_the_same_content_writes_nothing) {
  at::Tensor weight = torch::rand({kSide, kSide}, torch::requires_grad());
  const Bytes budget = room_for(4, kBytes);
  Scope scope(options(budget));
  const ByteLists expected = bytes_of({weight.neg()});
  for (int i = 0; i < 5; ++i) {
    fill(budget);
    ASSERT_TRUE(evicted(weight));
    EXPECT_EQ(first_difference(expected, bytes_of({weight.neg()})), std::nullopt);
  }
  EXPECT_EQ(scope.stats().offloads, 1);
  EXPECT_EQ(scope.stats().loads, 5);
}

// By an address that is taken and used at once, which is allowed between operators.
TEST_F(Offloading, a_content_that_was_written_by_hand_meanwhile_is_copied_anew) {
  at::Tensor weight = torch::rand({kSide, kSide}, torch::requires_grad());
  const Bytes budget = room_for(4, kBytes);
  Scope scope(options(budget));
  (void)weight.neg();
  fill(budget);
  ASSERT_TRUE(evicted(weight));
  (void)weight.neg();  // it is back
  static_cast<float*>(weight.mutable_data_ptr())[7] = 42;
  fill(budget);
  ASSERT_TRUE(evicted(weight));
  EXPECT_EQ(weight.neg().view(-1)[7].item<float>(), -42);
  EXPECT_EQ(scope.stats().offloads, 2);
}

TEST_F(Offloading, a_write_makes_the_copy_useless) {
  at::Tensor weight = torch::rand({kSide, kSide});
  const Bytes budget = room_for(4, kBytes);
  Scope scope(options(budget));
  weight.add_(1);
  const ByteLists expected = bytes_of({weight.add(1)});
  fill(budget);
  ASSERT_TRUE(evicted(weight));
  weight.add_(1);
  fill(budget);
  ASSERT_TRUE(evicted(weight));
  EXPECT_EQ(first_difference(expected, bytes_of({weight.mul(1)})), std::nullopt);
}

TEST_F(Offloading, the_limit_is_never_passed_and_what_does_not_fit_is_made_again) {
  const at::Tensor x = torch::rand({kSide, kSide});
  std::vector<at::Tensor> plain;
  for (int i = 0; i < 12; ++i) plain.push_back((i == 0 ? x : plain.back()).sin());
  const ByteLists expected = bytes_of(plain);
  plain.clear();
  const Bytes budget = room_for(5, kBytes);
  Options limited = options(budget);
  limited.offload->limit = Bytes(3 * kBytes);
  Scope scope(limited);
  std::vector<at::Tensor> made;
  for (int i = 0; i < 12; ++i) made.push_back((i == 0 ? x : made.back()).sin());
  for (int i = 0; i < 12; ++i) {
    EXPECT_EQ(first_difference({expected[i]}, bytes_of({made[i].mul(1)})), std::nullopt) << i;
  }
  const Stats stats = scope.stats();
  EXPECT_GT(stats.offloads, 0);
  EXPECT_GE(stats.offload_peak_bytes, kBytes);
  EXPECT_LE(stats.offload_peak_bytes, 3 * kBytes);
  EXPECT_LE(stats.peak_bytes, budget.count());
  made.clear();
}

TEST_F(Offloading, nothing_is_left_in_the_tier_when_the_program_lets_go) {
  const Bytes budget = room_for(4, kBytes);
  {
    Scope scope(options(budget));
    at::Tensor state = torch::rand({kSide, kSide}, torch::requires_grad());
    (void)state.neg();
    fill(budget);
    ASSERT_TRUE(evicted(state));
  }
  EXPECT_FALSE(engine::Engine::instance().owner_here());
  EXPECT_EQ(engine::Engine::instance().recorder_bytes(), 0);
}

// Parameters and Adam's state need more than the budget: what is not used is away.
TEST_F(Offloading, a_model_whose_state_passes_the_budget_trains) {
  constexpr int kLayers = 8, kWidth = 256, kRows = 16, kStepsOfAdam = 4;
  const auto train = [&](const std::optional<double>& share, std::int64_t* peak) {
    torch::manual_seed(3);
    torch::nn::Sequential model;
    for (int i = 0; i < kLayers; ++i) {
      model->push_back(torch::nn::Linear(kWidth, kWidth));
      model->push_back(torch::nn::ReLU());
    }
    torch::optim::Adam optimizer(model->parameters(), 1e-3);
    const at::Tensor x = torch::rand({kRows, kWidth});
    std::int64_t state = 0;
    for (const at::Tensor& one : model->parameters()) {
      state += 3 * memory::footprint(static_cast<std::int64_t>(one.nbytes()));
    }
    memory::trim();
    const std::int64_t others =
        memory::usage().live - state / 3;  // of this process, beside the model
    std::optional<Bytes> budget;
    if (share) {
      budget = Bytes(others + static_cast<std::int64_t>(static_cast<double>(state) * *share));
    }
    for (int step = 0; step < kStepsOfAdam; ++step) {
      Options options{.budget = budget, .policy = Online{}};
      if (share) options.offload = here();
      Scope scope(options);
      optimizer.zero_grad();
      model->forward(x).square().sum().backward();
      optimizer.step();
      scope.end();
      if (budget) {
        EXPECT_LE(scope.stats().peak_bytes, budget->count()) << "step " << step;
      }
      *peak = scope.stats().peak_bytes;
    }
    std::vector<at::Tensor> left = model->parameters();
    for (const at::Tensor& one : model->parameters()) {
      const auto& moments = static_cast<const torch::optim::AdamParamState&>(
          *optimizer.state().at(one.unsafeGetTensorImpl()));
      left.push_back(moments.exp_avg());
      left.push_back(moments.exp_avg_sq());
    }
    std::vector<at::Tensor> copies;
    for (const at::Tensor& one : left) copies.push_back(one.detach().clone());
    return bytes_of(copies);
  };
  std::int64_t plain_peak = 0, peak = 0;
  const ByteLists plain = train(std::nullopt, &plain_peak);
  const ByteLists ours = train(0.6, &peak);
  EXPECT_EQ(first_difference(plain, ours), std::nullopt);
  EXPECT_LT(peak, plain_peak / 2);
}

TEST_F(Offloading, raw_access_to_what_stays_away_throws_and_an_operator_brings_it_back) {
  at::Tensor weight = torch::rand({kSide, kSide}, torch::requires_grad());
  const Bytes budget = room_for(4, kBytes);
  ByteLists expected;
  {
    Scope scope(options(budget));
    expected = bytes_of({weight.neg()});
    fill(budget);
    ASSERT_TRUE(evicted(weight));
  }
  ASSERT_TRUE(evicted(weight));
  const torch::NoGradGuard guard;
  EXPECT_EQ(first_difference(expected, bytes_of({weight.neg()})), std::nullopt);
  EXPECT_FALSE(evicted(weight));
  EXPECT_FALSE(engine::Engine::instance().owner_here());
}

TEST_F(Offloading, a_child_of_fork_finds_what_is_away_lost_and_the_parent_goes_on) {
  at::Tensor weight = torch::rand({kSide, kSide}, torch::requires_grad());
  const Bytes budget = room_for(4, kBytes);
  Scope scope(options(budget));
  const ByteLists expected = bytes_of({weight.neg()});
  fill(budget);
  ASSERT_TRUE(evicted(weight));
  const pid_t child = ::fork();
  if (child == 0) {
    bool lost = false;
    try {
      (void)weight.const_data_ptr();
    } catch (const c10::Error&) {
      lost = true;
    }
    const bool works = torch::ones({4}).sum().item<float>() == 4;
    ::_exit(lost && works ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(first_difference(expected, bytes_of({weight.neg()})), std::nullopt);
}

TEST_F(Offloading, wrong_options_are_named) {
  const Bytes budget = room_for(4, kBytes);
  Options options{.budget = budget, .offload = Offload{}};
  EXPECT_THROW(Scope{options}, InvalidArgument);
  options.offload = Offload{.directory = folder_, .limit = Bytes(0)};
  EXPECT_THROW(Scope{options}, InvalidArgument);
  options.offload = Offload{.directory = folder_ / "missing"};
  try {
    const Scope scope(options);
    ADD_FAILURE() << "a missing directory was taken";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("missing"));
  }
  EXPECT_FALSE(engine::Engine::instance().owner_here());
}

}  // namespace
}  // namespace neap::test
