// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Single costs: one checkpoint(), one scope, one eviction among many storages.
#include "workload.h"

#include <neap/neap.h>

#include <c10/core/DispatchKeySet.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <array>
#include <cstdio>
#include <numeric>
#include <stdexcept>

namespace neap::bench {
namespace {

// Measures forward and backward on four floats, plain and in checkpoint(), interleaved. In
// microseconds.
template <class Function>
void checkpoint_cost(const char* name, Function function) {
  constexpr int kRounds = 40, kCalls = 500;
  const at::Tensor x = torch::ones({4}, torch::requires_grad());
  std::vector<double> plain, more;
  for (int round = 0; round < kRounds; ++round) {
    double us[2];
    for (const bool checkpointed : {false, true}) {
      const double start = now_ms();
      for (int call = 0; call < kCalls; ++call) {
        at::Tensor y = checkpointed ? checkpoint(function, x) : function(x);
        y.backward(torch::ones_like(y));
      }
      us[checkpointed ? 1 : 0] = (now_ms() - start) * 1000 / kCalls;
    }
    plain.push_back(us[0]);
    more.push_back(us[1] - us[0]);
  }
  std::printf(
      "| `checkpoint()` around `%s` on four floats, forward and backward | %s us more than plain "
      "(%s us) |\n",
      name, median_and_spread(more, "%.1f").c_str(), median_and_spread(plain, "%.1f").c_str());
}

void scope_cost() {
  constexpr int kRounds = 40, kCalls = 2000;
  std::vector<double> us;
  for (int round = 0; round < kRounds; ++round) {
    const double start = now_ms();
    for (int call = 0; call < kCalls; ++call)
      Scope scope({.budget = Bytes(std::int64_t{1} << 40), .policy = Online{}});
    us.push_back((now_ms() - start) * 1000 / kCalls);
  }
  std::printf("| open and close a `Scope` | %s us |\n", median_and_spread(us, "%.2f").c_str());
}

// Measures steps of many operators on 240 floats, in turn: with an empty fallback, recorded and
// online, and by a plan. Nothing is replayed, so all time beyond the empty fallback's is
// bookkeeping.
void operator_cost() {
  constexpr int kRounds = 60, kLayers = 300;
  const c10::DispatchKeySet neap_key(c10::parseDispatchKey(interception_key()));
  const at::Tensor seed = torch::randn({240}, torch::requires_grad());
  const auto step = [&] {
    at::Tensor x = seed;
    for (int layer = 0; layer < kLayers; ++layer) x = (x * seed).sin();
    x.sum().backward();
    seed.mutable_grad().reset();
  };
  const Bytes budget{std::int64_t{1} << 30};
  enum Way : std::size_t { Plain, Empty, Online, Planned, kWays };
  std::array<std::vector<double>, kWays> us;
  std::int64_t operators = 0;
  for (int round = 0; round < kRounds; ++round) {
    for (const Way way : {Plain, Empty, Online, Planned}) {
      const double start = now_ms();
      if (way == Plain) {
        step();
      } else if (way == Empty) {
        const c10::impl::IncludeDispatchKeyGuard include{neap_key};
        step();
      } else {
        Options options{.budget = budget};
        if (way == Online) options.policy = neap::Online{};
        Scope scope(options);
        step();
        scope.end();
        if (way == Planned && scope.stats().plan_hits == 0) {
          finish_planning();
          continue;  // the first rounds are not counted
        }
        operators = scope.stats().operators;
      }
      us[way].push_back((now_ms() - start) * 1000);
    }
  }
  const auto above = [&](Way way, Way base) {
    std::vector<double> each;
    for (std::size_t i = 0; i < us[way].size(); ++i) {
      const std::size_t turn = us[base].size() - us[way].size() + i;
      each.push_back((us[way][i] - us[base][turn]) / static_cast<double>(operators));
    }
    return median_and_spread(each, "%.2f");
  };
  std::printf("| an operator on 240 floats behind an empty fallback | %s us more than plain |\n",
              above(Empty, Plain).c_str());
  std::printf("| the same recorded, online | %s us more than behind it |\n",
              above(Online, Empty).c_str());
  std::printf("| the same recorded, by a plan | %s us more than behind it |\n",
              above(Planned, Empty).c_str());
}

// Makes `live` storages of 1 KiB, each from the one before it. Then a tenth of them is evicted, one
// at a time.
void eviction_cost(int live) {
  std::vector<double> us;
  for (int round = 0; round < 5; ++round) {
    memory::trim();
    const at::Tensor seed = torch::randn({240});
    constexpr std::int64_t kEach = 1024;  // 960 bytes and a header
    constexpr int kSlack = 256;           // storages; the allocator takes whole pages
    Scope scope(
        {.budget = Bytes(memory::usage().reserved + (live + kSlack) * kEach), .policy = Online{}});
    std::vector<at::Tensor> storages;
    storages.reserve(static_cast<std::size_t>(live) + kSlack);
    at::Tensor last = seed;
    for (int i = 0; i < live + kSlack; ++i) storages.push_back(last = last.sin());
    const Stats before = scope.stats();
    std::vector<at::Tensor> more;
    const int wanted = live / 10;
    more.reserve(static_cast<std::size_t>(wanted));
    for (int i = 0; i < wanted; ++i) more.push_back(last = last.sin());
    const Stats after = scope.stats();
    const std::int64_t evictions = after.evictions - before.evictions;
    if (evictions > 0) {
      us.push_back(static_cast<double>(after.bookkeeping_ns - before.bookkeeping_ns) / 1000 /
                   static_cast<double>(evictions));
    }
    storages.clear();
    more.clear();
    last = at::Tensor();
  }
  if (us.empty()) throw std::logic_error("bench: nothing was evicted, so nothing was measured");
  std::printf("| one eviction among %d live storages, all bookkeeping counted | %s us |\n", live,
              median_and_spread(us, "%.2f").c_str());
}

}  // namespace

void measure_micro() {
  std::printf("\n## Single costs\n\n| what | cost |\n|---|---|\n");
  checkpoint_cost("x + 1", [](const at::Tensor& x) { return x + 1; });
  checkpoint_cost("x * x", [](const at::Tensor& x) { return x * x; });
  scope_cost();
  operator_cost();
  for (const int live : {1000, 10000, 100000}) eviction_cost(live);
  std::fflush(stdout);
}

}  // namespace neap::bench
