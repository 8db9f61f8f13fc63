// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The planner's benchmarks and property tests rely on synthetic steps. A trace that no program can
// have, or that holds a storage longer than LibTorch would, makes all their figures worthless. So
// the rules are checked by walking the events.
#include "bench/traces/generators.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <sstream>
#include <string>
#include <tuple>

namespace neap::bench {
namespace {

using graph::Given;
using graph::Made;
using graph::Operator;
using graph::Phase;
using graph::Release;
using graph::StorageId;
using graph::StorageKind;
using graph::Trace;

std::vector<Operator> operators_of(const Trace& trace) {
  std::vector<Operator> all;
  for (const graph::Event& event : trace.events) {
    if (const auto* const op = std::get_if<Operator>(&event)) all.push_back(*op);
  }
  return all;
}

std::int64_t first_backward(const std::vector<Operator>& all) {
  return std::find_if(all.begin(), all.end(),
                      [](const Operator& op) { return op.phase == Phase::Backward; }) -
         all.begin();
}

// The operator at which the plain run has its peak.
std::int64_t peak_operator(const graph::Plan& plain, const graph::Outcome& outcome) {
  return std::count_if(
             plain.steps.begin(), plain.steps.begin() + outcome.peak_step + 1,
             [](const graph::Step& step) { return step.action == graph::Step::Action::Run; }) -
         1;
}

// For a storage, counted in operators: the last one that names it, and the one after which it is
// released.
struct Life {
  std::int64_t last_use = -1;
  std::int64_t release = -1;
};

std::map<StorageId, Life> lives_of(const Trace& trace) {
  std::map<StorageId, Life> lives;
  std::int64_t at = -1;
  for (const graph::Event& event : trace.events) {
    if (const auto* const op = std::get_if<Operator>(&event)) {
      ++at;
      for (const auto* const list : {&op->reads, &op->mutates, &op->mutates_once}) {
        for (const StorageId id : *list) lives[id].last_use = at;
      }
      for (const Made& made : op->makes) lives[made.storage].last_use = at;
    } else if (const auto* const release = std::get_if<Release>(&event)) {
      lives[release->storage].release = at;
    }
  }
  return lives;
}

class Generators : public testing::TestWithParam<std::tuple<std::string_view, std::int64_t>> {
 protected:
  template <class Check>
  void for_some_seeds(Check check) {
    const auto& [family, operators] = GetParam();
    const std::uint64_t seeds = operators < 10'000 ? 4 : 1;
    for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
      SCOPED_TRACE("seed " + std::to_string(seed));
      check(make_trace(family, operators, seed), seed);
    }
  }
};

INSTANTIATE_TEST_SUITE_P(Families, Generators,
                         testing::Combine(testing::ValuesIn(families().begin(), families().end()),
                                          testing::Values(100, 1'000, 10'000)),
                         [](const auto& row) {
                           return std::string(std::get<0>(row.param)) + "_" +
                                  std::to_string(std::get<1>(row.param));
                         });

TEST_P(Generators, make_steps_that_the_simulator_accepts_as_they_are) {
  for_some_seeds([](const Trace& trace, std::uint64_t) {
    const graph::Plan plain = graph::plain_plan(trace);
    const graph::Outcome outcome = graph::verify(trace, plain);
    EXPECT_EQ(outcome.reruns, 0);
    EXPECT_EQ(outcome.peak, graph::run_plainly(trace).peak);
  });
}

TEST_P(Generators, make_the_same_step_of_the_same_arguments) {
  const std::string_view family = std::get<0>(GetParam());
  const std::int64_t operators = std::get<1>(GetParam());
  for_some_seeds([&](const Trace& trace, std::uint64_t seed) {
    EXPECT_EQ(make_trace(family, operators, seed), trace);
    EXPECT_NE(make_trace(family, operators, seed + 1).events, trace.events);
  });
}

TEST_P(Generators, make_as_many_operators_as_asked_in_three_phases_one_after_the_other) {
  const std::int64_t asked = std::get<1>(GetParam());
  for_some_seeds([&](const Trace& trace, std::uint64_t) {
    const std::vector<Operator> all = operators_of(trace);
    EXPECT_NEAR(static_cast<double>(all.size()), static_cast<double>(asked),
                0.1 * static_cast<double>(asked));
    std::map<Phase, int> of_phase;
    for (const Operator& op : all) ++of_phase[op.phase];
    EXPECT_EQ(of_phase.size(), 3U);
    EXPECT_GT(of_phase[Phase::Forward], asked / 4);
    EXPECT_GT(of_phase[Phase::Backward], asked / 4);
    EXPECT_GT(of_phase[Phase::Optimizer], 0);
    EXPECT_TRUE(std::is_sorted(all.begin(), all.end(), [](const Operator& a, const Operator& b) {
      return a.phase < b.phase;
    }));
  });
}

// Among 100 operators there can be one gradient that is larger than everything that the backward
// has released before it.
TEST_P(Generators, make_steps_with_their_peak_where_the_forward_turns_into_the_backward) {
  const std::int64_t asked = std::get<1>(GetParam());
  for_some_seeds([&](const Trace& trace, std::uint64_t) {
    const graph::Plan plain = graph::plain_plan(trace);
    const std::int64_t turn = first_backward(operators_of(trace));
    const std::int64_t at = peak_operator(plain, graph::simulate(trace, plain));
    EXPECT_GT(at, turn - asked / 10);
    EXPECT_LT(at, turn + (asked > 100 ? asked / 10 : asked / 2 + 10));
  });
}

// A node of autograd holds what it saved until its last operator has run. No node here has more
// than three operators.
TEST_P(Generators, release_a_storage_where_its_last_reader_ends) {
  for_some_seeds([](const Trace& trace, std::uint64_t) {
    const std::int64_t last = static_cast<std::int64_t>(operators_of(trace).size()) - 1;
    int at_the_end = 0;  // the loss, and the gradient of the last update
    for (const auto& [id, life] : lives_of(trace)) {
      if (life.release < 0) continue;
      if (life.release == last) {
        ++at_the_end;
      } else {
        ASSERT_GE(life.release, life.last_use) << "storage " << id;
        ASSERT_LE(life.release, life.last_use + 2) << "storage " << id;
      }
    }
    EXPECT_GE(at_the_end, 1);
    EXPECT_LE(at_the_end, 2);
  });
}

TEST_P(Generators, hold_at_the_end_what_the_next_step_reads_and_perhaps_the_gradients) {
  for_some_seeds([](const Trace& trace, std::uint64_t) {
    std::map<StorageId, Life> lives = lives_of(trace);
    std::vector<StorageId> kept;
    std::int64_t updates = 0;
    std::int64_t held = 0;
    for (const graph::Event& event : trace.events) {
      if (const auto* const given = std::get_if<Given>(&event)) {
        const StorageKind kind = given->kind;
        if (kind == StorageKind::Input || kind == StorageKind::Constant) continue;
        kept.push_back(given->storage);
        EXPECT_EQ(lives[given->storage].release, -1);
      } else if (const auto* const op = std::get_if<Operator>(&event)) {
        updates += op->phase == Phase::Optimizer ? 1 : 0;
        for (const Made& made : op->makes) held += lives[made.storage].release < 0 ? 1 : 0;
      }
    }
    EXPECT_EQ(trace.keep, kept);
    EXPECT_TRUE(held == 0 || held == updates) << held << " made storages are held to the end";
  });
}

TEST_P(Generators, make_steps_that_are_equal_when_written_and_read_again) {
  for_some_seeds([](const Trace& trace, std::uint64_t) {
    std::stringstream file;
    graph::write_trace(trace, file);
    EXPECT_EQ(graph::read_trace(file, "trace"), trace);
  });
}

// Each family is there for some property. A change of a generator must not lose it unnoticed.
TEST(Families, have_what_their_readers_must_cope_with) {
  std::map<std::string_view, std::map<std::string, int>> counts;
  for (const std::string_view family : families()) {
    bool begun = false;
    for (const graph::Event& event : make_trace(family, 1'000, 1).events) {
      auto& of = counts[family];
      if (const auto* const op = std::get_if<Operator>(&event)) {
        begun = true;
        if (op->phase == Phase::Optimizer) continue;
        of["in place"] += op->mutates.empty() ? 0 : 1;
        of["statistics"] += op->mutates_once.empty() ? 0 : 1;
        of["random"] += op->random ? 1 : 0;
        of["never again"] += op->replayable ? 0 : 1;
        of["workspace"] += op->workspace > 0 ? 1 : 0;
        of["reads many"] += op->reads.size() > 5 ? 1 : 0;
        of["makes many"] += op->makes.size() > 1 ? 1 : 0;
      } else if (begun && std::holds_alternative<Given>(event)) {
        ++of["late"];
      }
    }
  }
  EXPECT_GT(counts["chain"]["workspace"], 10);
  EXPECT_EQ(counts["chain"]["in place"], 0);
  for (const char* const what : {"in place", "statistics", "random", "workspace", "makes many"}) {
    EXPECT_GT(counts["residual"][what], 10) << what;
    EXPECT_GT(counts["random"][what], 10) << what;
  }
  EXPECT_GT(counts["random"]["never again"], 5);
  EXPECT_GT(counts["random"]["late"], 5);
  EXPECT_GT(counts["dense"]["reads many"], 10);
  EXPECT_GT(counts["recurrent"]["in place"], 50);  // sums of the gradients of shared weights
  EXPECT_GT(counts["transformer"]["random"], 10);
  EXPECT_GT(counts["unrolled"]["in place"], 10);  // biases, between two runs
}

// This fails on some machine when a generator uses a distribution of the standard library or
// computes in floating point.
TEST(Families, have_the_same_bytes_and_times_on_every_machine) {
  const std::map<std::string_view, std::pair<std::int64_t, std::int64_t>> known = {
      {"chain", {343704064, 949047396}},   {"residual", {456152448, 1017854511}},
      {"unet", {198084800, 266054894}},    {"dense", {664630720, 739836196}},
      {"recurrent", {17147968, 24446031}}, {"transformer", {399505216, 628181387}},
      {"random", {115639936, 215807294}},  {"unrolled", {73140992, 55218618}},
  };
  for (const std::string_view family : families()) {
    SCOPED_TRACE(family);
    const Trace trace = make_trace(family, 1'000, 1);
    const graph::Outcome outcome = graph::simulate(trace, graph::plain_plan(trace));
    EXPECT_EQ(std::pair(outcome.peak, outcome.ns), known.at(family));
  }
}

TEST(Families, refuse_what_they_cannot_make) {
  const auto refusal = [](std::string_view family, std::int64_t operators) -> std::string {
    try {
      make_trace(family, operators, 1);
    } catch (const InvalidArgument& error) {
      return error.what();
    }
    return "not refused";
  };
  EXPECT_EQ(refusal("resnet", 100),
            "trace: no family \"resnet\"; choose one of chain, residual, unet, dense, recurrent, "
            "transformer, random, unrolled");
  EXPECT_EQ(refusal("unet", 99),
            "trace: a step of unet has no fewer than 100 operators, and 99 were asked for");
}

}  // namespace
}  // namespace neap::bench
