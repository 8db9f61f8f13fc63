// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The rules of a plan for storages that operators write in place. A write makes a new version of
// its storage. To restore a version, its maker and every write up to it run again, in order.
#include "graph/plan_verdicts.h"

#include <neap/graph.h>

#include <gtest/gtest.h>

namespace neap::graph {
namespace {

// Storage 1 (16 bytes) is made, and "old" reads it. Then "w1" and "w2" write into it. "w2" does not
// read it, and makes 3 (2 bytes) too. Each digit of the total time counts the runs of one operator.
Trace chain() {
  return {{Operator{.name = "make", .makes = {{1, 16}}, .ns = 1},
           Operator{.name = "old", .reads = {1}, .makes = {{2, 4}}, .ns = 10},
           Operator{.name = "w1", .reads = {1}, .mutates = {1}, .ns = 100},
           Operator{.name = "w2", .mutates = {1}, .makes = {{3, 2}}, .ns = 1000},
           Operator{.name = "new", .reads = {1}, .makes = {{4, 1}}, .ns = 10000}}};
}
const Steps kBeforeNew = {run(0), run(1), run(2), run(3)};
const Steps kWhole = kBeforeNew + Steps{run(4)};

TEST(Simulate, brings_a_written_storage_back_by_its_maker_and_every_write_in_order) {
  const Trace trace = chain();
  expect(trace, kWhole, fine(16 + 4 + 2 + 1, 11111, 0));
  // The second write makes a second copy of 3.
  expect(trace, kBeforeNew + Steps{drop(1), rerun(0), rerun(2), rerun(3), run(4)},
         fine(16 + 4 + 2 + 2, 12212, 3));
  // The next write may be a first run. Then no rerun of it is needed.
  expect(trace, {run(0), run(1), run(2), drop(1), rerun(0), rerun(2), run(3), run(4)},
         fine(23, 11212, 2));
}

TEST(Simulate, needs_exactly_the_version_that_was_read_or_written) {
  const Trace trace = chain();
  expect(trace, kBeforeNew + Steps{drop(1), rerun(0), run(4)}, broken(8));
  expect(trace, kBeforeNew + Steps{drop(1), rerun(0), rerun(2), run(4)}, broken(9));
  expect(trace, kBeforeNew + Steps{drop(1), rerun(0), rerun(3)}, broken(8));
  expect(trace, kBeforeNew + Steps{drop(1), rerun(0), rerun(2), rerun(2)}, broken(9));
  expect(trace, kBeforeNew + Steps{drop(2), rerun(1)}, broken(7));
  expect(trace, kBeforeNew + Steps{rerun(2)}, broken(6));
  expect(trace, kBeforeNew + Steps{drop(3), rerun(3)}, broken(7));
  // A first run needs the right version too, even of a storage that it writes and does not read.
  expect(trace, {run(0), run(1), run(2), drop(1), run(3)}, broken(6));
  expect(trace, {run(0), run(1), run(2), drop(1), rerun(0), run(3)}, broken(7));
}

TEST(Simulate, finishes_a_chain_before_a_free_and_before_the_end) {
  const Trace trace = chain();
  const Steps half = kWhole + Steps{drop(1), rerun(0), rerun(2)};
  expect(trace, half, broken(10));
  expect(trace, half + Steps{drop(1)}, broken(10));
  expect(trace, half + Steps{drop(2)}, broken(11));
  expect(trace, half + Steps{rerun(3)}, fine(25, 12212, 3));
  expect(trace, half + Steps{rerun(3), drop(1)}, fine(25, 12212, 3));
  // A chain ends at the last write that has run so far.
  expect(trace,
         {run(0), run(1), run(2), drop(1), rerun(0), rerun(2), drop(1), rerun(0), rerun(2), run(3),
          run(4)},
         fine(23, 11313, 4));
}

TEST(Simulate, may_free_or_leave_what_is_back_at_version_0_alone) {
  const Trace trace = chain();
  const Steps for_old = kWhole + Steps{drop(1), drop(2), rerun(0), rerun(1)};
  expect(trace, for_old, fine(23, 11122, 2));
  expect(trace, for_old + Steps{drop(1)}, fine(23, 11122, 2));
  expect(trace, for_old + Steps{drop(1), rerun(0), rerun(2), rerun(3)}, fine(25, 12223, 5));
}

TEST(Simulate, keeps_the_copy_that_is_there_when_a_rerun_makes_another) {
  const Trace trace{{Operator{.name = "make", .makes = {{1, 16}, {5, 3}}, .ns = 1},
                     Operator{.name = "write", .mutates = {1}},
                     Operator{.name = "new", .reads = {1, 5}, .makes = {{6, 2}}}}};
  expect(trace, {run(0), run(1), drop(5), rerun(0), run(2)}, fine(16 + 16 + 3, 2, 1));
  expect(trace, {run(0), drop(5), rerun(0), run(1), run(2)}, fine(35, 2, 1));
  // 5 stays resident while the plan restores 1.
  expect(trace, {run(0), run(1), drop(1), rerun(0), rerun(1), run(2)}, fine(3 + 16 + 3, 2, 2));
}

TEST(Simulate, brings_back_a_result_that_needs_an_older_version_of_what_its_operator_writes) {
  // To restore 3, the plan restores 1 at the version before the second write.
  expect(chain(), kWhole + Steps{drop(3), drop(1), rerun(0), rerun(2), rerun(3)},
         fine(23, 12212, 3));
}

TEST(Simulate, one_write_of_two_storages_needs_both) {
  const Trace trace{{Operator{.name = "a", .makes = {{1, 8}}, .ns = 1},
                     Operator{.name = "b", .makes = {{2, 4}}, .ns = 10},
                     Operator{.name = "write", .reads = {1}, .mutates = {1, 2}, .ns = 100}}};
  const Steps plain = {run(0), run(1), run(2)};
  expect(trace, plain + Steps{drop(1), rerun(0), rerun(2)}, broken(7));
  expect(trace, plain + Steps{drop(1), drop(2), rerun(0), rerun(2)}, broken(8));
  expect(trace, plain + Steps{drop(1), drop(2), rerun(0), rerun(1), rerun(2)}, fine(12, 222, 3));
}

TEST(Simulate, never_reruns_a_write_into_a_given_storage_nor_its_older_readers) {
  const Trace trace{{Given{.storage = 0, .bytes = 10},
                     Operator{.name = "old", .reads = {0}, .makes = {{1, 1}}},
                     Operator{.name = "write", .reads = {0}, .mutates = {0}, .makes = {{2, 1}}},
                     Operator{.name = "new", .reads = {0}, .makes = {{3, 1}}}}};
  const Steps plain = {run(0), run(1), run(2)};
  expect(trace, plain, fine(13, 0, 0));
  expect(trace, plain + Steps{drop(2), rerun(1)}, broken(6));
  expect(trace, plain + Steps{drop(1), rerun(0)}, broken(6));
  expect(trace, plain + Steps{drop(3), rerun(2)}, fine(13, 0, 1));
  expect(trace, {run(0), drop(1), rerun(0), run(1), run(2)}, fine(13, 0, 1));
}

// "norm" and "count" update the given storage 9 in their first runs only.
Trace running_statistics() {
  return {{Given{.storage = 0, .bytes = 10}, Given{.storage = 9, .bytes = 4},
           Operator{.name = "old", .reads = {9}, .makes = {{1, 1}}},
           Operator{.name = "norm", .reads = {0, 9}, .mutates_once = {9}, .makes = {{2, 8}}},
           Operator{.name = "new", .reads = {9}, .makes = {{3, 1}}},
           Operator{.name = "count", .mutates_once = {9}}, Release{9}}};
}

TEST(Simulate, what_is_written_once_is_neither_read_nor_written_by_a_rerun) {
  const Trace trace = running_statistics();
  const Steps plain = {run(0), run(1), run(2), run(3)};
  expect(trace, plain, fine(14 + 10, 0, 0));
  expect(trace, plain + Steps{drop(2), rerun(1), drop(2), rerun(1)}, fine(24, 0, 2));
  expect(trace, plain + Steps{drop(9), drop(2), rerun(1)}, fine(24, 0, 1));
  // "new" needs the version that it read at first, and finds it.
  expect(trace, {run(0), run(1), run(2), drop(2), rerun(1), drop(3), rerun(2), run(3)},
         fine(24, 0, 2));
  expect(trace, plain + Steps{rerun(3)}, broken(6));  // it restores nothing
}

TEST(Simulate, what_is_written_once_has_a_new_version) {
  expect(running_statistics(), {run(0), drop(1), rerun(0), run(1), run(2), run(3)}, fine(24, 0, 1));
  expect(running_statistics(), {run(0), run(1), drop(1), rerun(0)}, broken(5));
  expect(running_statistics(), {run(0), run(1), run(2), run(3), drop(3), rerun(2)}, broken(7));
}

TEST(Simulate, what_is_kept_is_there_at_the_end_at_its_last_version) {
  expect(row(), {run(0), run(1), run(2), drop(12)}, broken(6));
  expect(row(), {run(0), run(1), run(2), drop(12), rerun(2)}, fine(169, 12, 1));
  Trace trace = chain();
  trace.keep = {1};
  expect(trace, kWhole + Steps{drop(1)}, broken(8));
  expect(trace, kWhole + Steps{drop(1), rerun(0)}, broken(9));
  expect(trace, kWhole + Steps{drop(1), rerun(0), rerun(2)}, broken(10));
  expect(trace, kWhole + Steps{drop(1), rerun(0), rerun(2), rerun(3)}, fine(25, 12212, 3));
}

}  // namespace
}  // namespace neap::graph
