// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/planner.h: which storages of a step to free, and to recompute or to copy to a tier and back,
// so that it fits a budget in the least time. Does not depend on LibTorch.
//
//   const neap::graph::Trace trace = neap::graph::read_trace("step.jsonl");
//   const neap::planner::Solution solution =
//       neap::planner::solve(trace, {.budget = neap::Bytes::parse("1.5 GiB")});
//   std::cout << solution.rerun_ns << " ns more, of at least " << solution.bound_ns << '\n';
//   neap::graph::write_plan(solution.plan, std::cout);
//
// Guarantees: graph::verify() accepts every returned plan. Equal arguments give equal plans for any
// number of threads, except with a time limit. Units: bytes, nanoseconds. Threads: any.
// Method: a portfolio of starts, each valid by itself, then local search on the lifetimes of
// storages: docs/design/solver.md. Storages go to a tier only where the trace says how fast that
// is.
#pragma once

#include <neap/graph.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace neap::planner {

// The operator runs again directly before operator `before`; the number of operators means at the
// end. Both count from 0.
struct Rerun {
  std::int64_t op;
  std::int64_t before;

  bool operator==(const Rerun&) const = default;
};
// The reruns of a plan, in its order.
NEAP_EXPORT std::vector<Rerun> reruns_of(const graph::Plan& plan);
using Repeat [[deprecated("it is neap::planner::Rerun now")]] = Rerun;
[[deprecated("it is neap::planner::reruns_of() now")]] inline std::vector<Rerun> repeats_of(
    const graph::Plan& plan) {
  return reruns_of(plan);
}

struct Options {
  Bytes budget = {};       // for all that the trace counts, given storages included
  std::uint64_t seed = 1;  // of the random searches
  // The search runs until then and stops. Only the rules that it starts from, and a first plan, may
  // take longer. Absent: a fixed number of changes, about a second.
  std::optional<std::chrono::milliseconds> time_limit = {};
  // Time for a tighter bound by linear programming, for at most 300 operators. It changes no plan.
  // 0, or a build without NEAP_CLP: none.
  std::chrono::milliseconds bound_time = {};
  // Restricts the plan to what neap can do while the program holds its tensors: a storage that no
  // operator can remake is freed at its release only, and a storage without further use stays until
  // its release where the peak leaves room. False: all that docs/formats.md allows.
  bool followable = false;
  // In a step with a tier (graph::Trace::out_bytes_per_s), the most bytes that it may hold; absent:
  // no limit.
  std::optional<Bytes> offload_limit = {};
  int threads = 0;  // 0: the number of cores
  // Once stopped, solve() soon returns what it has. With nothing found, it throws Infeasible.
  std::stop_token stop = {};
  // Reruns of steps that fitted, in a smaller budget or without a plan. The result takes no longer
  // than the best of them that fits. Reruns that no plan may make are left out.
  std::vector<std::vector<Rerun>> known = {};
};

// What one member of the portfolio found, before local search.
struct Start {
  // dtr_eq, next_use, next_use_eq, the same "returning" (where parameters are overwritten between
  // forwards), peaks, chen, knapsack, rotor, "from N % above" (2, 4, 8, 16), anneal; known; plain
  // alone. With a tier also "idle longest, N % room" (0, 2, 6, 12), "idle longest after N % reruns"
  // (20, 50, 80, 95), "peaks, copies at N %" (10, 40, 100).
  std::string name;
  std::optional<std::int64_t> rerun_ns;  // absent: no plan
};

struct Solution {
  graph::Plan plan;
  std::int64_t plain_ns = 0;   // time of each operator once
  std::int64_t rerun_ns = 0;   // added by reruns, and by waits for copies
  std::int64_t waited_ns = 0;  // of it, waits
  std::int64_t bound_ns = 0;   // a lower bound of rerun_ns for every plan inside the budget
  std::vector<Start> starts = {};
  std::string winner = {};  // the start that led to the plan; plain: nothing runs twice
};

// No plan was found. Only below `floor` is it certain that there is none.
class NEAP_EXPORT Infeasible : public Error {
 public:
  Infeasible(const std::string& text, Bytes budget, Bytes smallest, Bytes floor_bytes,
             std::int64_t op);
  ~Infeasible() override;
  Bytes budget;
  Bytes smallest_known;  // a budget for which a plan was found
  Bytes floor;           // no plan has a lower peak
  // The operator that causes the floor; -1: what exists before the first one; the number of
  // operators: what is held at the end.
  std::int64_t floor_operator;
};

// Throws: Infeasible; graph::FormatError when the trace is invalid; InvalidArgument for a budget
// below 0, and for `known` with operators that the trace does not have.
// Cost: 1,000 operators about a second, 100,000 less than ten: bench/plans.md.
NEAP_EXPORT Solution solve(const graph::Trace& trace, const Options& options);

// The plan with the smallest budget that was found to work, within 0.5 % of the plain peak.
// `options.budget` is ignored.
NEAP_EXPORT Solution solve_smallest(const graph::Trace& trace, const Options& options = {});

// What neap's allocator may take of a budget in addition to the storages of a step, because small
// storages share partly used pages: budget / 256 + min(64 KiB, budget / 64). Plans count storages
// only. A plan to be followed must leave this free.
NEAP_EXPORT Bytes allocator_room(Bytes budget);

struct FrontierPoint {
  Bytes budget;
  std::optional<std::int64_t> rerun_ns;  // absent: no plan was found
  std::optional<std::int64_t> bound_ns;  // absent: there is no plan
};
struct Frontier {
  Bytes head;   // given storages at the start
  Bytes plain;  // the peak of the plain step
  Bytes floor;
  std::int64_t floor_operator = -1;
  std::int64_t plain_ns = 0;
  std::vector<FrontierPoint> points;  // budgets increase; rerun_ns never increases with them
};
// Time against memory at `points` budgets, evenly from the floor to the plain peak.
// Throws: InvalidArgument for fewer than 2 points; graph::FormatError.
NEAP_EXPORT Frontier frontier(const graph::Trace& trace, std::int64_t points,
                              const Options& options = {});

// The bytes of a storage from the plan step that makes it until the step that frees it.
struct Stay {
  graph::StorageId storage = -1;  // -1: the workspace of the operator of `step`
  std::int64_t step = -1;         // of the plan, counted from 0; -1: before the first
  std::int64_t until = 0;         // the step that frees it; the number of steps: none does
  std::int64_t offset = 0;        // a multiple of kPlacementAlignment
  std::int64_t bytes = 0;

  bool operator==(const Stay&) const = default;
};
inline constexpr std::int64_t kPlacementAlignment = 64;

// Offsets for a step that follows a plan in one block of memory.
struct Placement {
  Bytes arena;  // of the block; at least the plan's peak
  std::vector<Stay> stays;
};

// Computes offsets for all that a plan makes, given storages and workspaces included, so that
// nothing overlaps that exists at the same time. A given storage keeps its place until it is freed.
// neap's own allocator does not need this: its holes are addresses, not memory.
// Throws: graph::BrokenPlan, graph::FormatError as graph::simulate().
// Cost: at most about two seconds, and less for most plans: it ends within 0.1 % of the peak.
NEAP_EXPORT Placement place(const graph::Trace& trace, const graph::Plan& plan);

// A share of what a plain step needs above the given storages of its start:
// head + share * (plain peak - head).
// Throws: InvalidArgument for a share outside of [0, 1]; graph::FormatError.
NEAP_EXPORT Bytes budget_of_share(const graph::Trace& trace, double share);

}  // namespace neap::planner
