// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Measures whole training steps in small budgets: with recomputation alone, and where storages may
// also be copied to a directory.
#include "workload.h"

#include <neap/neap.h>

#include <cstdio>
#include <optional>
#include <string>
#include <vector>

namespace neap::bench {
namespace {

// Percent of what a plain step needs. The last ones are a tenth of the floor of recomputation on mlp
// and lstm, and less.
const std::vector<int> kShares{50, 30, 15, 10, 6, 5, 2};

// Of two kinds of steps in one budget, a plan of the other kind is tried first: so each kind has a
// budget of its own.
constexpr Bytes kBeside{4096};

struct Way {
  std::string name;
  std::optional<Options> options;  // none: plain
  std::vector<double> ratios = {};
  Stats stats = {};
  std::string failure = {};
};

// Milliseconds. The first of two steps fills caches and faults in pages, and is not counted.
double run(Workload& workload, Way& way) {
  double elapsed = 0;
  for (int step = 0; step < 2; ++step) {
    const double start = now_ms();
    if (way.options) {
      Scope scope(*way.options);
      workload.step(workload.loss);
      scope.end();
      elapsed = now_ms() - start;
      way.stats = scope.stats();
    } else {
      workload.step(workload.loss);
      elapsed = now_ms() - start;
    }
    finish_planning();
  }
  workload.optimizer->zero_grad();
  return elapsed;
}

void print(const Way& way, Bytes base, Bytes above) {
  if (!way.failure.empty()) {
    std::printf("| %s | %s | | | | | |\n", way.name.c_str(), way.failure.c_str());
    return;
  }
  const Stats& stats = way.stats;
  const double share = 100.0 * static_cast<double>(stats.peak_bytes - base.count()) /
                       static_cast<double>(above.count());
  std::printf("| %s | %s | %.1f %% | %lld | %lld | %.0f | %s |\n", way.name.c_str(),
              median_and_spread(way.ratios, "%.3f").c_str(), share,
              static_cast<long long>(stats.replays), static_cast<long long>(stats.loads),
              static_cast<double>(stats.offload_wait_ns) / 1e6,
              stats.plan_hits > 0 ? "by a plan" : "online");
}

void measure(const std::string& name, const std::string& directory, int repetitions) {
  Workload workload = make_workload(name);
  const auto [base, above] = plain_need(workload);

  std::vector<Way> ways{{"plain", std::nullopt}};
  for (const int share : kShares) {
    const Bytes budget = base + Bytes(above.count() * share / 100);
    const std::string percent = std::to_string(share) + " %";
    ways.push_back({percent, Options{.budget = budget}});
    ways.push_back({percent + ", offloading", Options{.budget = budget + kBeside,
                                                      .offload = Offload{.directory = directory}}});
  }
  // The first turns make plans.
  for (int repetition = -2; repetition < repetitions; ++repetition) {
    double plain = 0;
    for (Way& way : ways) {
      if (!way.failure.empty()) continue;
      try {
        const double elapsed = run(workload, way);
        if (!way.options) plain = elapsed;
        if (repetition >= 0) way.ratios.push_back(elapsed / plain);
      } catch (const BudgetExceeded&) {
        way.failure = "does not fit";
        workload.optimizer->zero_grad();
      }
    }
  }
  std::printf(
      "\n### %s\n\n%s. Plain: %.1f MiB above a base of %.1f MiB.\n\n"
      "| share | time against plain | peak, share | replays | loads | waited for copies, ms | step "
      "|\n|---|---|---|---|---|---|---|\n",
      name.c_str(), workload.definition.c_str(), static_cast<double>(above.count()) / 1048576.0,
      static_cast<double>(base.count()) / 1048576.0);
  for (std::size_t i = 1; i < ways.size(); ++i) print(ways[i], base, above);
  std::fflush(stdout);
}

}  // namespace

void measure_offload(const std::string& directory, const std::vector<std::string>& names,
                     int repetitions) {
  for (const std::string& name : names) measure(name, directory, repetitions);
}

}  // namespace neap::bench
