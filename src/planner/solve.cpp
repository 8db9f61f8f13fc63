// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "planner/anneal.h"
#include "planner/bounds.h"
#include "planner/candidates.h"
#include "planner/copies.h"
#include "planner/emit.h"
#include "planner/held.h"
#include "planner/late_frees.h"
#include "planner/local_search.h"
#include "planner/lp_bound.h"
#include "planner/offload.h"
#include "planner/parallel.h"
#include "planner/portfolio.h"

#include <neap/planner.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <limits>
#include <thread>

namespace neap::planner {
namespace {

class Solver {
 public:
  Solver(const graph::Trace& trace, const Options& options)
      : asked_(trace),
        held_(options.followable ? with_what_is_held(trace) : graph::Trace()),
        trace_(options.followable ? held_ : trace),
        options_(options),
        threads_(options.threads > 0 ? static_cast<std::size_t>(options.threads)
                                     : std::max(1U, std::thread::hardware_concurrency())),
        program_(trace_),
        replays_(program_),
        floor_(memory_floor(replays_)) {
    if (options.followable && program_.has_tier()) {
      replays_.limit_copies(first_loads(program_, asked_));
    }
    for (Index op = 0; op < program_.operators(); ++op) plain_ns_ += program_.op(op).ns;
    plain_peak_ = graph::plain_plan(trace).predicted_peak;
    for (const std::vector<Rerun>& known : options.known) known_.push_back(judge(known));
  }

  [[nodiscard]] const Floor& floor() const { return floor_; }
  [[nodiscard]] std::int64_t head() const { return program_.head_bytes(); }
  [[nodiscard]] std::int64_t plain_peak() const { return plain_peak_; }
  [[nodiscard]] std::int64_t plain_ns() const { return plain_ns_; }
  [[nodiscard]] const Replays& replays() const { return replays_; }

  // nullopt when nothing fits.
  std::optional<Solution> solve(std::int64_t budget) {
    if (budget < floor_.bytes) return {};
    Deadline deadline = no_limit();
    if (options_.time_limit) deadline.at = std::chrono::steady_clock::now() + *options_.time_limit;
    std::vector<Candidate> candidates = starts(budget, deadline);
    // A first plan has precedence over the limit.
    if (!any(candidates) && options_.time_limit) candidates = starts(budget, no_limit());
    if (!any(candidates)) {
      // Methods are not monotone: one may fit a smaller budget and fail at a larger one.
      const std::int64_t works = smallest();
      if (works > budget) return {};
      candidates = starts(works, no_limit());
    }
    Solution solution;
    solution.plain_ns = plain_ns_;
    for (const Candidate& one : candidates) {
      solution.starts.push_back(
          {one.name, one.reruns ? std::optional(one.found_ns) : std::nullopt});
    }
    std::erase_if(candidates, [](const Candidate& one) { return !one.reruns; });
    if (candidates.empty()) return {};
    Candidate best = search(budget, candidates, deadline);
    if (best.ns >= Transfers::kTooMuch) return {};
    std::int64_t placed = budget;
    for (const Known& one : known_) {
      // More room never makes the places worse that copies have with less of it.
      if (one.loads.empty() || one.budget > budget || one.ns >= best.ns) continue;
      best = {.name = "known", .reruns = one.reruns, .ns = one.ns, .loads = one.loads};
      placed = one.budget;
    }
    Schedule schedule = schedule_of(best);
    solution.plan = emit(schedule, placed, limit());
    solution.plan.budget = budget;
    solution.rerun_ns = solution.plan.predicted_ns - plain_ns_;
    solution.bound_ns = recompute_bound(replays_, budget);
    if (options_.bound_time.count() > 0 && solution.rerun_ns > solution.bound_ns &&
        !program_.has_tier() && !options_.stop.stop_requested()) {
      const auto tighter = lp_bound(replays_, budget, options_.bound_time);
      solution.bound_ns = std::max(solution.bound_ns, tighter.value_or(0));
    }
    solution.winner = best.ns == 0 && best.loads.empty() ? "plain" : best.name;
    known_.push_back({schedule.peak(), solution.rerun_ns, *best.reruns, best.loads, placed});
    complete(solution.plan);
    solution.rerun_ns = solution.plan.predicted_ns - plain_ns_;  // a late free waits for nothing
    solution.waited_ns = solution.rerun_ns - schedule.rerun_ns();
    return solution;
  }

  // The smallest budget with a plan that bisection finds. Cost: about eight times all starts, once.
  std::int64_t smallest() {
    if (!smallest_) smallest_ = find_smallest();
    return *smallest_;
  }

  [[noreturn]] void refuse(std::int64_t budget) {
    const std::int64_t known = smallest();
    const std::string at =
        floor_.op == kNone ? "what is there before the first operator"
        : floor_.op == program_.operators()
            ? "what is held at the end"
            : "operator " + std::to_string(floor_.op) + " (" + name(floor_.op) + ")";
    throw Infeasible("no plan found for a budget of " + Bytes(budget).text() + ": " + at +
                         " needs " + Bytes(floor_.bytes).text() +
                         " whatever the plan; the smallest budget known to work is " +
                         Bytes(known).text() + " (" + std::to_string(known) + " bytes)",
                     Bytes(budget), Bytes(known), Bytes(floor_.bytes), floor_.op);
  }

 private:
  void complete(graph::Plan& plan) const {
    plan.label = asked_.label;
    std::vector<graph::Foreseen> operators = graph::foreseen(asked_);
    if (std::ranges::find(operators, 0U, &graph::Foreseen::call) == operators.end()) {
      plan.operators = std::move(operators);
    }
    if (!options_.followable) return;
    // Without reruns nothing is freed early. Otherwise the remaining room belongs to the allocator,
    // whose slabs may need it.
    const bool fits = reruns_of(plan).empty() && plan.predicted_offloaded == 0;
    const std::int64_t limit =
        fits ? std::max(plan.predicted_peak, plan.budget) : plan.predicted_peak;
    plan = free_late(asked_, std::move(plan), limit);
  }
  [[nodiscard]] Deadline no_limit() const { return {.stop = options_.stop}; }
  std::int64_t find_smallest() {
    std::int64_t works = std::max(plain_peak_, floor_.bytes);
    for (const Known& one : known_) works = std::min(works, one.peak);
    std::int64_t fails = floor_.bytes - 1;
    const std::int64_t step = std::max<std::int64_t>(1, plain_peak_ / 200);
    while (works - fails > step && !options_.stop.stop_requested()) {
      const std::int64_t middle = fails + (works - fails) / 2;
      (some_method_fits(middle) ? works : fails) = middle;
    }
    return works;
  }
  // REQUIRES: the budget is below the plain peak and the known peaks. Stops after the first
  // success.
  [[nodiscard]] bool some_method_fits(std::int64_t budget) const {
    Schedule schedule(replays_);
    if (program_.has_tier() && offload_idle(schedule, budget, limit())) return true;
    const std::vector<const Method*> asked = methods();
    std::atomic<bool> fits{false};
    for_each_in_parallel(asked.size(), threads_, [&](std::size_t i) {
      if (!fits && asked[i]->find({trace_, replays_, budget, options_.seed, no_limit()})) {
        fits = true;
      }
    });
    return fits;
  }
  [[nodiscard]] std::vector<const Method*> methods() const {
    std::vector<const Method*> in_time;
    for (const Method& method : portfolio()) {
      if (method.for_outlived && !replays_.outlived()) continue;
      if (program_.operators() <= method.most_operators) in_time.push_back(&method);
    }
    return in_time;
  }

  [[nodiscard]] Known judge(const std::vector<Rerun>& known) const {
    Schedule schedule(replays_);
    for (const Rerun one : known) {
      if (one.op < 0 || one.op >= program_.operators() || one.before < 0 ||
          one.before > program_.operators()) {
        throw InvalidArgument("planner: operator " + std::to_string(one.op) +
                              " is known to run again before operator " +
                              std::to_string(one.before) + ", and the trace has " +
                              std::to_string(program_.operators()));
      }
      const GroupRerun rerun{replays_.group_of(static_cast<Index>(one.op)),
                             static_cast<Index>(one.before)};
      if (schedule.has(rerun)) continue;
      for (const GroupRerun one : schedule.closure(rerun)) schedule.add(one);
    }
    return {schedule.peak(), schedule.cost(), schedule.reruns(), {}, schedule.peak()};
  }

  [[nodiscard]] const std::string& name(Index op) const {
    return std::get<graph::Operator>(trace_.events[static_cast<std::size_t>(program_.op(op).event)])
        .name;
  }

  std::vector<Candidate> starts(std::int64_t budget, const Deadline& deadline) {
    Schedule plain(replays_);
    if (plain.peak() <= budget) return {{"plain", std::vector<GroupRerun>{}, 0, 0}};
    std::vector<Candidate> found;
    const std::vector<const Method*> asked = methods();
    for (const Method* const method : asked) found.push_back({std::string(method->name), {}, 0, 0});
    for_each_in_parallel(asked.size(), threads_, [&](std::size_t i) {
      found[i].reruns = asked[i]->find({trace_, replays_, budget, options_.seed, deadline});
      if (!found[i].reruns) return;
      if (schedule_of(found[i]).peak() > budget) {
        found[i].reruns.reset();  // the method was wrong
        return;
      }
      found[i].found_ns = ns_of(replays_, *found[i].reruns);
    });
    const Known* best = nullptr;
    for (const Known& one : known_) {
      if (one.peak <= budget && (best == nullptr || one.ns < best->ns)) best = &one;
    }
    if (best != nullptr) found.push_back({"known", best->reruns, best->ns, 0, best->loads});
    if (program_.has_tier()) add_both_ways(budget, deadline, found);
    return found;
  }

  [[nodiscard]] std::int64_t limit() const {
    return options_.offload_limit ? options_.offload_limit->count() : Transfers::kNoLimit;
  }

  // Starts that copy storages to the tier.
  void add_both_ways(std::int64_t budget, const Deadline& deadline, std::vector<Candidate>& to) {
    const Problem problem{trace_, replays_, budget, options_.seed, deadline};
    std::vector<BothWays> all = both_ways(problem, plain_peak_, floor_.bytes);
    for_each_in_parallel(all.size(), threads_,
                         [&](std::size_t i) { find(all[i], problem, limit()); });
    for (BothWays& one : all) {
      Candidate& start = to.emplace_back(Candidate{one.name, {}, one.ns});
      if (!one.found) continue;
      start.reruns = std::move(one.reruns);
      start.loads = std::move(one.loads);
      start.room = budget - one.target;
      start.price = one.price;
    }
    // Plans of reruns alone may take copies in their search.
    for (Candidate& one : to) {
      if (one.price == 0) one.price = 0.4;
    }
  }

  [[nodiscard]] LocalSearch search_of(Schedule& schedule, const Candidate& candidate,
                                      std::int64_t budget, std::uint64_t seed,
                                      const Deadline& deadline) const {
    if (!program_.has_tier()) return LocalSearch(schedule, budget, seed, deadline);
    schedule.set_copy_price(candidate.price);
    // A plan that is known, or of reruns alone, may need the whole budget.
    const auto target = std::min(budget, std::max(schedule.peak(), budget - candidate.room));
    return LocalSearch(schedule, target, seed, deadline, Tier{budget, limit()});
  }

  static bool any(const std::vector<Candidate>& candidates) {
    return std::ranges::any_of(candidates,
                               [](const Candidate& one) { return one.reruns.has_value(); });
  }

  // Searches all but the worst a little, and the best of them much.
  Candidate search(std::int64_t budget, std::vector<Candidate>& candidates,
                   const Deadline& deadline) {
    const std::int64_t best_ns =
        std::ranges::min_element(candidates, {}, &Candidate::found_ns)->found_ns;
    std::erase_if(candidates,
                  [&](const Candidate& one) { return one.found_ns > kMostTimesBest * best_ns; });
    for_each_in_parallel(candidates.size(), threads_,
                         [&](std::size_t i) { change(candidates[i], budget, 0, 1, deadline); });
    by_cost(candidates);
    constexpr std::size_t kSearched = 4;
    if (candidates.size() > kSearched) candidates.resize(kSearched);
    // About half a second on one core; a change costs more on a long trace.
    std::int64_t changes =
        std::clamp<std::int64_t>(8'000'000 / std::max(1, program_.operators()), 100, 8000);
    if (program_.has_tier()) changes /= 2;  // each looks at the time of the whole step
    for_each_in_parallel(candidates.size(), threads_, [&](std::size_t i) {
      change(candidates[i], budget, changes, options_.seed + 1, deadline);
    });
    by_cost(candidates);
    constexpr std::size_t kFinal = 2;
    if (candidates.size() > kFinal) candidates.resize(kFinal);
    if (program_.operators() <= kMostAnnealed) {
      for_each_in_parallel(candidates.size(), threads_, [&](std::size_t i) {
        if (!candidates[i].loads.empty()) return;
        Schedule schedule = schedule_of(candidates[i]);
        anneal(schedule, budget, options_.seed, deadline);
        take(schedule, candidates[i]);
      });
    }
    std::uint64_t round = 2;
    do {
      for_each_in_parallel(candidates.size(), threads_, [&](std::size_t i) {
        change(candidates[i], budget, 2 * changes, options_.seed + round, deadline);
      });
      ++round;
    } while (options_.time_limit && !deadline.has_passed() && candidates.front().ns > 0);
    by_cost(candidates);
    return candidates.front();
  }

  static void by_cost(std::vector<Candidate>& candidates) {
    std::ranges::stable_sort(candidates, {}, &Candidate::ns);
  }

  // Without changes, only removes reruns that are not needed.
  void change(Candidate& candidate, std::int64_t budget, std::int64_t changes, std::uint64_t seed,
              const Deadline& deadline) const {
    Schedule schedule = schedule_of(candidate);
    LocalSearch search = search_of(schedule, candidate, budget, seed, deadline);
    if (changes == 0) {
      search.tidy();
    } else {
      search.improve(changes);
    }
    take(schedule, candidate);
    if (program_.has_tier()) {
      candidate.loads = schedule.loads();
      candidate.ns = search.total();
    }
  }

  [[nodiscard]] Schedule schedule_of(const Candidate& candidate) const {
    Schedule schedule(replays_);
    for (const GroupRerun one : *candidate.reruns) schedule.add(one);
    for (const Load one : candidate.loads) schedule.add(one);
    return schedule;
  }
  static void take(const Schedule& schedule, Candidate& candidate) {
    candidate.reruns = schedule.reruns();
    candidate.ns = schedule.cost();
  }

  const graph::Trace& asked_;
  const graph::Trace held_;
  const graph::Trace& trace_;  // asked_ or held_
  Options options_;
  std::size_t threads_;
  Program program_;
  Replays replays_;
  Floor floor_;
  std::int64_t plain_ns_ = 0;
  std::int64_t plain_peak_ = 0;
  std::vector<Known> known_;
  std::optional<std::int64_t> smallest_;
};

}  // namespace

Solution solve(const graph::Trace& trace, const Options& options) {
  if (options.budget < Bytes(0)) {
    throw InvalidArgument("planner: a budget of " + std::to_string(options.budget.count()) +
                          " bytes; it must not be negative");
  }
  Solver solver(trace, options);
  std::optional<Solution> solution = solver.solve(options.budget.count());
  if (!solution) solver.refuse(options.budget.count());
  return std::move(*solution);
}

Solution solve_smallest(const graph::Trace& trace, const Options& options) {
  Solver solver(trace, options);
  const std::int64_t budget = solver.smallest();
  std::optional<Solution> solution = solver.solve(budget);
  if (!solution) solver.refuse(budget);
  return std::move(*solution);
}

Frontier frontier(const graph::Trace& trace, std::int64_t points, const Options& options) {
  if (points < 2) {
    throw InvalidArgument("planner: a frontier of " + std::to_string(points) +
                          " points; it takes 2 at least");
  }
  Solver solver(trace, options);
  Frontier result{Bytes(solver.head()), Bytes(solver.plain_peak()), Bytes(solver.floor().bytes),
                  solver.floor().op,    solver.plain_ns(),          {}};
  const std::int64_t low = solver.floor().bytes;
  const std::int64_t high = std::max(low, solver.plain_peak());
  for (std::int64_t i = 0; i < points; ++i) {
    const std::int64_t budget =
        low + (high - low) / (points - 1) * i + (i == points - 1 ? (high - low) % (points - 1) : 0);
    const std::optional<Solution> solution = solver.solve(budget);
    const std::int64_t bound =
        solution ? solution->bound_ns : recompute_bound(solver.replays(), budget);
    FrontierPoint point{Bytes(budget), {}, bound};
    if (bound == std::numeric_limits<std::int64_t>::max()) point.bound_ns.reset();
    if (solution) point.rerun_ns = solution->rerun_ns;
    result.points.push_back(point);
  }
  // What no plan of a larger budget avoids, no plan of a smaller one does either.
  for (std::size_t i = result.points.size() - 1; i-- > 0;) {
    std::optional<std::int64_t>& bound = result.points[i].bound_ns;
    if (bound) bound = std::max(bound, result.points[i + 1].bound_ns);
  }
  return result;
}

}  // namespace neap::planner
