// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/planner.h: which storages of a step to free and make again, so that it fits a budget in the least time. Knows nothing of LibTorch.
//
//   const neap::graph::Trace trace = neap::graph::read_trace("step.jsonl");
//   const neap::planner::Solution solution =
//       neap::planner::solve(trace, {.budget = neap::Bytes::parse("1.5 GiB")});
//   std::cout << solution.rerun_ns << " ns more; no plan does with less than " << solution.bound_ns << '\n';
//   neap::graph::write_plan(solution.plan, std::cout);
//
// Guarantees: graph::verify() accepts what is returned. Equal arguments give equal plans, however many threads there are; but for
// a time limit. Units: bytes, nanoseconds. Threads: any.
// Method: a portfolio of starts, each valid by itself, then local search on the lives of storages: docs/design.md, "Planner".
#pragma once

#include <neap/graph.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace neap::planner {

// The operator runs again right before operator `before`; as many as there are: at the end. Both count from 0.
struct Repeat {
  std::int64_t op;
  std::int64_t before;

  bool operator==(const Repeat&) const = default;
};
// Those of a plan, in its order.
NEAP_EXPORT std::vector<Repeat> repeats_of(const graph::Plan& plan);

struct Options {
  Bytes budget = {};       // of everything that the trace counts, given storages included
  std::uint64_t seed = 1;  // of the searches
  // The search goes on until then, and ends then, but for the rules that it starts from, and for a first plan. Absent: a fixed
  // number of changes, about a second's worth.
  std::optional<std::chrono::milliseconds> time_limit = {};
  // For a tighter bound by linear programming, which changes no plan: of at most 300 operators. 0, or built without NEAP_CLP:
  // none.
  std::chrono::milliseconds bound_time = {};
  // Only what neap can do while the program holds its tensors: what no operator makes again goes with its release. And what is of no
  // use any more stays until its release where the peak leaves room. Otherwise all that docs/formats.md allows.
  bool followable = false;
  int threads = 0;            // 0: as many as there are cores
  std::stop_token stop = {};  // once stopped, returns soon what it has by then; Infeasible: nothing
  // Of steps that fitted, in a smaller budget or without a plan: no plan takes longer than the best of them that fits. What no
  // plan may repeat there is left out of them.
  std::vector<std::vector<Repeat>> known = {};
};

// What a member of the portfolio found, before local search.
struct Start {
  // dtr_eq, next_use, next_use_eq, the same "returning" (where parameters are overwritten between forwards), peaks, chen, knapsack, rotor, "from N % above" (2, 4, 8, 16), anneal; known; plain alone.
  std::string name;
  std::optional<std::int64_t> rerun_ns;  // absent: no plan
};

struct Solution {
  graph::Plan plan;
  std::int64_t plain_ns = 0;  // each operator once
  std::int64_t rerun_ns = 0;  // on top of it
  std::int64_t bound_ns = 0;  // reruns that no plan inside the budget avoids
  std::vector<Start> starts = {};
  std::string winner = {};  // the start that the plan came from; plain: nothing runs twice
};

// No plan was found. Whether there is one is known only below `floor`.
class NEAP_EXPORT Infeasible : public Error {
 public:
  Infeasible(const std::string& text, Bytes budget, Bytes smallest, Bytes floor_bytes,
             std::int64_t op);
  ~Infeasible() override;
  Bytes budget;
  Bytes smallest_known;  // a budget for which a plan was found
  Bytes floor;           // no plan can pass below it
  // Which makes it; -1: what is there before the first; as many as there are: what is held at the end.
  std::int64_t floor_operator;
};

// Throws: Infeasible; graph::FormatError when the trace is none; InvalidArgument for a budget below 0, and for what is known of
// operators that the trace does not have.
// Cost: 1,000 operators about a second, 100,000 less than ten: bench/plans.md.
NEAP_EXPORT Solution solve(const graph::Trace& trace, const Options& options);

// The plan of the smallest budget that was found to work, within 0.5 % of the plain peak. `options.budget` is not read.
NEAP_EXPORT Solution solve_smallest(const graph::Trace& trace, const Options& options = {});

// What neap's allocator may take of a budget beyond the storages of a step, for small ones share pages that are partly used: 1/256 of
// the budget, and 64 KiB, or 1/64 of a budget below 4 MiB. A plan counts storages alone; one that is to be followed leaves this free.
NEAP_EXPORT Bytes allocator_room(Bytes budget);

struct FrontierPoint {
  Bytes budget;
  std::optional<std::int64_t> rerun_ns;  // absent: no plan was found
  std::optional<std::int64_t> bound_ns;  // absent: there is no plan
};
struct Frontier {
  Bytes head;   // given storages of the start
  Bytes plain;  // the peak of the plain step
  Bytes floor;
  std::int64_t floor_operator = -1;
  std::int64_t plain_ns = 0;
  std::vector<FrontierPoint> points;  // budgets rise; rerun_ns never rises with them
};
// Time against memory at so many budgets, evenly from the floor to the plain peak.
// Throws: InvalidArgument for fewer than 2 points; graph::FormatError.
NEAP_EXPORT Frontier frontier(const graph::Trace& trace, std::int64_t points,
                              const Options& options = {});

// From a step of the plan that makes it until one that frees it.
struct Stay {
  graph::StorageId storage = -1;  // -1: workspace of the operator of `step`
  std::int64_t step = -1;         // of the plan, counted from 0; -1: before the first
  std::int64_t until = 0;         // the step that frees it; as many as there are: none does
  std::int64_t offset = 0;        // a multiple of kPlacementAlignment
  std::int64_t bytes = 0;

  bool operator==(const Stay&) const = default;
};
inline constexpr std::int64_t kPlacementAlignment = 64;

// A step that follows a plan, in one block of memory.
struct Placement {
  Bytes arena;  // of the block; at least the plan's peak
  std::vector<Stay> stays;
};

// Offsets for all that a plan makes, given storages and workspaces too, so that nothing that is there at the same time overlaps. What
// is given stays where it is until it is freed. neap's own allocator needs none: its holes are addresses, not memory.
// Throws: graph::BrokenPlan, graph::FormatError as graph::simulate(). Cost: two seconds or so at most, and most plans take less: the search
// ends within 0.1 % of the peak.
NEAP_EXPORT Placement place(const graph::Trace& trace, const graph::Plan& plan);

// A share of what a plain step needs above what is there before it: head + share * (plain peak - head).
// Throws: InvalidArgument for a share that is not in [0, 1]; graph::FormatError.
NEAP_EXPORT Bytes budget_of_share(const graph::Trace& trace, double share);

}  // namespace neap::planner
