// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/engine.cpp: the way of one operator through the engine. Engine::run has the steps.
// Hot: called once per operator. bench/micro.cpp measures it.
#include "engine/engine.h"

#include "base/stable_hash.h"
#include "engine/operator_time.h"
#include "engine/peak_watch.h"
#include "memory/refusal.h"

#include <optional>

namespace neap::engine {

static_assert(std::atomic<bool>::is_always_lock_free);  // a signal handler interrupts

Engine& Engine::instance() {
  static auto* const engine = new Engine;  // leaked, because deleters run after static destruction
  return *engine;
}

Engine::Engine()
    : deaths_(session_),
      copies_(counts_),
      store_(session_, counts_, recipes_, deaths_.unseen(), copies_, &Deaths::of_evicted),
      replayer_(session_, counts_, recipes_, store_, states_),
      retention_(session_, recipes_, store_, replayer_),
      regions_(session_, store_, replayer_, layers_, run_log_),
      tracker_(session_, counts_, recipes_, store_, deaths_, retention_, regions_, layers_,
               run_log_),
      known_state_(recipes_, store_, tracker_),
      pins_(session_, recipes_, store_, tracker_, replayer_),
      exposures_(session_, recipes_, store_, deaths_, tracker_, retention_, replayer_),
      scanner_(session_, store_, tracker_),
      recorder_(session_, counts_, recipes_, store_, tracker_, regions_, layers_, states_),
      directing_(session_, recipes_, copies_, store_, tracker_, retention_, replayer_),
      room_(session_, counts_, recipes_, copies_, store_, deaths_, retention_, regions_, layers_,
            run_log_) {
  recipes_.set_owner(this);
  prepare_for_forks();
}

void Engine::call(const c10::OperatorHandle& op, c10::DispatchKeySet keys,
                  torch::jit::Stack* stack) {
  const intercept::OperatorTraits& traits = intercept::traits_of(op);
  if (traits.decompose) return intercept::decompose(op, keys, stack);
  if (!owner_here()) return intercept::redispatch(op, keys, stack);
  try {
    if (interrupted_.load(std::memory_order_relaxed) && session_.scopes > 0) {
      interrupted_.store(false);
      throw Interrupted();
    }
    run(traits, op, keys, stack);
  } catch (...) {
    session_.failed = true;
    translate_error_();
  }
  if (session_.scopes == 0 && store_.evicted() == 0) detach_if_idle();
}

void Engine::run(const intercept::OperatorTraits& traits, const c10::OperatorHandle& op,
                 c10::DispatchKeySet keys, torch::jit::Stack* stack) {
  ++counts_.stats.operators;
  OperatorTime time(counts_, session_.observer != nullptr);
  const Busy busy(session_);
  device::tracked().join_streams();
  room_.serve_others();
  deaths_.process();
  Call call(traits, stack);
  Locks locks(recipes_);
  scanner_.scan(call);
  extend_run_log(call);
  exposures_.before_operator(call);
  if (!traits.view) restore_operands(call, locks);
  protect_overwritten(call);
  recorder_.encode(call);
  time.kernel_begins(call);
  run_kernel(call, op, keys);
  time.kernel_ended(call);
  recorder_.record(call);
  tracker_.operator_ended(call.grad_mode);
  locks.release();
  deaths_.process();
  if (!traits.view) directing_.after_operator();
  time.operator_ended();
}

// Extends the run's hash by this operator: see RunLog and Note [Directors].
void Engine::extend_run_log(Call& call) {
  words_.clear();
  for (const Operand& operand : call.operands) {
    const c10::IntArrayRef sizes = operand.tensor->sizes();
    words_.push_back(static_cast<std::int64_t>(c10::typeMetaToScalarType(operand.tensor->dtype())));
    words_.push_back(static_cast<std::int64_t>(sizes.size()));
    words_.insert(words_.end(), sizes.begin(), sizes.end());
  }
  call.signature =
      stable_hash(words_.data(), words_.size() * sizeof(words_[0]), call.traits.name_hash);
  if (call.traits.view) return;  // not hashed, because equal steps may use different views
  if (session_.scopes == 0) return session_.stop_director();
  words_.clear();
  for (const Operand& operand : call.operands) {
    words_.push_back(operand.block != nullptr ? operand.block->scope_number : kNoNumber);
  }
  const std::optional<std::uint64_t> so_far =
      run_log_.call(stable_hash(words_.data(), words_.size() * sizeof(words_[0]), call.signature));
  if (!so_far) return session_.stop_director();
  if (session_.director && !session_.director->foresees(*so_far, &call.traits)) {
    session_.stop_director();
  }
}

void Engine::restore_operands(const Call& call, Locks& locks) {
  c10::SmallVector<Block*, 8> absent;
  for (const Operand& operand : call.operands) {
    if (operand.block == nullptr) continue;
    locks.add(*operand.block);
    if (operand.use == Use::Unread) continue;
    operand.block->last_use = counts_.clock;
    if (operand.block->residence == Residence::Evicted) absent.push_back(operand.block);
  }
  directing_.before_operator(absent);
}

void Engine::protect_overwritten(const Call& call) {
  for (const auto& written : {std::span(call.writes), std::span(call.once_writes)}) {
    for (Block* const block : written) {
      retention_.before_write(*block);
      store_.drop_copy(*block);
    }
  }
}

void Engine::run_kernel(Call& call, const c10::OperatorHandle& op, c10::DispatchKeySet keys) {
  const intercept::OperatorTraits* const outer = session_.running;
  session_.running = &call.traits;
  try {
    // Declared first, so that it is destroyed after `kernel`, when no other thread can evict.
    std::optional<PeakWatch> watch;
    if (session_.observer != nullptr) watch.emplace(session_, store_, call);
    const Gate::Kernel kernel(session_.gate);
    intercept::redispatch(op, keys, call.stack);
  } catch (...) {
    session_.running = outer;
    recorder_.failed(call);
    memory::rethrow_refusal();
  }
  session_.running = outer;
}

}  // namespace neap::engine
