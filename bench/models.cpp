// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Measures time and peak of whole training steps, with shares of what a plain step needs as
// budgets, beside plain LibTorch on glibc's malloc.
#include "workload.h"

#include <neap/neap.h>

#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <map>
#include <optional>

namespace neap::bench {
namespace {

// Budgets in percent of what a plain step needs: those of the peers in bench/README.md, and below.
const std::map<std::string, std::vector<int>> kShares{
    {"resnet", {100, 56, 50, 32, 30, 26, 20, 15, 12, 8}},
    {"gpt", {100, 60, 55, 50, 30, 25, 20, 15}},
    {"lstm", {100, 70, 50, 40, 30, 20}},
    {"mlp", {100, 60, 54, 53, 52}},
    {"unet", {100, 78, 58, 50, 40, 35, 30}},
};

constexpr std::uint8_t kPriority = 255;

// The share in which what comes back is also compared with what went: Options::verify.
constexpr int kVerified = 50;

struct Variant {
  std::string name;
  std::function<Stats(Workload&)> step;
  bool glibc = false;
  std::vector<double> ms = {};
  std::vector<double> ratios = {};
  Stats stats = {};
  std::string failure = {};
};

Stats step_in_scope(Workload& workload, const Options& options, bool checkpointed = false) {
  memory::reset_peak();
  Scope scope(options);
  workload.step(checkpointed ? workload.checkpointed_loss : workload.loss);
  scope.end();
  Stats stats = scope.stats();
  if (!options.budget)
    stats.peak_bytes = memory::usage().peak;  // the cache is not part of the need
  return stats;
}

void measure(const std::string& name, int repetitions) {
  Workload workload = make_workload(name);
  c10::Allocator* const own = c10::GetCPUAllocator();

  const auto [base, above] = plain_need(workload);

  std::vector<Variant> variants;
  variants.push_back({.name = "plain LibTorch, glibc's malloc",
                      .step =
                          [](Workload& w) {
                            w.step(w.loss);
                            return Stats{};
                          },
                      .glibc = true});
  variants.push_back({.name = "plain LibTorch, neap's allocator", .step = [](Workload& w) {
                        memory::reset_peak();
                        w.step(w.loss);
                        Stats stats;
                        stats.peak_bytes = memory::usage().peak;
                        return stats;
                      }});
  variants.push_back(
      {.name = "no budget", .step = [](Workload& w) { return step_in_scope(w, {}); }});
  for (const int share : kShares.at(name)) {
    const Bytes budget = base + Bytes(above.count() * share / 100);
    const auto add = [&](const char* how, const Options& options) {
      variants.push_back({.name = std::to_string(share) + " %, " + how,
                          .step = [options](Workload& w) { return step_in_scope(w, options); }});
    };
    add("online", {.budget = budget, .policy = Online{}});
    add("planned", {.budget = budget});
    if (share == kVerified) add("planned, verified", {.budget = budget, .verify = true});
  }
  variants.push_back({.name = "`checkpoint()` on each block",
                      .step = [](Workload& w) { return step_in_scope(w, {}, true); }});

  for (int repetition = -1; repetition < repetitions; ++repetition) {  // -1 warms up
    double plain = 0;
    for (Variant& variant : variants) {
      if (!variant.failure.empty()) continue;
      c10::SetCPUAllocator(variant.glibc ? c10::GetDefaultCPUAllocator() : own, kPriority);
      double elapsed = 0;
      try {
        // The first of the two steps fills caches and faults in pages, as in a training. It is not
        // counted.
        for (int step = 0; step < 2; ++step) {
          const double start = now_ms();
          variant.stats = variant.step(workload);
          elapsed = now_ms() - start;
          finish_planning();
        }
      } catch (const BudgetExceeded&) {
        variant.failure = "does not fit";
      }
      workload.optimizer->zero_grad();
      c10::SetCPUAllocator(own, kPriority);
      if (!variant.failure.empty()) continue;
      if (variant.name == variants[1].name) plain = elapsed;
      if (repetition < 0) continue;
      variant.ms.push_back(elapsed);
    }
    if (repetition < 0) continue;
    for (Variant& variant : variants) {
      if (variant.failure.empty()) variant.ratios.push_back(variant.ms.back() / plain);
    }
  }

  std::printf("\n### %s\n\n%s. Plain: %.1f MiB above a base of %.1f MiB, %.0f ms a step.\n\n",
              name.c_str(), workload.definition.c_str(),
              static_cast<double>(above.count()) / 1048576.0,
              static_cast<double>(base.count()) / 1048576.0, median(variants[1].ms));
  std::printf(
      "| share | time against plain | peak, share | replays | evictions | bookkeeping, us an "
      "operator | recorder, bytes an operator | predicted peak and time against measured | planned "
      "in |\n");
  std::printf("|---|---|---|---|---|---|---|---|---|\n");
  for (const Variant& variant : variants) {
    if (!variant.failure.empty()) {
      std::printf("| %s | %s | | | | | | | |\n", variant.name.c_str(), variant.failure.c_str());
      continue;
    }
    const Stats& stats = variant.stats;
    std::string share = "-";
    if (stats.peak_bytes > 0) {
      share = number("%.1f %%", 100.0 * static_cast<double>(stats.peak_bytes - base.count()) /
                                    static_cast<double>(above.count()));
    }
    const auto operators = static_cast<double>(std::max<std::int64_t>(1, stats.operators));
    std::string predicted = "-", planning = "-";
    if (stats.plan_hits > 0) {
      predicted = number("%.3f, ", static_cast<double>(stats.predicted_peak_bytes) /
                                       static_cast<double>(stats.peak_bytes)) +
                  number("%.2f", static_cast<double>(stats.predicted_ns) /
                                     static_cast<double>(stats.operator_ns + stats.replay_ns));
      planning = number("%.2f s", static_cast<double>(stats.planning_ns) / 1e9);
    }
    std::printf(
        "| %s | %s | %s | %lld | %lld | %s | %s | %s | %s |\n", variant.name.c_str(),
        median_and_spread(variant.ratios, "%.3f").c_str(), share.c_str(),
        static_cast<long long>(stats.replays), static_cast<long long>(stats.evictions),
        stats.operators > 0
            ? number("%.2f", static_cast<double>(stats.bookkeeping_ns) / 1000 / operators).c_str()
            : "-",
        stats.operators > 0
            ? number("%.0f", static_cast<double>(stats.recorder_bytes) / operators).c_str()
            : "-",
        predicted.c_str(), planning.c_str());
  }
  std::fflush(stdout);
}

}  // namespace

void print_trace(const std::string& model) {
  Workload workload = make_workload(model);
  const auto step = [&] {
    workload.step(workload.loss);
    // Without old gradients, the shares are those of the tables.
    workload.optimizer->zero_grad();
  };
  step();  // makes the optimizer's state
  graph::write_trace(trace_steps(step, {.label = model}), std::cout);
}

void measure_models(const std::vector<std::string>& names, int repetitions) {
  for (const std::string& name : names) measure(name, repetitions);
}

}  // namespace neap::bench
