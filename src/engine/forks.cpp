// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/forks.cpp: the engine in a child of fork(), such as a worker of a data loader. The child
// has one thread, which has no part in the step: no scope is open there, and there is no budget.
// What was evicted is lost there, and access to it throws.
#include "engine/engine.h"

#include <pthread.h>

#include <mutex>
#include <utility>

namespace neap::engine {
namespace {

// Of the thread that forks. They are moved out before they unlock, so that the next thread that
// forks finds them free.
std::unique_lock<std::mutex> owner_lock;
std::unique_lock<std::mutex> deaths_lock;

void unlock() {
  const auto owner = std::move(owner_lock);
  const auto deaths = std::move(deaths_lock);
}

}  // namespace

// The locks are taken in the order in which the engine takes them.
void Engine::prepare_for_forks() {
  memory::prepare_for_forks();
  ::pthread_atfork(
      [] {
        // No other thread evicts while this one forks.
        if (!instance().session_.busy) instance().session_.gate.begin_work();
        owner_lock = instance().session_.gate.lock_owner();
        deaths_lock = instance().deaths_.lock();
      },
      [] {
        unlock();
        if (!instance().session_.busy) instance().session_.gate.end_work();
      },
      [] {
        unlock();
        instance().forked();
      });
}

void Engine::forked() noexcept {
  copies_.abandon_in_child();
  if (!session_.gate.has_owner()) return;
  session_.observer = nullptr;
  if (owner_here() && !session_.busy) {
    for (Block* const block : recipes_.blocks()) {  // copies and their threads are the parent's
      block->copy = nullptr;
      block->arriving = nullptr;
    }
    while (!regions_.empty()) regions_.abandon();
    session_.scopes = 1;
    abandon_scope();
    if (!session_.gate.has_owner()) return;
  }
  // Another thread was at work, and its records may be half written. Nobody touches them any more.
  torn_by_fork_ = true;
  session_.scopes = 0;
  if (session_.budget) memory::set_budget(std::nullopt);
  session_.gate.forked();
  intercept::set_handler(nullptr);
  intercept::include(false);
}

}  // namespace neap::engine
