// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// place(): offsets in one block, close to the peak.
#include "bench/traces/generators.h"
#include "graph/random_traces.h"

#include <neap/planner.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <random>
#include <set>

namespace neap::planner {
namespace {

using graph::Step;
using Action = Step::Action;

// Times in half steps. A workspace and a second copy are freed when the step has run. After that
// come the storages that arrive late.
struct Life {
  std::int64_t begin, end;
};
std::vector<Life> lives_of(const graph::Trace& trace, const graph::Plan& plan,
                           const std::vector<Stay>& stays) {
  std::set<graph::StorageId> given;
  for (const graph::Event& event : trace.events) {
    if (const auto* const one = std::get_if<graph::Given>(&event)) given.insert(one->storage);
  }
  std::vector<Life> lives;
  const auto steps = static_cast<std::int64_t>(plan.steps.size());
  for (const Stay& stay : stays) {
    const bool late = given.contains(stay.storage) && stay.step >= 0;
    const bool whole = stay.storage != -1 && (stay.until > stay.step + 1 || stay.until == steps ||
                                              plan.steps[static_cast<std::size_t>(stay.until)] ==
                                                  Step{Action::Free, stay.storage});
    lives.push_back({2 * stay.step + (late ? 1 : 0), whole ? 2 * stay.until : 2 * stay.step + 1});
  }
  return lives;
}

// Checks everything that place() promises, except the size of the block, from the plan alone.
void expect_valid(const graph::Trace& trace, const graph::Plan& plan, const Placement& placement) {
  const std::vector<Stay>& stays = placement.stays;
  const std::vector<Life> lives = lives_of(trace, plan, stays);
  std::int64_t top = 0;
  for (std::size_t i = 0; i < stays.size(); ++i) {
    EXPECT_EQ(stays[i].offset % kPlacementAlignment, 0);
    EXPECT_GE(stays[i].offset, 0);
    EXPECT_LT(stays[i].step, stays[i].until);
    top = std::max(top, stays[i].offset + stays[i].bytes);
    for (std::size_t j = 0; j < i; ++j) {
      const bool same_time = lives[i].begin < lives[j].end && lives[j].begin < lives[i].end;
      const bool same_place = stays[i].offset < stays[j].offset + stays[j].bytes &&
                              stays[j].offset < stays[i].offset + stays[i].bytes;
      ASSERT_FALSE(same_time && same_place) << i << " and " << j;
    }
  }
  EXPECT_LE(top, placement.arena.count());
  EXPECT_LT(placement.arena.count(), top + kPlacementAlignment);

  // Each free ends a stay. A free ends each stay, except those at the end, of workspaces, and of
  // second copies.
  std::multiset<std::pair<graph::StorageId, std::int64_t>> ends;
  const auto steps = static_cast<std::int64_t>(plan.steps.size());
  for (const Stay& stay : stays) {
    if (stay.storage != -1 && stay.until < steps) ends.emplace(stay.storage, stay.until);
  }
  std::map<graph::StorageId, std::int64_t> bytes;
  for (const graph::Event& event : trace.events) {
    if (const auto* const given = std::get_if<graph::Given>(&event)) {
      bytes[given->storage] = given->bytes;
    } else if (const auto* const op = std::get_if<graph::Operator>(&event)) {
      for (const graph::Made& made : op->makes) bytes[made.storage] = made.bytes;
    }
  }
  for (const Stay& stay : stays) {
    if (stay.storage != -1) {
      EXPECT_EQ(stay.bytes, bytes.at(stay.storage));
    }
  }
  for (std::int64_t step = 0; step < steps; ++step) {
    const Step& one = plan.steps[static_cast<std::size_t>(step)];
    if (one.action == Action::Free) {
      EXPECT_TRUE(ends.contains({one.target, step})) << step;
    }
  }
}

// The largest sum of the storages that are there in one step.
std::int64_t load(const Placement& placement, std::int64_t steps) {
  std::int64_t most = 0;
  for (std::int64_t step = 0; step < steps; ++step) {
    std::int64_t sum = 0;
    for (const Stay& stay : placement.stays) {
      if (stay.step <= step && step < stay.until) sum += stay.bytes;
    }
    most = std::max(most, sum);
  }
  return most;
}

TEST(Place, puts_a_plan_into_a_block_at_most_3_percent_above_its_peak) {
  for (const std::string_view family : bench::families()) {
    const graph::Trace trace = bench::make_trace(family, 300, 1);
    for (const double share : {1.0, 0.5}) {
      SCOPED_TRACE(std::string(family) + " " + std::to_string(share));
      graph::Plan plan;
      try {
        plan = solve(trace, {.budget = budget_of_share(trace, share)}).plan;
      } catch (const Infeasible&) {
        continue;
      }
      const Placement placement = place(trace, plan);
      expect_valid(trace, plan, placement);
      EXPECT_EQ(load(placement, static_cast<std::int64_t>(plan.steps.size())), plan.predicted_peak)
          << "no trace here has data that comes late";
      EXPECT_GE(placement.arena.count(), plan.predicted_peak);
      EXPECT_LE(placement.arena.count(), plan.predicted_peak + plan.predicted_peak * 3 / 100);
    }
  }
}

// The hard ones among the recorded traces: much memory is in use all the time, and few storages are
// small.
TEST(Place, puts_recorded_steps_into_a_block_at_most_3_percent_above_their_peaks) {
  for (const auto& [file, share] : {std::pair{"lstm.jsonl.gz", 0.4},
                                    {"gpu/lstm_cells.jsonl.gz", 0.3},
                                    {"gpu/deeplabv3.jsonl.gz", 0.4}}) {
    SCOPED_TRACE(file);
    const graph::Trace trace =
        graph::read_trace(std::filesystem::path(NEAP_SOURCE_DIR "/bench/traces") / file);
    const graph::Plan plan = solve(trace, {.budget = budget_of_share(trace, share)}).plan;
    const Placement placement = place(trace, plan);
    expect_valid(trace, plan, placement);
    EXPECT_LE(placement.arena.count(), plan.predicted_peak + plan.predicted_peak * 3 / 100);
  }
}

// With so many storages, few tries finish, or none.
TEST(Place, puts_long_steps_into_a_block_as_they_come) {
  const graph::Trace trace = bench::make_trace("random", 17'500, 1);
  const graph::Plan plan = graph::plain_plan(trace);
  const Placement placement = place(trace, plan);
  EXPECT_GT(placement.stays.size(), 22'400U);
  expect_valid(trace, plan, placement);
  EXPECT_LE(placement.arena.count(), plan.predicted_peak + plan.predicted_peak * 3 / 100);

  // Two halves of a hole are freed one after the other, in both orders, and must become one hole
  // again.
  graph::Trace halves;
  for (graph::StorageId i = 0; i < 72'000; i += 3) {
    for (const graph::Made made : {graph::Made{i, 64}, {i + 1, 64}}) {
      halves.events.emplace_back(graph::Operator{.name = "half", .makes = {made}, .ns = 1});
    }
    halves.events.emplace_back(graph::Release{i + i % 2});
    halves.events.emplace_back(graph::Release{i + 1 - i % 2});
    halves.events.emplace_back(graph::Operator{.name = "whole", .makes = {{i + 2, 128}}, .ns = 1});
    halves.events.emplace_back(graph::Release{i + 2});
  }
  EXPECT_EQ(place(halves, graph::plain_plan(halves)).arena, Bytes(128));
}

TEST(Place, takes_plans_with_everything_that_the_format_has) {
  std::mt19937_64 random(5);
  for (int i = 0; i < 40; ++i) {
    const graph::Trace trace = graph::random_trace(random, {.operators = 12});
    SCOPED_TRACE(i);
    graph::Plan plan = graph::plain_plan(trace);
    try {
      plan = solve(trace, {.budget = budget_of_share(trace, 0.6)}).plan;
    } catch (const Infeasible&) {  // then the plain plan
    }
    const Placement placement = place(trace, plan);
    expect_valid(trace, plan, placement);
    EXPECT_GE(placement.arena.count(), graph::simulate(trace, plan).peak);
  }
}

// In the order of arrival, storage 1 lies between two holes when 3 arrives, and 3 fits into neither
// hole.
TEST(Place, finds_the_order_in_which_all_fit) {
  graph::Trace trace;
  const auto op = [](std::vector<graph::Made> makes) {
    return graph::Operator{.name = "a", .makes = std::move(makes), .ns = 1};
  };
  trace.events = {op({{0, 128}}),    op({{1, 64}}),  op({{2, 128}}), graph::Release{0},
                  graph::Release{2}, op({{3, 256}}), op({{4, 64}})};
  trace.keep = {1, 3, 4};
  const graph::Plan plan = graph::plain_plan(trace);
  const Placement placement = place(trace, plan);
  expect_valid(trace, plan, placement);
  EXPECT_EQ(placement.arena, Bytes(384));
  EXPECT_EQ(placement.arena, Bytes(plan.predicted_peak));
}

TEST(Place, leaves_room_for_workspaces_second_copies_and_data_that_comes_late) {
  graph::Trace trace;
  trace.events = {
      graph::Operator{.name = "both", .makes = {{0, 64}, {1, 64}}, .ns = 1, .workspace = 100},
      graph::Given{2, 192, graph::StorageKind::Input},
      graph::Operator{.name = "read", .reads = {0, 1, 2}, .ns = 1}};
  trace.keep = {2};
  graph::Plan plan{
      1 << 20, 0, 3, {{Action::Run, 0}, {Action::Free, 0}, {Action::Rerun, 0}, {Action::Run, 1}}};
  const Placement placement = place(trace, plan);
  expect_valid(trace, plan, placement);
  const auto count = [&](graph::StorageId storage, std::int64_t step, std::int64_t until) {
    return std::ranges::count_if(placement.stays, [&](const Stay& stay) {
      return stay.storage == storage && stay.step == step && stay.until == until;
    });
  };
  EXPECT_EQ(count(0, 0, 1), 1);
  EXPECT_EQ(count(0, 2, 4), 1);
  EXPECT_EQ(count(1, 0, 4), 1);
  EXPECT_EQ(count(1, 2, 3), 1) << "the copy that the rerun makes";
  EXPECT_EQ(count(-1, 0, 1), 1);
  EXPECT_EQ(count(-1, 2, 3), 1);
  EXPECT_EQ(count(2, 0, 4), 1) << "it comes when the first operator has run";
  EXPECT_EQ(placement.stays.size(), 7U);
  EXPECT_EQ(placement.arena, Bytes(64 + 2 * 64 + 192 + 128)) << "in the rerun";
}

TEST(Place, refuses_a_plan_that_its_trace_does_not_allow) {
  const graph::Trace trace = bench::make_trace("chain", 100, 1);
  graph::Plan plan = graph::plain_plan(trace);
  plan.steps.pop_back();
  plan.steps.insert(plan.steps.begin(), {Action::Free, 1 << 20});
  EXPECT_THROW(place(trace, plan), graph::BrokenPlan);
}

TEST(Place, gives_the_same_offsets_each_time) {
  const graph::Trace trace = bench::make_trace("unet", 200, 1);
  const graph::Plan plan = graph::plain_plan(trace);
  EXPECT_EQ(place(trace, plan).stays, place(trace, plan).stays);
}

}  // namespace
}  // namespace neap::planner
