// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Data loaders start their workers by fork(), in the middle of a step. The child inherited the
// scope and its budget, and waited for a planning thread that it did not have.
#include "regression/evicting.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <thread>

namespace neap::test {
namespace {

constexpr std::int64_t kSide = 64;
constexpr std::int64_t kBytes = kSide * kSide * 4;

// The allocator of GCC 12's address sanitizer does not expect a fork() while another thread
// allocates: the child can wait for ever for its lock.
#ifdef __SANITIZE_ADDRESS__
constexpr bool kThreadsMayAllocate = false;
#else
constexpr bool kThreadsMayAllocate = true;
#endif

// Runs `work` in a child. Returns what is wrong there; empty: nothing.
template <class Work>
std::string in_child(Work work) {
  std::array<int, 2> ends{};
  if (::pipe(ends.data()) != 0) return "no pipe";
  const pid_t child = ::fork();
  if (child == 0) {
    std::string wrong;
    try {
      at::set_num_threads(1);  // OpenMP's other threads are not there either
      wrong = work();
    } catch (const std::exception& error) {
      wrong = error.what();
    }
    static_cast<void>(!::write(ends[1], wrong.data(), wrong.size()));
    ::_exit(0);
  }
  ::close(ends[1]);
  std::string wrong;
  std::array<char, 512> part{};
  for (ssize_t got = 0; (got = ::read(ends[0], part.data(), part.size())) > 0;) {
    wrong.append(part.data(), static_cast<std::size_t>(got));
  }
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  return status == 0 ? wrong : "the child ended with " + std::to_string(status);
}

bool throws_on_access(const at::Tensor& tensor) {
  try {
    static_cast<void>(tensor.const_data_ptr());
    return false;
  } catch (const c10::Error&) {
    return true;
  }
}

TEST(Forks, in_the_thread_of_a_scope_leave_no_scope_and_no_budget_in_the_child) {
  const at::Tensor x = torch::rand({kSide, kSide});
  Scope scope({.budget = room_for(6, kBytes)});
  std::vector<at::Tensor> made;
  for (int i = 0; i < 12; ++i) made.push_back(x * i);
  const auto away = std::ranges::find_if(made, evicted);
  ASSERT_NE(away, made.end());
  EXPECT_EQ(in_child([&]() -> std::string {
              if (memory::budget()) return "there is a budget";
              const at::Tensor large = torch::ones({100 * kSide, kSide});
              if (evicted(*away)) return "it is still neap's";
              if (!throws_on_access(*away)) return "what is lost can be read";
              scope.end();
              {
                Scope own({.budget = room_for(6, kBytes)});
                std::vector<at::Tensor> more;
                for (int i = 0; i < 12; ++i) more.push_back(large.narrow(0, 0, kSide) * i);
                if (own.stats().evictions == 0) return "the child's own scope evicts nothing";
              }
              finish_planning();
              return {};
            }),
            "");
  engine::Engine::instance().validate();
  for (int i = 0; i < 12; ++i) {
    EXPECT_EQ(first_difference(bytes_of({x * i}), bytes_of({made[static_cast<std::size_t>(i)]})),
              std::nullopt);
  }
}

TEST(Forks, inside_a_region_leave_none_in_the_child) {
  const at::Tensor x = torch::rand({kSide, kSide});
  const at::Tensor y = checkpoint(
      [&](const at::Tensor& in) {
        const at::Tensor inner = in.sin();
        EXPECT_EQ(in_child([&]() -> std::string {
                    return evicted(made_in_region([&] { return in.cos() + 1; })) ? "" : "stayed";
                  }),
                  "");
        return inner.exp();
      },
      x);
  EXPECT_EQ(first_difference(bytes_of({x.sin().exp()}), bytes_of({y})), std::nullopt);
}

// The records may be half written, so the child says so instead of using them.
TEST(Forks, in_another_thread_than_the_scopes_leave_a_child_that_refuses_scopes) {
  const at::Tensor x = torch::rand({kSide, kSide});
  Scope scope({.budget = room_for(6, kBytes), .policy = Online{}});
  std::vector<at::Tensor> made;
  for (int i = 0; i < 12; ++i) made.push_back(x * i);
  std::string wrong;
  std::thread([&] {
    wrong = in_child([&]() -> std::string {
      const at::Tensor large = torch::ones({100 * kSide, kSide});
      try {
        const Scope own({.budget = Bytes(1 << 30)});
        return "a scope opened";
      } catch (const Error& error) {
        const std::string text = error.what();
        return text.find("was forked while another thread") != std::string::npos ? "" : text;
      }
    });
  }).join();
  EXPECT_EQ(wrong, "");
  EXPECT_EQ(first_difference(bytes_of({x * 5}), bytes_of({made[5]})), std::nullopt);
}

// With addresses that are exposed, other threads evict in the program's time too, and fork() may
// come then. Not in this process: the tests after it use addresses as they like.
TEST(Forks, beside_threads_that_evict_leave_children_that_end) {
  if (!kThreadsMayAllocate) GTEST_SKIP() << "the sanitizer's allocator does not expect it";
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        declare_addresses_exposed();
        const at::Tensor x = torch::rand({kSide, kSide});
        Scope scope({.budget = room_for(40, kBytes), .policy = Online{}});
        std::vector<at::Tensor> made;
        for (int i = 0; i < 36; ++i) made.push_back(x * i);
        std::atomic<bool> over{false};
        std::thread other([&] {
          while (!over) static_cast<void>(torch::empty({8 * kSide, kSide}));
        });
        int wrong = 0;
        for (int i = 0; i < 20; ++i) {
          if (!in_child([]() -> std::string {
                 return memory::budget() ? "a budget" : "";
               }).empty()) {
            ++wrong;
          }
          for (const at::Tensor& one : made) static_cast<void>(one + 1);
        }
        over = true;
        other.join();
        std::exit(wrong);
      },
      testing::ExitedWithCode(0), "");
}

// Other threads hold the allocator's lock when the process forks.
TEST(Forks, beside_threads_that_allocate_leave_an_allocator_that_works) {
  if (!kThreadsMayAllocate) GTEST_SKIP() << "the sanitizer's allocator does not expect it";
  std::atomic<bool> over{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      while (!over) static_cast<void>(torch::empty({kSide, kSide}));
    });
  }
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(in_child([]() -> std::string {
                const at::Tensor one = torch::ones({kSide, kSide});
                return one.sum().item<float>() == kSide * kSide ? "" : "wrong";
              }),
              "");
  }
  over = true;
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace neap::test
