// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "engine/room.h"

#include "engine/explain.h"
#include "engine/peak_watch.h"
#include "intercept/failed_backward.h"

#include <algorithm>
#include <exception>
#include <memory>

namespace neap::engine {
namespace {

template <class Work>
std::int64_t freed_by(Work work) {
  const std::int64_t before = memory::usage().live;
  work();
  return std::max<std::int64_t>(0, before - memory::usage().live);
}

}  // namespace

Room::Room(Session& session, Counts& counts, Recipes& recipes, const BlockCopies& copies,
           Store& store, Deaths& deaths, Retention& retention, const Regions& regions,
           const LayerNames& layers, RunLog& run_log)
    : session_(session),
      counts_(counts),
      copies_(copies),
      recipes_(recipes),
      store_(store),
      deaths_(deaths),
      retention_(retention),
      regions_(regions),
      layers_(layers),
      run_log_(run_log) {
  memory::set_reclaimer(this);
}

// Frees at least `bytes`, if possible. Returns the bytes freed. See Note [What is held].
std::int64_t Room::make(std::int64_t bytes) {
  std::int64_t freed = 0;
  while (freed < bytes) {
    // Plain LibTorch would hold the evicted storages, and not the retained ones.
    beyond_plain_ = beyond_plain_ || store_.away() + bytes - freed > store_.retained();
    if (!beyond_plain_) {
      const std::int64_t released = retention_.release_held();
      freed += released;
      if (released > 0) continue;
    }
    const Victim victim = session_.policy->choose(store_.evictable(), counts_.clock, copies_);
    if (victim.block == nullptr) break;
    const std::int64_t got = store_.evict(*victim.block, victim.copies);
    if (got == 0) store_.cannot_go(*victim.block);
    freed += got;
  }
  if (freed == 0) freed = store_.cancel_loads();
  if (session_.director) session_.director->fell_short(bytes, freed);
  return freed;
}

std::int64_t Room::reclaim(std::int64_t bytes) {
  if (session_.gate.owner_here()) return reclaim_here(bytes);
  return session_.gate.evict_for_another(bytes, [this](std::int64_t wanted) {
    const Reclaiming reclaiming(session_);
    return make(wanted);
  });
}

// In the order of what it costs: what is dead anyway; what can go; what is held for recipes; the
// rest of a step that failed.
std::int64_t Room::reclaim_here(std::int64_t bytes) {
  const Timed own(counts_, &Stats::bookkeeping_ns);
  const Busy busy(session_);
  const Gate::Eviction evicting(session_.gate);
  const Reclaiming reclaiming(session_);
  std::int64_t freed = 0;
  if (!session_.restoring && deaths_.is_waiting()) freed = freed_by([this] { deaths_.process(); });
  if (freed < bytes) freed += make(bytes - freed);
  if (freed == 0) freed = retention_.release_held();
  if (freed == 0 && !session_.restoring) freed = freed_by([this] { drop_failed_backward(); });
  return freed;
}

void Room::drop_failed_backward() noexcept {
  session_.failed = false;
  try {
    intercept::drop_failed_backward();
    deaths_.process();
  } catch (const std::exception&) {
    // LibTorch can refuse a backward here, for example in a child of fork(). Its next backward
    // frees the activations.
  }
}

bool Room::begin_wait() noexcept {
  return session_.gate.owner_here() && !session_.busy && session_.gate.begin_wait();
}

void Room::end_wait() noexcept { session_.gate.end_wait(); }

void Room::refuse(std::int64_t need, std::int64_t in_use, std::int64_t budget) {
  const bool here = session_.gate.owner_here();
  if (here && !session_.was_directed) run_log_.refused(budget);
  const Refusal refusal{need,
                        in_use,
                        budget,
                        here ? run_log_.smallest_feasible(budget) : 0,
                        here ? session_.running : nullptr,
                        here ? copies_.why_not() : std::string()};
  BudgetExceeded error(
      here ? text_of(refusal, recipes_.blocks()) : text_for_another_thread(refusal), Bytes(need),
      Bytes(in_use), Bytes(budget), Bytes(refusal.feasible));
  if (here) {
    error.saved =
        std::make_shared<SavedReport>(report_of(recipes_.blocks(), regions_.names(), layers_));
  }
  throw error;
}

}  // namespace neap::engine
