// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "checkpoint/planned_steps.h"
#include "checkpoint/ready_engine.h"
#include "checkpoint/selection.h"

#include <neap/checkpoint.h>

#include <exception>

namespace neap {
Scope::Scope(const Options& options) : exceptions_(std::uncaught_exceptions()) {
  engine::Engine& engine = checkpointing::ready_engine();
  if (options.budget && options.budget->count() <= 0) {
    throw InvalidArgument("a budget of " + std::to_string(options.budget->count()) +
                          " bytes: expected more than 0; leave it out for no limit");
  }
  engine.open_scope(options.budget ? std::optional(options.budget->count()) : std::nullopt,
                    options.observe);
  open_ = true;
  base_ = engine.stats();
  plans_ = options.budget && engine.scopes() == 1;
  if (engine.scopes() == 1) detail::RuleNotes::instance().clear();
  if (!plans_) return;
  try {
    checkpointing::PlannedSteps::instance().begin(options);
  } catch (...) {
    engine.abandon_scope();
    throw;
  }
}

void Scope::end() { close(/*completed=*/true); }

void Scope::close(bool completed) {
  if (!open_) return;
  engine::Engine& engine = engine::Engine::instance();
  if (plans_) checkpointing::PlannedSteps::instance().end(completed);
  const Stats before = stats();
  engine.close_scope(completed);
  last_ = stats();
  last_.budget_bytes = before.budget_bytes;
  last_.pinned_bytes = before.pinned_bytes;
  last_.predicted_peak_bytes = before.predicted_peak_bytes;
  last_.predicted_ns = before.predicted_ns;
  open_ = false;
}

Scope::~Scope() noexcept(false) {
  if (!open_) return;
  if (std::uncaught_exceptions() > exceptions_) {
    try {
      close(/*completed=*/false);
    } catch (...) {
      // Another exception is under way: what does not fit stays evicted, and throws when it is accessed.
      open_ = false;
      engine::Engine::instance().abandon_scope();
    }
    return;
  }
  try {
    end();
  } catch (...) {
    open_ = false;
    engine::Engine::instance().abandon_scope();
    throw;
  }
}

Stats Scope::stats() const {
  if (!open_) return last_;
  Stats now = engine::Engine::instance().stats();
  now.operators -= base_.operators;
  now.replays -= base_.replays;
  now.evictions -= base_.evictions;
  now.evicted_bytes -= base_.evicted_bytes;
  now.replay_ns -= base_.replay_ns;
  now.operator_ns -= base_.operator_ns;
  now.plan_hits -= base_.plan_hits;
  now.plan_misses -= base_.plan_misses;
  now.planned_operators -= base_.planned_operators;
  now.unplanned_bytes -= base_.unplanned_bytes;
  if (plans_) {
    now.planning_ns = checkpointing::PlannedSteps::instance().planning_ns();
    now.plan_note = checkpointing::PlannedSteps::instance().note();
  }
  now.bookkeeping_ns -= base_.bookkeeping_ns;
  now.rule_note = detail::RuleNotes::instance().text();
  return now;
}

void finish_planning() { checkpointing::PlannedSteps::instance().finish(); }

const at::Tensor& pin(const at::Tensor& tensor) {
  checkpointing::ready_engine().pin(tensor);
  return tensor;
}

void unpin(const at::Tensor& tensor) { checkpointing::ready_engine().unpin(tensor); }

SavedReport saved_report(const at::Tensor& loss) {
  if (!loss.defined() || !loss.requires_grad()) {
    throw InvalidArgument(
        "saved_report: the loss has no graph, so nothing is kept for its backward; call it after a "
        "forward with grad "
        "mode on, and before the backward");
  }
  return checkpointing::ready_engine().saved_report();
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
  const std::int64_t longer = layers % segments;  // so many segments have one layer more
  const std::int64_t begin = index * shorter + std::min(index, longer);
  return {begin, begin + shorter + (index < longer ? 1 : 0)};
}

}  // namespace detail
}  // namespace neap
