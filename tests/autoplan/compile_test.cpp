// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A plan in the planner's terms, and what the engine is told at each operator: on steps small
// enough to write down, and by a cursor that goes through random ones.
#include "autoplan/compile.h"

#include "autoplan/plan_director.h"

#include "graph/random_plans.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <span>
#include <vector>

namespace neap::autoplan {
namespace {

using graph::Given;
using graph::Operator;
using graph::Release;
using graph::Trace;
using Numbers = std::vector<std::uint32_t>;

graph::Step run(std::int64_t op) { return {graph::Step::Action::Run, op}; }
graph::Step rerun(std::int64_t op) { return {graph::Step::Action::Rerun, op}; }
graph::Step offload(graph::StorageId storage) { return {graph::Step::Action::Offload, storage}; }
graph::Step load(graph::StorageId storage) { return {graph::Step::Action::Load, storage}; }
graph::Step let_go(graph::StorageId storage) { return {graph::Step::Action::Free, storage}; }

// The engine's numbers of storages 0 to 9.
const Numbers kTens{10, 11, 12, 13, 14, 15, 16, 17, 18, 19};

// Storage 0 is given, and operator i reads storage i and makes i + 1. The last operator reads
// storage 1 too, and the program lets go of it after that.
Trace chain_of_four() {
  Trace trace;
  trace.events = {Given{0, 8}};
  for (std::int64_t i = 0; i < 4; ++i) {
    Operator op{.name = "op", .reads = {i}, .makes = {{i + 1, 8}}, .ns = 1};
    if (i == 3) op.reads.push_back(1);
    trace.events.emplace_back(op);
  }
  trace.events.emplace_back(Release{1});
  return trace;
}

graph::Plan plan_of(std::vector<graph::Step> steps) {
  return {.budget = 100, .predicted_peak = 70, .predicted_ns = 9, .steps = std::move(steps)};
}
PlannedStep compiled(const Trace& trace, std::vector<graph::Step> steps,
                     const Numbers& numbers = kTens) {
  return compile(trace, plan_of(std::move(steps)), 0, numbers, {});
}

// What the compiled plan tells the engine around one operator.
struct Told {
  Numbers brings = {}, leaves = {}, loads = {}, copies = {}, evicts = {}, loads_after = {},
          ends = {};
  bool operator==(const Told&) const = default;
};
void PrintTo(const Told& told, std::ostream* out) {
  for (const Numbers* list : {&told.brings, &told.leaves, &told.loads, &told.copies, &told.evicts,
                              &told.loads_after, &told.ends}) {
    *out << '[';
    for (const std::uint32_t number : *list) *out << ' ' << number;
    *out << " ]";
  }
}
std::vector<Told> told(const PlannedStep& step) {
  std::vector<Told> all;
  const auto range = [&](std::uint32_t begin, std::uint32_t end) {
    return Numbers(step.blocks.begin() + begin, step.blocks.begin() + end);
  };
  for (std::size_t i = 0; i + 1 < step.operators.size(); ++i) {
    const PlannedStep::At& at = step.operators[i];
    all.push_back({range(at.brings, at.leaves), range(at.leaves, at.loads),
                   range(at.loads, at.copies), range(at.copies, at.evicts),
                   range(at.evicts, at.loads_after), range(at.loads_after, at.ends),
                   range(at.ends, step.operators[i + 1].brings)});
  }
  return all;
}

TEST(Compile, what_runs_again_comes_back_and_what_is_freed_goes_behind_the_operator_before) {
  const PlannedStep step =
      compiled(chain_of_four(), {run(0), run(1), let_go(1), run(2), rerun(0), run(3), let_go(1)});
  EXPECT_EQ(told(step),
            (std::vector<Told>{{}, {.evicts = {11}}, {}, {.brings = {11}, .ends = {11}}}))
      << "the program lets go of it behind the last one, and then it ends";
  EXPECT_EQ(step.numbers, 12U) << "one more than the highest that is spoken of";
}

TEST(Compile, copies_begin_behind_an_operator_before_it_frees_and_loads) {
  const PlannedStep step = compiled(
      chain_of_four(), {run(0), offload(1), run(1), let_go(1), run(2), load(1), run(3), let_go(1)});
  EXPECT_EQ(told(step),
            (std::vector<Told>{
                {.copies = {11}}, {.evicts = {11}}, {.loads_after = {11}}, {.ends = {11}}}));
}

TEST(Compile, what_is_loaded_after_an_operator_has_run_again_waits_for_that) {
  const PlannedStep step =
      compiled(chain_of_four(), {run(0), offload(1), run(1), let_go(1), run(2), let_go(2), rerun(0),
                                 let_go(1), load(1), rerun(1), run(3)});
  EXPECT_EQ(told(step)[3], (Told{.brings = {12}, .leaves = {11}, .loads = {11}}));
}

TEST(Compile, between_two_operators_the_last_word_counts) {
  // Storage 1 comes back so that 2 can be made from it, and is freed before operator 3 runs.
  const PlannedStep step = compiled(chain_of_four(), {run(0), run(1), let_go(1), run(2), let_go(2),
                                                      rerun(0), rerun(1), let_go(1), run(3)});
  EXPECT_EQ(told(step),
            (std::vector<Told>{
                {}, {.evicts = {11}}, {.evicts = {12}}, {.brings = {12}, .leaves = {11}}}));
}

TEST(Compile, what_is_freed_where_the_program_lets_go_of_it_ends_and_before_that_it_is_evicted) {
  Trace trace = chain_of_four();
  trace.events.insert(trace.events.begin() + 3, Release{0});  // after operator 1
  const PlannedStep step =
      compiled(trace, {run(0), run(1), let_go(0), let_go(1), run(2), rerun(0), run(3)});
  EXPECT_EQ(told(step)[1], (Told{.evicts = {11}, .ends = {10}}));
}

TEST(Compile, an_operator_that_runs_again_brings_what_it_writes_in_place_too) {
  Trace trace;
  trace.events = {Given{0, 8}, Operator{.name = "make", .reads = {0}, .makes = {{1, 8}, {2, 8}}},
                  Operator{.name = "write", .reads = {0}, .mutates = {1}},
                  Operator{.name = "other", .reads = {0}, .makes = {{3, 8}}},
                  Operator{.name = "read", .reads = {1}, .makes = {{4, 8}}}};
  const PlannedStep step =
      compiled(trace, {run(0), run(1), let_go(1), run(2), rerun(0), rerun(1), run(3)});
  EXPECT_EQ(told(step)[1], (Told{.evicts = {11}}));
  EXPECT_EQ(told(step)[3], (Told{.brings = {11, 12}}));
}

TEST(Compile, storages_without_a_number_are_not_spoken_of) {
  const PlannedStep step = compiled(
      chain_of_four(), {run(0), run(1), let_go(1), let_go(0), run(2), rerun(0), run(3), let_go(2)},
      {10, engine::kNoNumber});  // the engine does not know storages 2 and above
  EXPECT_EQ(told(step), (std::vector<Told>{{}, {.evicts = {10}}, {}, {}}));
  EXPECT_EQ(step.numbers, 11U);
}

TEST(Compile, what_is_freed_before_the_first_operator_is_none_of_the_engines) {
  Trace trace = chain_of_four();
  trace.events.insert(trace.events.begin(), Given{9, 8});
  const PlannedStep step = compiled(trace, {let_go(9), run(0), run(1), run(2), run(3)});
  EXPECT_EQ(told(step), std::vector<Told>(4));
  EXPECT_TRUE(step.blocks.empty());
  EXPECT_EQ(step.numbers, 0U);
}

TEST(Compile, the_room_is_added_to_the_peak_and_calls_and_time_are_kept) {
  const std::vector<std::uint64_t> calls{7, 8, 9};
  const PlannedStep step =
      compile(chain_of_four(), plan_of({run(0), run(1), run(2), run(3)}), 5, kTens, calls);
  EXPECT_EQ(step.predicted_peak, 75);
  EXPECT_EQ(step.predicted_ns, 9);
  EXPECT_EQ(step.calls, calls);
  EXPECT_EQ(step.operators.size(), 5U) << "one more, for what comes behind the last";
}

TEST(Compile, a_step_without_operators_says_nothing) {
  const PlannedStep step = compiled({}, {});
  EXPECT_EQ(step.operators, (std::vector<PlannedStep::At>{{}}));
  EXPECT_TRUE(step.blocks.empty());
}

// ---------------------------------------------------------------- With a cursor

// The engine's ids count from 0. Those of a trace may be any numbers.
Trace with_ids_in_a_row(Trace trace) {
  std::map<graph::StorageId, graph::StorageId> rows;
  const auto renumber = [&](graph::StorageId& id) {
    id = rows.try_emplace(id, static_cast<graph::StorageId>(rows.size())).first->second;
  };
  for (graph::Event& event : trace.events) {
    if (auto* const op = std::get_if<Operator>(&event)) {
      for (auto* const ids : {&op->reads, &op->mutates, &op->mutates_once}) {
        for (graph::StorageId& id : *ids) renumber(id);
      }
      for (graph::Made& made : op->makes) renumber(made.storage);
    } else if (auto* const given = std::get_if<Given>(&event)) {
      renumber(given->storage);
    } else {
      renumber(std::get<Release>(event).storage);
    }
  }
  for (graph::StorageId& id : trace.keep) renumber(id);
  return trace;
}

// Goes through a plan and its compiled form side by side, and compares them.
void expect_the_cursor_agrees(const Trace& trace, const graph::Plan& plan) {
  std::vector<const Operator*> operators;
  graph::StorageId storages = 0;
  std::map<graph::StorageId, bool> there;  // resident by the plan; of touched storages
  for (const graph::Event& event : trace.events) {
    if (const auto* const op = std::get_if<Operator>(&event)) {
      operators.push_back(op);
      for (const graph::Made& made : op->makes) storages = std::max(storages, made.storage + 1);
    } else if (const auto* const given = std::get_if<Given>(&event)) {
      storages = std::max(storages, given->storage + 1);
    }
  }
  Numbers numbers(static_cast<std::size_t>(storages));
  std::iota(numbers.begin(), numbers.end(), 0U);
  const auto step = std::make_shared<const PlannedStep>(
      compile(trace, plan, 0, numbers, std::vector<std::uint64_t>(operators.size(), 5)));
  PlanDirector director;
  director.start({step});
  engine::Block block{};
  std::size_t ran = 0;
  const auto mark = [&](const Operator& op) {
    for (const graph::Made& made : op.makes) there[made.storage] = true;
    for (const graph::StorageId id : op.mutates) there[id] = true;
  };
  for (const graph::Step& one : plan.steps) {
    if (one.action == graph::Step::Action::Rerun) {
      mark(*operators[static_cast<std::size_t>(one.target)]);
    } else if (one.action == graph::Step::Action::Free) {
      if (ran > 0) there[one.target] = false;
    } else {
      ASSERT_TRUE(director.foresees(5, nullptr));
      ASSERT_TRUE(director.before_operator().has_value());
      for (const auto& [storage, is_there] : there) {
        block.scope_number = static_cast<std::uint32_t>(storage);
        ASSERT_EQ(director.frees(block), !is_there && block.scope_number < step->numbers)
            << "storage " << storage << " at operator " << ran;
      }
      director.after_operator();
      mark(*operators[ran++]);
    }
  }
  EXPECT_EQ(director.completed(), step);
}

TEST(Compile, at_each_operator_of_random_steps_the_cursor_says_what_the_plan_says) {
  std::mt19937_64 random(1);
  std::int64_t reruns = 0, frees = 0;
  for (int round = 0; round < 1000; ++round) {
    const Trace trace =
        with_ids_in_a_row(graph::random_trace(random, {.operators = 5 + round % 20}));
    const graph::Plan plan = graph::random_plan(random, trace);
    for (const graph::Step& step : plan.steps) {
      reruns += step.action == graph::Step::Action::Rerun ? 1 : 0;
      frees += step.action == graph::Step::Action::Free ? 1 : 0;
    }
    ASSERT_NO_FATAL_FAILURE(expect_the_cursor_agrees(trace, plan)) << "round " << round;
  }
  EXPECT_GT(reruns, 1000);
  EXPECT_GT(frees, 1000);
}

}  // namespace
}  // namespace neap::autoplan
