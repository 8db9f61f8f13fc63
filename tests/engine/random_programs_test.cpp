// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Random straight-line programs over a few tensors: functional operators, views, writes in place
// through views, overwriting writes, random numbers, tensors that die, regions. Each runs plainly
// and under smaller and smaller budgets, and the tensors that it leaves must have the same bytes.
// This finds odd orders of versions, aliases and deaths that no hand-written case has.
#include "engine/engine.h"
#include "support/bytes.h"

#include <gtest/gtest.h>
#include <neap/neap.h>
#include <torch/torch.h>

#include <random>
#include <utility>

namespace neap {
namespace {

constexpr std::int64_t kSide =
    32;  // tensors are kSide x kSide floats: 4 KiB, above what is never evicted

class Program {
 public:
  explicit Program(unsigned seed) : random_(seed) {}

  // Runs the program and returns the tensors that it leaves. `check` runs after each step.
  template <class Check>
  std::vector<at::Tensor> run(int steps, Check check) {
    torch::manual_seed(7);
    std::vector<at::Tensor> live;
    for (int i = 0; i < 4; ++i) live.push_back(torch::randn({kSide, kSide}));
    for (int step = 0; step < steps; ++step) {
      advance(live, 0);
      check();
    }
    return live;
  }

 private:
  std::size_t below(std::size_t bound) { return random_() % bound; }
  at::Tensor& any(std::vector<at::Tensor>& live) { return live[below(live.size())]; }

  at::Tensor functional(std::vector<at::Tensor>& live) {
    const at::Tensor a = any(live);
    const at::Tensor b = any(live);
    switch (below(9)) {
      case 0:
        return a + b;
      case 1:
        return torch::tanh(a);
      case 2:
        return torch::relu(a) * 0.5;
      case 3:
        return torch::mm(a, b) / kSide;
      case 4:
        return torch::dropout(a, 0.3, true);
      case 5:
        return torch::softmax(a, 1);
      case 6:
        return torch::cat({a, b}, 0).narrow(0, kSide / 2, kSide).contiguous();
      case 7:
        return torch::where(a > 0, a, b);
      default:
        return std::get<0>(torch::sort(a, 1));
    }
  }

  void write(std::vector<at::Tensor>& live) {
    at::Tensor target = any(live);
    const at::Tensor other = any(live);
    switch (below(8)) {
      case 0:
        target.mul_(0.9);
        break;
      case 1:
        target.add_(other.tanh());
        break;
      case 2:
        target.narrow(0, 3, 5).fill_(0.25);
        break;
      case 3:
        target.copy_(other.clone());
        break;
      case 4:
        target.t().narrow(1, 0, 7).mul_(0.5);
        break;
      case 5:
        target.select(1, 2).copy_(other.select(1, 4).clone());
        break;
      case 6:
        torch::tanh_out(target, other.clone());
        break;
      default:
        target.uniform_(-1, 1);
        break;
    }
  }

  void region(std::vector<at::Tensor>& live, int depth) {
    at::Tensor result = checkpoint(
        [&](const at::Tensor& x) {
          std::vector<at::Tensor> inner = {x, any(live), torch::empty_like(x).normal_()};
          const std::size_t steps = 2 + below(4);
          for (std::size_t i = 0; i < steps; ++i) advance(inner, depth + 1);
          kept_.push_back(any(inner).view({-1}).view({kSide, kSide}));  // referenced from outside
          return any(inner);
        },
        any(live));
    live.push_back(result);
    live.push_back(kept_.back());
  }

  void advance(std::vector<at::Tensor>& live, int depth) {
    switch (below(10)) {
      case 0:
      case 1:
      case 2:
      case 3:
        live.push_back(functional(live));
        break;
      case 4:
      case 5:
        write(live);
        break;
      case 6:
        live.push_back(any(live).view({kSide, kSide}));  // an alias
        break;
      case 7:
        if (depth < 2) region(live, depth);
        break;
      default:
        if (live.size() > 6)
          live.erase(live.begin() + static_cast<std::ptrdiff_t>(below(live.size())));
        break;
    }
    while (live.size() > 24) live.erase(live.begin());
    if (kept_.size() > 4) kept_.erase(kept_.begin());
  }

  std::mt19937 random_;
  std::vector<at::Tensor> kept_;
};

// Training steps over a random graph. Operators save their operands, their results or nothing.
// There are writes in place where autograd allows them, noise, tensors made with grad mode off,
// results that die unused, and regions.
class RandomTraining {
 public:
  explicit RandomTraining(unsigned seed) : seed_(seed) {
    torch::manual_seed(7);
    for (int i = 0; i < 3; ++i) {
      weights_.push_back((torch::randn({kSide, kSide}) / kSide).requires_grad_());
    }
  }

  // A step builds the same graph each time.
  void step() {
    random_.seed(seed_);
    std::vector<at::Tensor> live(weights_.begin(), weights_.end());
    const std::size_t length = 15 + below(25);
    for (std::size_t i = 0; i < length; ++i) {
      live.push_back(next(live, 0));
      if (live.size() > 4 + below(8)) {
        live.erase(live.begin() + static_cast<std::ptrdiff_t>(below(live.size())));
      }
    }
    at::Tensor loss = weights_[0].mean();
    for (const at::Tensor& tensor : live) loss = loss + tensor.square().mean();
    live.clear();
    loss.backward();
    const torch::NoGradGuard no_grad;
    for (at::Tensor& weight : weights_) {
      if (!weight.grad().defined()) continue;
      weight.sub_(weight.grad() * 0.01);
      weight.mutable_grad().reset();
    }
  }
  [[nodiscard]] const std::vector<at::Tensor>& weights() const { return weights_; }

 private:
  std::size_t below(std::size_t bound) { return random_() % bound; }

  at::Tensor next(const std::vector<at::Tensor>& live, int depth) {
    const at::Tensor a = live[below(live.size())];
    const at::Tensor b = live[below(live.size())];
    switch (below(depth == 0 ? 13 : 12)) {
      case 0:
        return (a + b).relu_();
      case 1:
        return a.tanh();
      case 2:
        return a * b;
      case 3:
        return torch::mm(a, b) / kSide;
      case 4:
        return torch::dropout(a, 0.3, true);
      case 5:
        return torch::softmax(a, 1);
      case 6:
        return a + torch::randn({kSide, kSide}) * 0.1;
      case 7:
        return a * torch::rand_like(a).gt_(0.2);
      case 8:
        return torch::cat({a.narrow(0, 0, kSide / 2), b.narrow(0, 0, kSide / 2)}).sigmoid_();
      case 9: {
        const torch::NoGradGuard no_grad;
        return (a - b).mul_(0.5).add_(a);
      }
      case 10:
        return torch::layer_norm(a, {kSide});
      case 11:
        return a.t().contiguous().mul_(0.9).add_(b.detach());
      default: {
        const unsigned inner = static_cast<unsigned>(random_());
        return checkpoint(
            [this, inner](const at::Tensor& x, const at::Tensor& y) {
              const std::mt19937 outer = std::exchange(random_, std::mt19937(inner));
              std::vector<at::Tensor> here{x, y};
              for (int i = 0; i < 4; ++i) here.push_back(next(here, 1));
              random_ = outer;
              return here.back();
            },
            a, b);
      }
    }
  }

  unsigned seed_;
  std::mt19937 random_;
  std::vector<at::Tensor> weights_;
};

constexpr int kPrograms = 150;
constexpr int kSteps = 120;

TEST(RandomProgram, leaves_the_same_bytes_under_every_budget_that_fits) {
  install();
  torch::set_num_threads(1);
  std::int64_t replays = 0;
  int refused = 0;
  for (unsigned seed = 0; seed < kPrograms; ++seed) {
    const auto base = memory::usage().live;
    memory::reset_peak();
    const auto plain = test::bytes_of(Program(seed).run(kSteps, [] {}));
    const std::int64_t peak = memory::usage().peak - base;
    memory::trim();
    for (const int percent : {0, 100, 70, 45, 30}) {  // 0: no budget
      SCOPED_TRACE("seed " + std::to_string(seed) + ", budget " + std::to_string(percent) + " %");
      Options options{.policy = Online{}};
      if (percent > 0) options.budget = Bytes(memory::usage().live + 65536 + peak * percent / 100);
      try {
        std::vector<at::Tensor> live;
        {
          Scope scope(options);
          live = Program(seed).run(kSteps, [] { engine::Engine::instance().validate(); });
          scope.end();
          replays += scope.stats().replays;
          EXPECT_LE(scope.stats().peak_bytes, percent > 0 ? options.budget->count() : INT64_MAX);
        }
        EXPECT_EQ(test::first_difference(plain, test::bytes_of(live)), std::nullopt);
      } catch (const BudgetExceeded&) {
        ++refused;  // the live tensors alone do not fit
      }
      ASSERT_FALSE(::testing::Test::HasFailure());
    }
    ASSERT_EQ(engine::Engine::instance().recorder_bytes(), 0);
  }
  EXPECT_GT(replays, kPrograms * 20) << "the budgets were not tight, so little was tested";
  EXPECT_LT(refused, kPrograms * 3);
}

// Note [What is held]: what neap holds for later replays never makes a program larger than it is in
// plain LibTorch.
TEST(RandomProgram, fits_in_what_plain_LibTorch_reserves) {
  install();
  torch::set_num_threads(1);
  for (unsigned seed = 2000; seed < 2000 + kPrograms; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    memory::trim();
    memory::reset_peak();
    const auto plain = test::bytes_of(Program(seed).run(kSteps, [] {}));
    const Bytes peak(memory::usage().peak_reserved);
    memory::trim();
    std::vector<at::Tensor> live;
    {
      Scope scope({.budget = peak, .policy = Online{}});
      live = Program(seed).run(kSteps, [] {});
      scope.end();
      EXPECT_LE(scope.stats().peak_bytes, peak.count());
    }
    ASSERT_EQ(test::first_difference(plain, test::bytes_of(live)), std::nullopt);
  }
}

TEST(RandomTraining, fits_in_what_plain_LibTorch_reserves) {
  install();
  torch::set_num_threads(1);
  constexpr int kTrainingSteps = 3;
  for (unsigned seed = 0; seed < 2 * kPrograms; ++seed) {
    const auto train = [&](const auto& step) {
      RandomTraining training(seed);
      memory::trim();
      for (int i = 0; i < kTrainingSteps; ++i) step(training);
      return test::bytes_of(training.weights());
    };
    Bytes peak;
    const auto plain = train([&](RandomTraining& training) {
      memory::trim();
      memory::reset_peak();
      training.step();
      peak = std::max(peak, Bytes(memory::usage().peak_reserved));
    });
    for (const PlanMode& policy : {PlanMode(Online{}), PlanMode(Planned{})}) {
      SCOPED_TRACE("seed " + std::to_string(seed) + (policy.online() ? ", online" : ", planned"));
      const auto found = train([&](RandomTraining& training) {
        memory::trim();
        Scope scope({.budget = peak, .policy = policy});
        training.step();
        scope.end();
        EXPECT_LE(scope.stats().peak_bytes, peak.count());
        finish_planning();
      });
      ASSERT_EQ(test::first_difference(plain, found), std::nullopt);
    }
  }
}

TEST(RandomProgram, leaves_the_same_bytes_when_only_regions_evict) {
  install();
  torch::set_num_threads(1);
  for (unsigned seed = 1000; seed < 1000 + kPrograms; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const auto plain = test::bytes_of(Program(seed).run(kSteps, [] {}));
    const std::vector<at::Tensor> live =
        Program(seed).run(kSteps, [] { engine::Engine::instance().validate(); });
    ASSERT_EQ(test::first_difference(plain, test::bytes_of(live)), std::nullopt);
  }
}

}  // namespace
}  // namespace neap
