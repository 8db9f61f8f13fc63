// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "autoplan/planned_steps.h"
#include "checkpoint/selection.h"
#include "engine/at_work.h"
#include "policy/ready_engine.h"

#include <neap/checkpoint.h>
#include <neap/scope.h>

#include <array>
#include <exception>
#include <optional>
#include <utility>

namespace neap {
namespace {

// Counts that only grow while the process runs. A scope's share of each is a difference.
constexpr std::array kCounters{
    &Stats::operators,         &Stats::replays,         &Stats::evictions,
    &Stats::evicted_bytes,     &Stats::replay_ns,       &Stats::operator_ns,
    &Stats::bookkeeping_ns,    &Stats::plan_hits,       &Stats::plan_misses,
    &Stats::planned_operators, &Stats::unplanned_bytes, &Stats::offloads,
    &Stats::offloaded_bytes,   &Stats::loads,           &Stats::loaded_bytes,
    &Stats::offload_wait_ns};

Stats stats_so_far() {
  Stats stats = engine::Engine::instance().stats();
  autoplan::PlannedSteps::instance().add_counts(stats);
  return stats;
}

}  // namespace

Scope::Scope(const Options& options) : exceptions_(std::uncaught_exceptions()) {
  engine::Engine& engine = policy::ready_engine();
  if (options.budget && options.budget->count() <= 0) {
    throw InvalidArgument("a budget of " + std::to_string(options.budget->count()) +
                          " bytes: expected more than 0; leave it out for no limit");
  }
  engine.open_scope(
      {.budget = options.budget ? std::optional(options.budget->count()) : std::nullopt,
       .offload = options.offload,
       .observe = options.observe,
       .verify = options.verify});
  open_ = true;
  try {
    begin(options);
  } catch (...) {
    engine.abandon_scope();
    throw;
  }
}

void Scope::begin(const Options& options) {
  engine::Engine& engine = engine::Engine::instance();
  const engine::AtWork work(engine);
  base_ = stats_so_far();
  plans_ = options.budget && engine.scopes() == 1;
  if (engine.scopes() == 1) detail::RuleNotes::instance().clear();
  if (!plans_) return;
  std::optional<autoplan::PlanSource> source;
  if (!options.policy.online()) source = {options.policy.plan(), options.policy.cache()};
  autoplan::PlannedSteps::instance().begin(source);
}

void Scope::end() { close(/*completed=*/true); }

void Scope::close(bool completed) {
  if (!open_) return;
  engine::Engine& engine = engine::Engine::instance();
  if (engine.scopes() == 0) {  // this is a child of fork(), where no scope is open
    open_ = false;
    return;
  }
  if (!engine.owner_here()) {
    throw ScopeConflict("a neap::Scope ends in the thread that opened it, and this is another one");
  }
  autoplan::PlannedSteps& plans = autoplan::PlannedSteps::instance();
  bool followed = false;
  Stats before;
  {
    const engine::AtWork work(engine);
    if (plans_) plans.end(completed);
    followed = plans_ && plans.follows();
    before = stats_so_far();
  }
  engine.close_scope(completed);
  if (followed) plans.count_hit();
  last_ = stats();
  last_.budget_bytes = before.budget_bytes;
  last_.pinned_bytes = before.pinned_bytes;
  last_.offload_peak_bytes = before.offload_peak_bytes;
  last_.predicted_peak_bytes = before.predicted_peak_bytes;
  last_.predicted_ns = before.predicted_ns;
  open_ = false;
}

void Scope::abandon() noexcept {
  try {
    close(/*completed=*/false);
  } catch (...) {
    lose();
  }
}

// Nothing can be brought back. In another thread than its own, the scope stays open.
void Scope::lose() noexcept {
  engine::Engine& engine = engine::Engine::instance();
  if (!engine.owner_here()) return;
  open_ = false;
  engine.abandon_scope();
}

Scope::~Scope() noexcept(false) {
  if (!open_) return;
  if (std::uncaught_exceptions() > exceptions_) {
    abandon();
    return;
  }
  try {
    end();
  } catch (...) {
    lose();
    throw;
  }
}

Stats Scope::stats() const {
  if (!open_) return last_;
  const engine::AtWork work(engine::Engine::instance());
  Stats now = stats_so_far();
  for (std::int64_t Stats::*const counter : kCounters) now.*counter -= base_.*counter;
  if (plans_) {
    const autoplan::PlannedSteps& plans = autoplan::PlannedSteps::instance();
    now.planning_ns = plans.planning_ns();
    now.plan_note = plans.note();
  }
  now.rule_note = detail::RuleNotes::instance().text();
  return now;
}

void finish_planning() { autoplan::PlannedSteps::instance().finish(); }

at::Tensor pin(const at::Tensor& tensor) {
  policy::ready_engine().pins().pin(tensor);
  return tensor;
}

void unpin(const at::Tensor& tensor) { policy::ready_engine().pins().unpin(tensor); }

void expose(const at::Tensor& tensor) { policy::ready_engine().exposures().expose(tensor); }
void watch(const at::Tensor& tensor) { policy::ready_engine().exposures().watch(tensor); }
void declare_addresses_exposed() { policy::ready_engine().share_program_time(); }

Pinned::Pinned(at::Tensor tensor)
    : tensor_(std::move(tensor)),
      storage_(tensor_.defined() && tensor_.has_storage() ? tensor_.storage() : at::Storage()),
      ticket_(policy::ready_engine().pins().pin(tensor_)) {}

Pinned::Pinned(Pinned&& other) noexcept
    : tensor_(std::move(other.tensor_)),
      storage_(std::move(other.storage_)),
      ticket_(std::exchange(other.ticket_, 0)) {}

Pinned::~Pinned() {
  if (ticket_ != 0) policy::ready_engine().pins().unpin(*storage_.unsafeGetStorageImpl(), ticket_);
}

SavedReport saved_report(const at::Tensor& loss) {
  if (!loss.defined() || !loss.requires_grad()) {
    throw InvalidArgument(
        "saved_report: the loss has no graph, so nothing is kept for its backward; call it after a "
        "forward with grad mode on, and before the backward");
  }
  return policy::ready_engine().saved_report();
}

void interrupt() noexcept { engine::Engine::interrupt(); }

namespace detail {

std::pair<std::int64_t, std::int64_t> segment_bounds(std::int64_t layers, std::int64_t segments,
                                                     std::int64_t index) {
  if (segments < 1 || segments > layers) {
    throw InvalidArgument("checkpoint_sequential: " + std::to_string(segments) + " segments of " +
                          std::to_string(layers) +
                          " layers: expected a number between 1 and the number of layers");
  }
  const std::int64_t shorter = layers / segments;
  const std::int64_t longer = layers % segments;  // number of segments with one more layer
  const std::int64_t begin = index * shorter + std::min(index, longer);
  return {begin, begin + shorter + (index < longer ? 1 : 0)};
}

}  // namespace detail
}  // namespace neap
