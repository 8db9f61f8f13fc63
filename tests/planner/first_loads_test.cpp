// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What a plan that neap follows may copy to the tier.
#include "planner/copies.h"

#include "planner/held.h"

#include <gtest/gtest.h>
#include <neap/planner.h>

#include <map>
#include <vector>

namespace neap::planner {
namespace {

using graph::Given;
using graph::Operator;
using graph::Release;
using graph::StorageId;
using graph::StorageKind;
using graph::Trace;

constexpr std::int64_t kBytes = 1 << 20;

// A parameter (0), an input (1), optimizer state (2), a small parameter (3), and a chain of layers
// with a backward, whose gradient (20) nothing makes again and the optimizer reads at the end.
Trace layers() {
  Trace trace;
  trace.out_bytes_per_s = trace.in_bytes_per_s = 1'000'000'000;
  trace.events = {Given{0, kBytes, StorageKind::Parameter}, Given{1, kBytes, StorageKind::Input},
                  Given{2, kBytes, StorageKind::Optimizer}, Given{3, 64, StorageKind::Parameter}};
  constexpr std::int64_t kNs = 50'000'000;
  StorageId last = 1;
  for (StorageId made = 10; made < 16; ++made) {
    trace.events.emplace_back(
        Operator{.name = "forward", .reads = {last, 0, 3}, .makes = {{made, kBytes}}, .ns = kNs});
    last = made;
  }
  trace.events.emplace_back(Operator{.name = "first gradient",
                                     .reads = {last},
                                     .makes = {{20, kBytes}},
                                     .ns = kNs,
                                     .replayable = false});
  for (StorageId read = 15; read >= 10; --read) {
    trace.events.emplace_back(Operator{.name = "backward",
                                       .reads = {read, 1, 3},
                                       .ns = kNs,
                                       .workspace = kBytes,
                                       .replayable = false});
    trace.events.emplace_back(Release{read});
  }
  trace.events.emplace_back(Operator{
      .name = "step", .reads = {20}, .mutates = {0, 2, 3}, .ns = kNs, .replayable = false});
  trace.events.emplace_back(Release{20});
  trace.keep = {0, 1, 2, 3};
  return trace;
}

TEST(FirstLoads, are_after_the_first_use_of_what_the_engine_learns_of_by_it) {
  const Trace trace = layers();
  const Trace held = with_what_is_held(trace);
  const graph::Program program(held);
  const std::vector<graph::Index> from = first_loads(program, trace);
  const auto of = [&](StorageId id) {
    return from[static_cast<std::size_t>(program.index_of(id))];
  };
  EXPECT_EQ(of(0), 1) << "a parameter, after the first forward";
  EXPECT_EQ(of(1), graph::kNever) << "an input";
  EXPECT_EQ(of(2), 14) << "optimizer state: the last operator meets it, and none follows";
  EXPECT_EQ(of(3), graph::kNever) << "less than a page";
  EXPECT_EQ(of(10), 0) << "what an operator makes";
  EXPECT_EQ(of(20), 0) << "also where it does not run again, and counts as given";
}

TEST(FirstLoads, hold_in_plans_that_neap_follows) {
  const Trace trace = layers();
  std::map<StorageId, int> copied;
  for (std::int64_t mib = 5; mib <= 9; ++mib) {
    const Solution solution =
        solve(trace, {.budget = Bytes(mib * kBytes + 64), .followable = true, .threads = 1});
    graph::verify(trace, solution.plan);
    std::int64_t ran = 0;
    for (const graph::Step& step : solution.plan.steps) {
      if (step.action == graph::Step::Action::Run) ++ran;
      if (step.action != graph::Step::Action::Load) continue;
      ++copied[step.target];
      EXPECT_NE(step.target, 1) << mib << " MiB";
      EXPECT_NE(step.target, 2) << mib << " MiB";
      if (step.target == 0) {
        EXPECT_GE(ran, 1) << mib << " MiB";
      }
    }
  }
  EXPECT_FALSE(copied.empty()) << "nothing was copied, so nothing was tested";
  EXPECT_FALSE(copied.contains(3));
}

}  // namespace
}  // namespace neap::planner
