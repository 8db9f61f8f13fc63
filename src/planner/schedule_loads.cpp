// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The part of a schedule that knows the tier.
#include "planner/schedule.h"

#include <algorithm>
#include <iterator>

namespace neap::planner {
namespace {

std::size_t at(Index i) { return static_cast<std::size_t>(i); }

}  // namespace

std::vector<Index> Schedule::users_and_writers(Index storage) const {
  std::vector<Index> all;
  std::ranges::set_union(program_.users(storage), program_.writers(storage),
                         std::back_inserter(all));
  return all;
}

bool Schedule::may_load(Load load) const {
  return has_tier() && load.stage > 0 && replays_.may_load(load.storage, load.stage) &&
         moment_of(events(load.storage).front()) < load_moment(load.stage);
}

bool Schedule::has(Load load) const {
  return std::ranges::binary_search(loads_[at(load.stage)], load.storage);
}

void Schedule::add(Load load) {
  auto& stage = loads_[at(load.stage)];
  stage.insert(std::ranges::lower_bound(stage, load.storage), load.storage);
  add_make(load.storage, load_moment(load.stage));
  copy_cost_ += prices_[at(load.storage)];
  ++load_count_;
}

void Schedule::remove(Load load) {
  auto& stage = loads_[at(load.stage)];
  stage.erase(std::ranges::lower_bound(stage, load.storage));
  remove_make(load.storage, load_moment(load.stage));
  copy_cost_ -= prices_[at(load.storage)];
  --load_count_;
}

std::vector<Load> Schedule::loads() const {
  std::vector<Load> all;
  all.reserve(load_count_);
  if (load_count_ == 0) return all;
  for (Index stage = 0; stage < stages(); ++stage) {
    for (const Index storage : loads_[at(stage)]) all.push_back({storage, stage});
  }
  return all;
}

bool Schedule::serves(Load load) const { return !ends_at(load.storage, load_moment(load.stage)); }

void Schedule::set_copy_price(double price) {
  copy_cost_ = 0;
  for (Index storage = 0; storage < program_.storages(); ++storage) {
    const double bytes = static_cast<double>(program_.storage(storage).bytes);
    const double ns = 1e9 * bytes / static_cast<double>(program_.out_bytes_per_s()) +
                      1e9 * bytes / static_cast<double>(program_.in_bytes_per_s());
    prices_[at(storage)] = static_cast<std::int64_t>(std::min(price * ns, 1e15));
  }
  for (const Load one : loads()) copy_cost_ += prices_[at(one.storage)];
}

std::int64_t Schedule::stage_ns(Index stage) const {
  return (rerun_ns_.empty() ? 0 : rerun_ns_[at(stage)]) +
         (stage < program_.operators() ? program_.op(stage).ns : 0);
}

}  // namespace neap::planner
