// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "engine/engine.h"
#include "policy/dtr_eq.h"

#include <neap/checkpoint.h>

#include <exception>
#include <mutex>

namespace neap {
namespace {

engine::Engine& ready_engine() {
  engine::Engine& engine = engine::Engine::instance();
  static std::once_flag once;
  std::call_once(once, [&] { engine.set_policy(std::make_unique<policy::DtrEq>()); });
  return engine;
}

}  // namespace

Scope::Scope(const Options& options) : exceptions_(std::uncaught_exceptions()) {
  engine::Engine& engine = ready_engine();
  if (options.budget && options.budget->count() <= 0) {
    throw InvalidArgument("a budget of " + std::to_string(options.budget->count()) +
                          " bytes: expected more than 0; leave it out for no limit");
  }
  engine.open_scope(options.budget ? std::optional(options.budget->count()) : std::nullopt);
  open_ = true;
  base_ = engine.stats();
}

void Scope::end() { close(/*completed=*/true); }

void Scope::close(bool completed) {
  if (!open_) return;
  engine::Engine& engine = engine::Engine::instance();
  const Stats before = stats();
  engine.close_scope(completed);
  last_ = stats();
  last_.budget_bytes = before.budget_bytes;
  last_.pinned_bytes = before.pinned_bytes;
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
  now.bookkeeping_ns -= base_.bookkeeping_ns;
  return now;
}

const at::Tensor& pin(const at::Tensor& tensor) {
  ready_engine().pin(tensor);
  return tensor;
}

void unpin(const at::Tensor& tensor) { ready_engine().unpin(tensor); }

void interrupt() noexcept { engine::Engine::interrupt(); }

namespace detail {

// Inference mode saves nothing for a backward, so there is nothing to evict. And it puts the thread's dispatch keys
// back when it ends: storages evicted inside would not be brought back outside.
Region::Region() {
  if (c10::InferenceMode::is_enabled()) return;
  start_ = ready_engine().open_region();
  open_ = true;
}

Region::~Region() {
  if (open_) engine::Engine::instance().abandon_region();
}

void Region::keep(const at::Tensor& output) {
  if (open_) engine::Engine::instance().keep(output);
}

void Region::close() {
  if (!std::exchange(open_, false)) return;
  engine::Engine::instance().close_region(start_);
}

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
