// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/regression/evicting.h: the two ways in which these tests evict, and what they check
// afterwards.
#pragma once

#include "engine/engine.h"
#include "memory/allocator.h"
#include "support/bytes.h"

#include <gtest/gtest.h>
#include <neap/neap.h>
#include <torch/torch.h>

#include <functional>
#include <string>
#include <vector>

namespace neap::test {

// Whether the storage is evicted: only then does raw access throw.
inline bool evicted(const at::Tensor& tensor) {
  try {
    static_cast<void>(tensor.const_data_ptr());
    return false;
  } catch (const c10::Error& error) {
    return std::string(error.what()).find("neap has evicted") != std::string::npos;
  }
}

// A budget with room for `count` storages of `bytes` above what is live.
inline Bytes room_for(std::int64_t count, std::int64_t bytes) {
  memory::trim();
  return Bytes(memory::usage().live + count * memory::footprint(bytes));
}

// The engine's counts since this was made.
class Counts {
 public:
  [[nodiscard]] std::int64_t replays() const { return now().replays - before_.replays; }
  [[nodiscard]] std::int64_t evictions() const { return now().evictions - before_.evictions; }

 private:
  static Stats now() { return engine::Engine::instance().stats(); }
  Stats before_ = now();
};

// Makes tensors in a region, so that they are evicted when it closes. `make` must not use them
// after it has returned.
template <class Make>
at::Tensor made_in_region(Make make) {
  at::Tensor made;
  checkpoint([&] { made = make(); });
  return made;
}

// Checks that what `make` returns comes back with the same bytes, even though `meanwhile` ran
// between eviction and replay. Returns the number of operators that ran again. `make` must take
// what it reads from outside, and must not change it.
inline std::int64_t expect_same_bytes_when_back(
    const std::function<at::Tensor()>& make, const std::function<void()>& meanwhile = [] {}) {
  torch::manual_seed(3);
  const ByteLists expected = bytes_of({make()});
  torch::manual_seed(3);
  const Counts counts;
  const at::Tensor made = made_in_region(make);
  EXPECT_TRUE(evicted(made)) << "nothing was evicted, so nothing was tested";
  EXPECT_EQ(counts.replays(), 0);
  meanwhile();
  EXPECT_EQ(first_difference(expected, bytes_of({made})), std::nullopt);
  EXPECT_FALSE(evicted(made));
  return counts.replays();
}

// A program returns tensors. In scopes whose budgets are shares of what it needs, it must return
// the same bytes as plainly, and at least one operator must run again. It makes everything that it
// changes itself.
using Program = std::function<std::vector<at::Tensor>()>;

inline void expect_same_bytes_under_budgets(const Program& program,
                                            const std::vector<int>& percents) {
  memory::trim();
  memory::reset_peak();
  torch::manual_seed(5);
  const std::int64_t base = memory::usage().live;
  const ByteLists expected = bytes_of(program());
  const std::int64_t plain = memory::usage().peak - base;
  for (const int percent : percents) {
    SCOPED_TRACE("a budget of " + std::to_string(percent) + " % of " + std::to_string(plain));
    memory::trim();
    const Bytes budget(memory::usage().live + plain * percent / 100);
    torch::manual_seed(5);
    std::vector<at::Tensor> left;
    Scope scope({.budget = budget, .policy = Online{}});
    left = program();
    engine::Engine::instance().validate();
    scope.end();
    EXPECT_GT(scope.stats().replays, 0) << "the budget was not tight, so nothing was tested";
    EXPECT_LE(scope.stats().peak_bytes, budget.count());
    EXPECT_EQ(first_difference(expected, bytes_of(left)), std::nullopt);
  }
  EXPECT_EQ(engine::Engine::instance().recorder_bytes(), 0);
}

}  // namespace neap::test
