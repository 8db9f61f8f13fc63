// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Data loaders allocate while a step runs, and tensors die in threads that did not make them. The
// budget belongs to the process. So another thread's allocation may evict what the scope's thread
// made.
#include "regression/evicting.h"

#include <atomic>
#include <thread>

namespace neap::test {
namespace {

constexpr std::int64_t kSide = 128;
constexpr std::int64_t kBytes = kSide * kSide * 4;

TEST(Threads, an_allocation_of_another_thread_evicts_what_the_scope_made) {
  const at::Tensor x = torch::rand({kSide, kSide});
  const Bytes budget = room_for(10, kBytes);
  Scope scope({.budget = budget});
  std::vector<at::Tensor> made;
  for (int i = 0; i < 8; ++i) made.push_back(x * i);
  ASSERT_EQ(scope.stats().evictions, 0);
  std::atomic<bool> done{false};
  std::vector<at::Tensor> taken;
  std::thread other([&] {
    for (int i = 0; i < 4; ++i)
      taken.push_back(torch::full({kSide, kSide}, 1.5F * static_cast<float>(i)));
    done = true;
  });
  while (!done) torch::tanh(x.narrow(0, 0, 1));  // a request waits for the next operator
  other.join();
  EXPECT_GT(scope.stats().evictions, 0);
  engine::Engine::instance().validate();
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(first_difference(bytes_of({x * i}), bytes_of({made[static_cast<std::size_t>(i)]})),
              std::nullopt);
  }
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(
        first_difference(bytes_of({torch::full({kSide, kSide}, 1.5F * static_cast<float>(i))}),
                         bytes_of({taken[static_cast<std::size_t>(i)]})),
        std::nullopt);
  }
  made.clear();
  taken.clear();
  scope.end();
  EXPECT_LE(scope.stats().peak_bytes, budget.count());
}

// A loader's worker makes the batch that the scope's thread waits for. So no operator comes that
// would serve the worker's request.
TEST(Threads, an_allocation_of_another_thread_evicts_while_the_scopes_thread_waits_for_it) {
  const at::Tensor x = torch::rand({kSide, kSide});
  // A plan that an earlier test has made would evict sooner.
  Scope scope({.budget = room_for(10, kBytes), .policy = Online{}});
  std::vector<at::Tensor> made;
  for (int i = 0; i < 8; ++i) made.push_back(x * i);
  ASSERT_EQ(scope.stats().evictions, 0);
  std::vector<at::Tensor> taken;
  std::string refusal;
  std::thread other([&] {
    try {
      for (int i = 0; i < 6; ++i) taken.push_back(torch::full({kSide, kSide}, 2.5F));
    } catch (const BudgetExceeded& error) {
      refusal = error.what();
    }
  });
  {
    const memory::Waiting waiting;
    other.join();
  }
  EXPECT_EQ(refusal, "");
  EXPECT_EQ(taken.size(), 6U);
  EXPECT_GT(scope.stats().evictions, 0);
  engine::Engine::instance().validate();
  taken.clear();
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(first_difference(bytes_of({x * i}), bytes_of({made[static_cast<std::size_t>(i)]})),
              std::nullopt);
  }
}

// Without a scope, and in threads without one, other threads need not be let in.
TEST(Threads, waiting_outside_of_a_scope_changes_nothing) {
  const at::Tensor x = torch::rand({kSide, kSide});
  { const memory::Waiting waiting; }
  Scope scope({.budget = room_for(4, kBytes)});
  std::thread([] { const memory::Waiting waiting; }).join();
  std::vector<at::Tensor> made;
  for (int i = 0; i < 8; ++i) made.push_back(x * i);
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(first_difference(bytes_of({x * i}), bytes_of({made[static_cast<std::size_t>(i)]})),
              std::nullopt);
  }
  made.clear();
}

TEST(Threads, an_allocation_of_another_thread_that_cannot_fit_is_refused_there) {
  const at::Tensor x = torch::rand({kSide, kSide});
  Scope scope({.budget = room_for(4, kBytes)});
  std::atomic<bool> done{false};
  std::string refusal;
  std::thread other([&] {
    try {
      torch::empty({16, kSide, kSide});
    } catch (const BudgetExceeded& error) {
      refusal = error.what();
    }
    done = true;
  });
  while (!done) torch::tanh(x.narrow(0, 0, 1));
  other.join();
  EXPECT_NE(refusal.find("another thread than the scope's needs 1.0 MiB"), std::string::npos)
      << refusal;
  const at::Tensor still = x + 1;  // the scope's thread goes on
  EXPECT_EQ(first_difference(bytes_of({x + 1}), bytes_of({still})), std::nullopt);
}

TEST(Threads, a_second_scope_at_once_is_refused_and_works_afterwards) {
  const auto open = [] {
    try {
      const Scope scope;
      return std::string("open");
    } catch (const ScopeConflict& conflict) {
      return std::string(conflict.what());
    }
  };
  std::string during, after;
  {
    const Scope scope;
    std::thread([&] { during = open(); }).join();
  }
  std::thread([&] { after = open(); }).join();
  EXPECT_NE(during.find("another thread has a neap::Scope"), std::string::npos) << during;
  EXPECT_EQ(after, "open");
}

TEST(Threads, a_scope_does_not_end_in_another_one) {
  const at::Tensor x = torch::rand({kSide, kSide});
  Scope scope({.budget = room_for(4, kBytes)});
  std::vector<at::Tensor> made;
  for (int i = 0; i < 8; ++i) made.push_back(x * i);
  std::thread([&] {
    EXPECT_THROW(scope.end(), ScopeConflict);
    scope.abandon();
  }).join();
  EXPECT_TRUE(scope.is_open());
  EXPECT_EQ(first_difference(bytes_of({x * 3}), bytes_of({made[3]})), std::nullopt);
  scope.abandon();
  EXPECT_FALSE(scope.is_open());
  EXPECT_EQ(memory::budget(), std::nullopt);
}

TEST(Threads, tensors_that_die_in_another_thread_leave_nothing_behind) {
  const at::Tensor x = torch::rand({kSide, kSide});
  memory::trim();
  const std::int64_t live = memory::usage().live;
  for (int round = 0; round < 20; ++round) {
    Scope scope({.budget = room_for(6, kBytes)});
    std::vector<at::Tensor> made;
    for (int i = 0; i < 12; ++i) made.push_back(x * i);
    EXPECT_GT(scope.stats().evictions, 0);
    std::thread other([gone = std::move(made)]() mutable { gone.clear(); });
    for (int i = 0; i < 12; ++i) torch::tanh(x);
    other.join();
    torch::tanh(x);
    engine::Engine::instance().validate();
    scope.end();
  }
  EXPECT_EQ(memory::usage().live, live);
  EXPECT_EQ(engine::Engine::instance().recorder_bytes(), 0);
}

// Two loaders make and drop batches all the time, beside steps in a tight budget.
TEST(Threads, of_data_loaders_beside_budgeted_steps_leave_the_same_bytes) {
  const at::Tensor input = torch::rand({kSide, kSide});
  const auto train = [&] {
    torch::manual_seed(2);
    const at::Tensor weight = torch::randn({kSide, kSide}).mul_(0.1).requires_grad_();
    at::Tensor x = input;
    for (int i = 0; i < 16; ++i) x = torch::tanh(x.mm(weight));
    x.sum().backward();
    return bytes_of({weight.grad()});
  };
  const ByteLists expected = train();
  const Bytes budget = room_for(18, kBytes);
  std::atomic<bool> stop{false};
  std::vector<std::thread> loaders;
  for (int i = 0; i < 2; ++i) {
    loaders.emplace_back([&] {
      while (!stop) {
        try {
          torch::full({kSide / 2, kSide}, 1.0F) + 1;
        } catch (const BudgetExceeded&) {
          // The machine is so busy that the scope's thread did not run for two seconds.
        }
      }
    });
  }
  std::int64_t replays = 0;
  for (int step = 0; step < 10; ++step) {
    Scope scope({.budget = budget});
    EXPECT_EQ(first_difference(expected, train()), std::nullopt);
    scope.end();
    replays += scope.stats().replays;
    EXPECT_LE(scope.stats().peak_bytes, budget.count());
  }
  stop = true;
  for (std::thread& loader : loaders) loader.join();
  EXPECT_GT(replays, 0);
}

}  // namespace
}  // namespace neap::test
