// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// simulate() and plain_plan() on random traces. The naive simulator must agree on valid plans and
// on damaged ones.
#include "graph/random_plans.h"
#include "graph/naive_simulator.h"
#include "graph/plan_verdicts.h"
#include "graph/random_traces.h"

#include <neap/graph.h>

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <variant>

namespace neap::graph {
namespace {

bool restores_a_chain(const Trace& trace, const Plan& plan) {
  const NaiveRules rules(trace);
  return std::ranges::any_of(plan.steps, [&rules](const Step& step) {
    return step.action == Step::Action::Rerun && !rules.at(step.target).mutates.empty();
  });
}

bool loads(const Plan& plan) {
  return std::ranges::count(plan.steps, Step::Action::Load, &Step::action) > 0;
}

bool agree(const Trace& trace, const Plan& plan) {
  const Verdict verdict = simulated(trace, plan);
  if (verdict != naive(trace, plan)) return false;
  if (verdict.broken_line) return true;
  const std::int64_t step = simulate(trace, plan).peak_step;
  if (step >= 0) {
    return naive_simulate(trace, plan).peaks.at(static_cast<std::size_t>(step)) == verdict.peak;
  }
  const NaiveRules rules(trace);
  return rules.bytes(rules.start()) == verdict.peak;
}

// Leaves out single steps as long as the two simulators disagree. Returns the plan that remains.
std::string smallest_disagreement(const Trace& trace, Plan plan) {
  for (std::size_t i = 0; i < plan.steps.size();) {
    Plan shorter = plan;
    shorter.steps.erase(shorter.steps.begin() + static_cast<std::ptrdiff_t>(i));
    if (agree(trace, shorter)) {
      ++i;
    } else {
      plan = shorter;
      i = 0;
    }
  }
  std::ostringstream text;
  text << "simulate: " << simulated(trace, plan) << "\nnaive: " << naive(trace, plan) << " "
       << naive_simulate(trace, plan).reason << '\n';
  write_trace(trace, text);
  write_plan(plan, text);
  return text.str();
}

struct Tally {
  std::int64_t cases = 0, valid = 0, with_reruns = 0, with_chains = 0;
  std::int64_t with_copies = 0, with_waits = 0, with_both = 0;
  std::map<std::string, std::int64_t> broken;  // by rule: how often it was broken first
};

void compare(const Trace& trace, const Plan& plan, Tally& tally) {
  if (!agree(trace, plan)) RC_FAIL(smallest_disagreement(trace, plan));
  const NaiveOutcome outcome = naive_simulate(trace, plan);
  ++tally.cases;
  if (outcome.broken_line) {
    ++tally.broken[outcome.reason];
    return;
  }
  ++tally.valid;
  tally.with_reruns += outcome.reruns > 0 ? 1 : 0;
  tally.with_chains += restores_a_chain(trace, plan) ? 1 : 0;
  tally.with_copies += loads(plan) ? 1 : 0;
  tally.with_waits += outcome.waited_ns > 0 ? 1 : 0;
  tally.with_both += loads(plan) && outcome.reruns > 0 ? 1 : 0;
}

std::mt19937_64 any_engine() {
  return std::mt19937_64(
      *rc::gen::noShrink(rc::gen::resize(100, rc::gen::arbitrary<std::uint64_t>())));
}

Trace any_trace(std::mt19937_64& engine) {
  Trace trace = random_trace(engine, {.operators = below(engine, 15),
                                      .head_givens = below(engine, 5),
                                      .mutates_made = below(engine, 80),
                                      .released = 30 + below(engine, 60),
                                      .kept = below(engine, 100)});
  // About as fast as the operators, so that some copies end in time and some are waited for.
  if (chance(engine, 60)) {
    trace.out_bytes_per_s = 1 + below(engine, 10'000'000'000);
    trace.in_bytes_per_s = 1 + below(engine, 10'000'000'000);
  }
  return trace;
}

TEST(Simulate, agrees_with_a_naive_writing_on_random_plans_and_on_damaged_ones) {
  Tally tally;
  EXPECT_TRUE(rc::check([&tally] {
    std::mt19937_64 engine = any_engine();
    for (int i = 0; i < 30; ++i) {
      const Trace trace = any_trace(engine);
      const Plan plan = random_plan(engine, trace, {.frees = 10 + below(engine, 80)});
      RC_ASSERT(naive_simulate(trace, plan).reason == "");
      RC_ASSERT(verify(trace, plan).peak == plan.predicted_peak);
      compare(trace, plan, tally);
      for (int copy = 0; copy < 4; ++copy) {
        Plan other = damaged(engine, trace, plan);
        if (chance(engine, 30)) other = damaged(engine, trace, other);
        compare(trace, other, tally);
      }
      if (loads(plan) && chance(engine, 10)) {
        Trace slower = trace;
        slower.out_bytes_per_s = 1 + below(engine, 1000);
        compare(slower, plan, tally);
        slower.out_bytes_per_s = slower.in_bytes_per_s = 0;
        compare(slower, plan, tally);
      }
    }
  }));
  // The cases cover enough: many are valid, many of these rerun an operator, and each rule is
  // broken first in some.
  EXPECT_GE(tally.cases, 10'000);
  EXPECT_GE(tally.valid, tally.cases * 2 / 5);
  EXPECT_GE(tally.with_reruns, tally.cases / 4);
  EXPECT_GE(tally.with_chains, tally.cases / 20);
  EXPECT_GE(tally.with_copies, tally.cases / 6);
  EXPECT_GE(tally.with_waits, tally.cases / 8);
  EXPECT_GE(tally.with_both, tally.cases / 10);
  for (const char* const rule : {"runs an unknown operator",
                                 "runs out of order",
                                 "reruns an unknown operator",
                                 "reruns before the first run",
                                 "reruns what is not replayable",
                                 "reruns what writes a given storage",
                                 "needs what is not resident",
                                 "needs another version",
                                 "brings nothing back",
                                 "frees what is not resident",
                                 "frees a given storage without a release",
                                 "frees a given storage before its release",
                                 "frees in the middle of a chain",
                                 "ends before the last run",
                                 "ends in the middle of a chain",
                                 "ends without a kept storage",
                                 "ends with a kept storage at an old version",
                                 "offloads without a tier",
                                 "offloads what is not resident",
                                 "offloads an old version",
                                 "offloads what has a copy",
                                 "loads what is resident",
                                 "loads what has no copy",
                                 "drops a copy before any load",
                                 "never loads a copy",
                                 "ends without a given storage"}) {
    EXPECT_GE(tally.broken[rule], 5) << rule;
  }
  EXPECT_EQ(tally.broken.size(), 26U) << "a rule that is not in the list";
}

// The plain plan by the page of the formats: it frees each storage at its release, except for what
// is kept.
Steps plain_steps(const Trace& trace) {
  Steps steps;
  std::int64_t operators = 0;
  for (const Event& event : trace.events) {
    if (std::holds_alternative<Operator>(event)) steps.push_back(run(operators++));
    const auto* const release = std::get_if<Release>(&event);
    if (release == nullptr || std::ranges::count(trace.keep, release->storage) > 0) continue;
    steps.push_back(drop(release->storage));
  }
  return steps;
}

TEST(PlainPlan, of_any_trace_frees_at_each_release_and_keeps_its_claims) {
  EXPECT_TRUE(rc::check([] {
    std::mt19937_64 engine = any_engine();
    for (int i = 0; i < 10; ++i) {
      const Trace trace = any_trace(engine);
      const Plan plan = plain_plan(trace);
      RC_ASSERT(plan.steps == plain_steps(trace));
      RC_ASSERT(plan.budget == plan.predicted_peak);
      RC_ASSERT(naive(trace, plan) == fine(plan.predicted_peak, plan.predicted_ns, 0));
      RC_ASSERT(verify(trace, plan).peak == plan.predicted_peak);
    }
  }));
}

}  // namespace
}  // namespace neap::graph
