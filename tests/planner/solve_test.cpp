// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What solve() promises: plans that the simulator accepts, that are never worse than any of its
// starts, and that are the same each time.
#include "bench/traces/generators.h"
#include "graph/random_traces.h"
#include "planner/portfolio.h"

#include <neap/planner.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <random>

namespace neap::planner {
namespace {

TEST(Solve, finds_for_every_family_and_share_a_plan_that_is_never_worse_than_its_starts) {
  int solved = 0;
  for (const std::string_view family : bench::families()) {
    const graph::Trace trace = bench::make_trace(family, 200, 1);
    for (const double share : {1.0, 0.5, 0.3}) {
      const Bytes budget = budget_of_share(trace, share);
      Solution solution;
      try {
        solution = solve(trace, {.budget = budget});
      } catch (const Infeasible& error) {
        EXPECT_GT(error.smallest_known, budget) << family << " " << share;
        continue;
      }
      ++solved;
      ASSERT_NO_THROW(graph::verify(trace, solution.plan)) << family << " " << share;
      EXPECT_EQ(solution.plan.budget, budget.count());
      EXPECT_EQ(solution.plan.predicted_ns, solution.plain_ns + solution.rerun_ns);
      EXPECT_GE(solution.rerun_ns, solution.bound_ns) << family << " " << share;
      for (const Start& start : solution.starts) {
        EXPECT_LE(solution.rerun_ns, start.rerun_ns.value_or(solution.rerun_ns)) << start.name;
      }
      if (share == 1) {
        EXPECT_EQ(solution.rerun_ns, 0);
        EXPECT_EQ(solution.winner, "plain");
      } else {
        EXPECT_TRUE(std::ranges::any_of(solution.starts, [&](const Start& start) {
          return start.name == solution.winner;
        })) << solution.winner;
      }
    }
  }
  EXPECT_GT(solved, 15) << "of 21";
}

// A rule that looks at one moment may leave no room for the next. Even then, a plan for more memory
// is near one that fits.
TEST(Solve, begins_near_the_floor_with_plans_for_more_memory) {
  const graph::Trace trace = graph::read_trace(
      std::filesystem::path(NEAP_SOURCE_DIR "/bench/traces/gpu/resnet50.jsonl.gz"));
  const Solution solution = solve(trace, {.budget = budget_of_share(trace, 0.2)});
  std::int64_t from_above = std::numeric_limits<std::int64_t>::max(), others = from_above;
  for (const Start& start : solution.starts) {
    if (!start.rerun_ns) continue;
    std::int64_t& least = start.name.starts_with("from ") ? from_above : others;
    least = std::min(least, *start.rerun_ns);
  }
  ASSERT_LT(others, std::numeric_limits<std::int64_t>::max());
  EXPECT_LT(from_above, others / 2);
  EXPECT_LT(100 * solution.rerun_ns, 32 * solution.plain_ns) << "36 without them";
}

// The rules take only a moment and the searches stop at once, but there is a plan all the same.
TEST(Solve, is_over_soon_once_it_is_stopped) {
  const graph::Trace trace = bench::make_trace("residual", 300, 1);
  const auto of_search = [&](const std::stop_token& stop) {
    const Solution solution =
        solve(trace, {.budget = budget_of_share(trace, 0.4), .threads = 1, .stop = stop});
    EXPECT_NO_THROW(graph::verify(trace, solution.plan));
    return std::ranges::count_if(solution.starts, [](const Start& start) {
      return start.rerun_ns && (start.name == "peaks" || start.name.starts_with("from "));
    });
  };
  std::stop_source stop;
  EXPECT_EQ(of_search(stop.get_token()), 5);
  stop.request_stop();
  EXPECT_EQ(of_search(stop.get_token()), 0);
}

TEST(Solve, gives_the_same_plan_for_the_same_arguments) {
  const graph::Trace trace = bench::make_trace("transformer", 300, 1);
  const Options options{.budget = budget_of_share(trace, 0.4)};
  EXPECT_EQ(solve(trace, options).plan, solve(trace, options).plan);
}

TEST(Solve, is_never_worse_than_what_is_known_to_fit) {
  for (const std::string_view family : bench::families()) {
    const graph::Trace trace = bench::make_trace(family, 110, 1);
    const Solution smallest = solve_smallest(trace);
    // The budget is exactly what that plan takes, where the other methods may fail.
    Options options{.budget = Bytes(smallest.plan.predicted_peak)};
    options.known = {{}, reruns_of(smallest.plan)};
    const Solution solution = solve(trace, options);
    EXPECT_NO_THROW(graph::verify(trace, solution.plan)) << family;
    EXPECT_LE(solution.rerun_ns, smallest.rerun_ns) << family;
    options.budget = options.budget - Bytes(1);
    try {
      (void)solve(trace, options);
    } catch (const Infeasible& error) {
      EXPECT_LE(error.smallest_known, Bytes(smallest.plan.predicted_peak)) << family;
    }
  }
}

TEST(Solve, leaves_out_what_is_known_and_not_allowed_and_refuses_what_is_not_there) {
  const graph::Trace trace = bench::make_trace("chain", 100, 1);
  Options options{.budget = budget_of_share(trace, 0.5)};
  const Solution solution = solve(trace, options);
  const std::vector<Rerun> reruns = reruns_of(solution.plan);
  ASSERT_FALSE(reruns.empty());
  std::int64_t operators = 0;
  for (const graph::Event& event : trace.events) {
    operators += std::holds_alternative<graph::Operator>(event) ? 1 : 0;
  }
  options.known = {{{operators - 1, 0}, {0, 0}}};  // before they have run
  EXPECT_EQ(solve(trace, options).plan, solution.plan);
  for (const Rerun wrong :
       {Rerun{-1, 1}, Rerun{operators, 1}, Rerun{0, -1}, Rerun{0, operators + 1}}) {
    options.known = {{wrong}};
    try {
      (void)solve(trace, options);
      FAIL() << wrong.op << " " << wrong.before;
    } catch (const InvalidArgument& error) {
      EXPECT_NE(std::string(error.what()).find("the trace has " + std::to_string(operators)),
                std::string::npos)
          << error.what();
    }
  }
}

TEST(Solve, takes_traces_with_everything_that_the_format_has) {
  std::mt19937_64 random(5);
  int solved = 0;
  for (int round = 0; round < 60; ++round) {
    const graph::Trace trace = graph::random_trace(random, {.operators = 5 + round % 40});
    const Bytes budget = budget_of_share(trace, 0.4 + 0.01 * (round % 60));
    try {
      const Solution solution = solve(trace, {.budget = budget});
      ASSERT_NO_THROW(graph::verify(trace, solution.plan)) << "round " << round;
      EXPECT_GE(solution.rerun_ns, solution.bound_ns) << "round " << round;
      ++solved;
    } catch (const Infeasible& error) {
      EXPECT_GT(error.smallest_known, budget) << "round " << round;
      EXPECT_LE(error.floor, error.smallest_known) << "round " << round;
    }
  }
  EXPECT_GT(solved, 20);
}

TEST(Solve, says_what_would_work_when_a_budget_does_not) {
  const graph::Trace trace = bench::make_trace("residual", 300, 1);
  try {
    (void)solve(trace, {.budget = Bytes(1000)});
    FAIL() << "1000 bytes were enough";
  } catch (const Infeasible& error) {
    EXPECT_EQ(error.budget, Bytes(1000));
    EXPECT_GT(error.floor, Bytes(1000));
    EXPECT_GE(error.floor_operator, 0);
    const std::string text = error.what();
    EXPECT_NE(text.find("no plan found for a budget of 1000 B: operator " +
                        std::to_string(error.floor_operator) + " ("),
              std::string::npos)
        << text;
    EXPECT_NE(text.find("the smallest budget known to work is " + error.smallest_known.text()),
              std::string::npos)
        << text;
    const Solution solution = solve(trace, {.budget = error.smallest_known});
    EXPECT_NO_THROW(graph::verify(trace, solution.plan));
  }
}

TEST(Solve, finds_the_smallest_budget_that_it_can_plan_for) {
  const graph::Trace trace = bench::make_trace("chain", 300, 1);
  const Solution solution = solve_smallest(trace);
  EXPECT_NO_THROW(graph::verify(trace, solution.plan));
  EXPECT_LT(Bytes(solution.plan.budget), budget_of_share(trace, 0.5));
}

TEST(Solve, goes_on_until_its_time_is_over) {
  const graph::Trace trace = bench::make_trace("recurrent", 300, 1);
  const Bytes budget = budget_of_share(trace, 0.4);
  const Solution solution =
      solve(trace, {.budget = budget, .time_limit = std::chrono::milliseconds(1)});
  EXPECT_NO_THROW(graph::verify(trace, solution.plan)) << "a start is a plan already";
}

TEST(Solve, refuses_arguments_that_cannot_be_meant) {
  EXPECT_THROW((void)solve({}, {.budget = Bytes(-1)}), InvalidArgument);
  EXPECT_THROW((void)frontier({}, 1), InvalidArgument);
  EXPECT_THROW((void)budget_of_share({}, 1.1), InvalidArgument);
  EXPECT_THROW((void)budget_of_share({}, -0.1), InvalidArgument);
  EXPECT_EQ(solve({}, {}).plan.steps.size(), 0U) << "a step without operators has a plan";
}

TEST(Frontier, never_asks_more_time_for_more_memory) {
  for (const std::string_view family : {"unet", "dense"}) {
    const graph::Trace trace = bench::make_trace(family, 200, 1);
    const Frontier points = frontier(trace, 5);
    ASSERT_EQ(points.points.size(), 5U);
    EXPECT_EQ(points.points.front().budget, points.floor);
    EXPECT_EQ(points.points.back().budget, points.plain);
    EXPECT_EQ(points.points.back().rerun_ns, 0);
    std::optional<std::int64_t> before;
    for (const FrontierPoint& point : points.points) {
      if (before) {
        ASSERT_TRUE(point.rerun_ns.has_value());
        EXPECT_LE(*point.rerun_ns, *before);
      }
      if (point.rerun_ns) {
        EXPECT_GE(*point.rerun_ns, point.bound_ns.value());
      }
      before = point.rerun_ns;
    }
  }
}

TEST(Walk, stays_inside_the_budget_by_each_rule) {
  for (const std::string_view family : bench::families()) {
    const graph::Trace trace = bench::make_trace(family, 500, 2);
    const graph::Program program(trace);
    const Replays replays(program);
    for (const double share : {0.6, 0.4, 0.3}) {
      const std::int64_t budget = budget_of_share(trace, share).count();
      for (const Method& method : portfolio()) {
        const auto reruns = method.find({trace, replays, budget, 1, {}});
        if (!reruns) continue;
        Schedule schedule(replays);
        for (const GroupRerun one : *reruns) schedule.add(one);
        EXPECT_LE(schedule.peak(), budget) << family << " " << share << " " << method.name;
      }
    }
  }
}

// The engine's traces are like this: gradients have no recipe. They would pile up if they were held
// for readers that never run again.
TEST(Walk, lets_go_of_what_nothing_that_could_run_again_reads) {
  graph::Trace trace = bench::make_trace("residual", 500, 1);
  for (graph::Event& event : trace.events) {
    auto* const op = std::get_if<graph::Operator>(&event);
    if (op != nullptr && op->phase == graph::Phase::Backward) op->replayable = false;
  }
  const graph::Program program(trace);
  const Replays replays(program);
  const std::int64_t budget = budget_of_share(trace, 0.5).count();
  for (const Method& method : portfolio()) {
    if (program.operators() > method.most_operators) continue;
    EXPECT_TRUE(method.find({trace, replays, budget, 1, {}}).has_value()) << method.name;
  }
}

}  // namespace
}  // namespace neap::planner
