// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Copies to a tier and back: what is refused, what waits for what, and what the tier holds. Each
// time is counted by hand.
#include "graph/plan_verdicts.h"

#include <neap/graph.h>

#include <gtest/gtest.h>

#include <cstdint>
#include <utility>
#include <variant>

namespace neap::graph {
namespace {

// Copies go out at 2 bytes a ns and come back at 4. Of row(), 10 takes 20 ns out and 10 in, 11
// takes 10 and 5, and the parameter 0 takes 50 and 25.
Trace with_tier(Trace trace, std::int64_t out = 2'000'000'000, std::int64_t in = 4'000'000'000) {
  trace.out_bytes_per_s = out;
  trace.in_bytes_per_s = in;
  return trace;
}

TEST(Simulate, a_free_waits_for_the_copy_out_and_an_operator_for_the_copy_in) {
  // a ends at 5, the copy out at 25; b reads 10 meanwhile and ends at 8; the free waits until 25;
  // the copy back ends at 35; c ends at 37.
  expect(with_tier(row()), {run(0), offload(10), run(1), drop(10), load(10), run(2)},
         fine(100 + 40 + 29, 37, 0, 27, 40));
  // At the end everything that is there has arrived.
  expect(with_tier(row()), {run(0), offload(10), run(1), run(2), drop(10), load(10)},
         fine(169, 35, 0, 25, 40));
  // b reads it too, and waits for both copies.
  expect(with_tier(row()), {run(0), offload(10), drop(10), load(10), run(1), run(2)},
         fine(169, 40, 0, 30, 40));
}

// An operator of 100 ns between the two uses of 10.
Trace long_row() {
  Trace trace = row();
  std::get<Operator>(trace.events[2]).ns = 100;
  return trace;
}

TEST(Simulate, copies_hide_behind_operators) {
  Trace trace = with_tier(long_row());
  std::get<Operator>(trace.events[2]).reads = {};
  // The free waits until 25. The copy in, which begins then, hides behind b.
  expect(trace, {run(0), offload(10), drop(10), load(10), run(1), run(2)},
         fine(169, 127, 0, 20, 40));
  // Freed after b, which hides the copy out; c waits for the copy in.
  expect(trace, {run(0), offload(10), run(1), drop(10), load(10), run(2)},
         fine(169, 117, 0, 10, 40));
  // With another operator before c, nothing waits.
  trace.events.insert(trace.events.begin() + 3, Operator{.name = "b2", .ns = 10});
  expect(trace, {run(0), offload(10), run(1), drop(10), load(10), run(2), run(3)},
         fine(169, 117, 0, 0, 40));
}

TEST(Simulate, each_queue_makes_one_copy_at_a_time_in_order) {
  // 11 (20 bytes) goes out behind 10: from 25 to 35. Back comes 11 first: from 35 to 40, then 10,
  // until 50.
  expect(with_tier(row()),
         {run(0), offload(10), run(1), offload(11), drop(10), drop(11), load(11), load(10), run(2)},
         fine(169, 52, 0, 42, 60));
  // The queues are apart: from 28 to 38, 10 comes back and 11 goes out.
  expect(with_tier(row()),
         {run(0), run(1), offload(10), drop(10), load(10), offload(11), drop(11), load(11), run(2)},
         fine(169, 45, 0, 35, 40));
}

TEST(Simulate, the_time_of_a_copy_is_rounded_up) {
  const Trace trace = with_tier(row(), 3'000'000'000, 7'000'000'000);
  // 40 / 3 = 13.3 and 40 / 7 = 5.7.
  expect(trace, {run(0), offload(10), drop(10), load(10), run(1), run(2)},
         fine(169, 5 + 14 + 6 + 5, 0, 20, 40));
  expect(with_tier(row(), 1, 1), {run(0), offload(10), drop(10), load(10), run(1), run(2)},
         fine(169, 10 + 80'000'000'000, 0, 80'000'000'000, 40));
}

TEST(Simulate, a_given_storage_goes_while_it_has_a_copy_and_is_back_at_the_end) {
  const Trace trace = with_tier(row());
  const Steps start = {run(0), offload(0), run(1), drop(0), run(2)};
  expect(trace, start + Steps{load(0)}, fine(169, 5 + 50 + 2 + 25, 0, 72, 100));
  expect(trace, start, broken(7));
  expect(trace, {run(0), drop(0)}, broken(3));
  expect(trace, {run(0), offload(0), run(1), drop(0), load(0), run(2), drop(0)}, broken(9));
  // It is away while a works on something else, and the peak is lower by it.
  Trace other = with_tier(
      {{Given{.storage = 0, .bytes = 100}, Operator{.name = "a", .makes = {{1, 90}}, .ns = 1},
        Release{1}, Operator{.name = "b", .reads = {0}, .ns = 1}}});
  expect(other, {offload(0), drop(0), run(0), drop(1), load(0), run(1)}, fine(100, 77, 0, 75, 100));
}

TEST(Simulate, a_copy_is_good_until_the_storage_is_written_into) {
  Trace trace = with_tier({{Operator{.name = "a", .makes = {{1, 40}}, .ns = 5},
                            Operator{.name = "b", .reads = {1}, .ns = 5},
                            Operator{.name = "c", .mutates = {1}, .ns = 5},
                            Operator{.name = "d", .reads = {1}, .ns = 5}}});
  const Steps once = {run(0), offload(1), drop(1), load(1), run(1)};
  // The second free writes nothing: it only waits for the copy back, which b has waited for.
  expect(trace, once + Steps{drop(1), load(1), run(2), run(3)},
         fine(40, 5 + 30 + 5 + 10 + 5 + 5, 0, 40, 40));
  expect(trace, once + Steps{offload(1)}, broken(7));
  // After the write it has none, and may have another one. The first has gone by then.
  expect(trace, once + Steps{run(2), drop(1), load(1)}, broken(9));
  expect(trace, once + Steps{run(2), offload(1), drop(1), load(1), run(3)},
         fine(40, 5 + 30 + 5 + 5 + 30 + 5, 0, 60, 40));
  expect(trace, {run(0), offload(1), run(1), run(2)}, broken(5));
  expect(trace, {run(0), run(1), run(2), run(3), offload(1)}, broken(7));
}

TEST(Simulate, a_copy_is_of_the_last_version) {
  const Trace trace = with_tier({{Operator{.name = "a", .makes = {{1, 40}, {2, 4}}, .ns = 5},
                                  Operator{.name = "b", .mutates = {1}, .ns = 5},
                                  Operator{.name = "c", .reads = {1, 2}, .ns = 5}}});
  // 1 is made again at version 0 while its copy has version 1, which comes back as it was.
  expect(trace, {run(0), run(1), offload(1), drop(1), drop(2), rerun(0), drop(1), load(1), run(2)},
         fine(44, 5 + 5 + 20 + 5 + 10 + 5, 1, 30, 40));
  expect(trace, {run(0), run(1), drop(1), rerun(0), offload(1)}, broken(6));
  // A rerun of the writer drops the copy, like its run.
  expect(trace, {run(0), run(1), offload(1), drop(1), drop(2), rerun(0), rerun(1)}, broken(8));
  expect(trace,
         {run(0), run(1), offload(1), drop(1), load(1), drop(1), drop(2), rerun(0), rerun(1),
          offload(1), drop(1), load(1), run(2)},
         fine(44, 10 + 30 + 10 + 30 + 5, 2, 60, 40));
}

TEST(Simulate, a_rerun_makes_what_is_away_and_the_copy_stays_good) {
  const Trace trace = with_tier(row());
  expect(trace, {run(0), offload(10), drop(10), rerun(0), run(1), drop(10), load(10), run(2)},
         fine(169, 5 + 20 + 5 + 3 + 10 + 2, 1, 30, 40));
  expect(trace, {run(0), offload(10), drop(10), rerun(0), offload(10)}, broken(6));
  expect(trace, {run(0), offload(10), drop(10), rerun(0), load(10)}, broken(6));
  expect(trace, {run(0), offload(10), drop(10), rerun(0), run(1), run(2)}, broken(8));
}

TEST(Simulate, a_storage_that_is_written_once_must_be_there) {
  const Trace trace = with_tier(
      {{Given{.storage = 0, .bytes = 8}, Operator{.name = "a", .makes = {{1, 4}}, .ns = 1},
        Operator{.name = "b", .reads = {1}, .mutates_once = {0}, .ns = 1}}});
  expect(trace, {run(0), offload(0), drop(0), run(1)}, broken(5));
  // b waits for it until 7, and drops its copy.
  expect(trace, {run(0), offload(0), drop(0), load(0), run(1)}, fine(12, 8, 0, 6, 8));
  expect(trace, {run(0), offload(0), drop(0), load(0), run(1), drop(0)}, broken(7));
}

TEST(Simulate, the_tier_holds_each_copy_from_its_offload_to_its_last_load) {
  const Trace trace = with_tier(row());
  const Steps start = {run(0),   run(1),      offload(10), drop(10),
                       load(10), offload(11), drop(11),    load(11)};
  expect(trace, start + Steps{run(2)}, fine(169, 45, 0, 35, 40));
  // 10 comes back once more, so that its copy stays beside that of 11.
  expect(trace, start + Steps{drop(10), load(10), run(2)}, fine(169, 55, 0, 45, 60));
}

TEST(Simulate, what_is_offloaded_or_loaded_wrongly_is_refused) {
  const Trace trace = with_tier(row());
  expect(row(), {run(0), offload(10)}, broken(3));
  expect(trace, {offload(10)}, broken(2));
  expect(trace, {load(10)}, broken(2));
  expect(trace, {offload(77)}, broken(2));
  expect(trace, {load(77)}, broken(2));
  expect(trace, {run(0), load(10)}, broken(3));
  expect(trace, {run(0), drop(10), load(10)}, broken(4));
  expect(trace, {run(0), drop(10), offload(10)}, broken(4));
  expect(trace, {run(0), offload(10), load(10)}, broken(4));
  expect(trace, {run(0), offload(10), offload(10)}, broken(4));
}

TEST(Simulate, copies_that_would_never_end_are_refused) {
  Trace trace{{Given{.storage = 0, .bytes = std::int64_t{1} << 60}}};
  trace.out_bytes_per_s = 1;
  trace.in_bytes_per_s = 1;
  try {
    (void)simulate(trace, {.steps = {offload(0)}});
    FAIL() << "2^60 seconds were added up";
  } catch (const BrokenPlan& error) {
    EXPECT_EQ(error.line, 2);
  }
  for (const auto& [out, in] : {std::pair{1, 0}, {0, 1}, {-1, 1}, {1, -1}, {-1, -1}}) {
    trace.out_bytes_per_s = out;
    trace.in_bytes_per_s = in;
    try {
      (void)simulate(trace, {});
      FAIL() << out << ' ' << in;
    } catch (const FormatError& error) {
      EXPECT_EQ(error.line, 1);
    }
  }
}

// The line that is refused; 0: none.
std::int64_t refused_line(const Trace& trace, const Plan& plan) {
  try {
    (void)verify(trace, plan);
  } catch (const BrokenPlan& error) {
    return error.line;
  }
  return 0;
}

TEST(Verify, holds_a_plan_to_what_it_says_of_the_tier) {
  const Trace trace = with_tier(row());
  Plan plan{.budget = 169,
            .predicted_peak = 169,
            .predicted_ns = 37,
            .steps = {run(0), offload(10), run(1), drop(10), load(10), run(2)},
            .predicted_offloaded = 40};
  EXPECT_EQ(verify(trace, plan).waited_ns, 27);
  for (const std::int64_t wrong : {0, 39, 41}) {
    plan.predicted_offloaded = wrong;
    EXPECT_EQ(refused_line(trace, plan), 1) << wrong;
  }
  EXPECT_EQ(refused_line(row(), plan), 3);
}

}  // namespace
}  // namespace neap::graph
