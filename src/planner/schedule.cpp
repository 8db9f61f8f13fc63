// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "planner/schedule.h"

#include <algorithm>
#include <stdexcept>

namespace neap::planner {
namespace {

constexpr std::int64_t made_at(Moment moment) { return moment * 2 + 1; }
constexpr std::int64_t used_at(Moment moment) { return moment * 2; }
constexpr Moment kHead = -1;

std::size_t at(Index i) { return static_cast<std::size_t>(i); }

}  // namespace

Schedule::Schedule(const Replays& replays)
    : replays_(replays),
      program_(replays.program()),
      width_(program_.operators() + 2),
      events_(at(program_.storages())),
      reruns_(at(stages())),
      freed_(at(stages())),
      own_(at(stages()), 0),
      most_extra_(at(program_.operators()), 0),
      tree_(at(stages()) + 1),
      is_touched_(at(stages()), false) {
  std::int64_t head = 0;
  for (Index storage = 0; storage < program_.storages(); ++storage) {
    const Program::Storage& one = program_.storage(storage);
    Events& events = events_[at(storage)];
    events.reserve(program_.users(storage).size() + 2);
    if (!one.given) {
      events.push_back(made_at(moment(one.maker, one.maker)));
    } else if (one.arrival == kNone) {
      events.push_back(made_at(kHead));
      head += one.bytes;
    } else {
      events.push_back(made_at(moment(one.arrival, program_.operators())));
    }
    // What is written once must be there too. Without a tier it is in any case.
    const auto users = one.given && has_tier() ? users_and_writers(storage) : std::vector<Index>{};
    for (const Index op : users.empty() ? program_.users(storage) : users) {
      events.push_back(used_at(moment(op, op)));
    }
    if (one.keep || (one.given && one.released == graph::kNever)) {
      events.push_back(used_at(moment(program_.operators(), program_.operators())));
    } else if (one.given && one.released != kNone) {
      const std::int64_t released = used_at(moment(one.released, one.released));
      // It may be released right after its arrival.
      if (released > events.back()) events.push_back(released);
    }
    enter(storage, moment_of(events.front()), moment_of(events.back()), 1);
  }
  tree_.add(0, 1, head);
  for (Index op = 0; op < program_.operators(); ++op) {
    std::int64_t arriving = 0;
    for (const Index storage : program_.arrivals(op)) arriving += program_.storage(storage).bytes;
    most_extra_[at(op)] = std::max(arriving, program_.op(op).workspace);
  }
  for (Index stage = 0; stage < stages(); ++stage) touch(moment(stage, 0));
  settle();
  if (!has_tier()) return;
  loads_.resize(at(stages()));
  prices_.resize(at(program_.storages()), 0);
  rerun_ns_.resize(at(stages()), 0);
}

bool Schedule::has(GroupRerun rerun) const {
  const auto& stage = reruns_[at(rerun.stage)];
  const auto ops = replays_.operators(rerun.group, rerun.stage);
  return !ops.empty() && std::ranges::binary_search(stage, ops.front());
}

std::vector<GroupRerun> Schedule::closure(GroupRerun rerun) const {
  std::vector<GroupRerun> all{rerun};
  std::vector<Index> needed;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (!replays_.may_rerun(all[i].group, all[i].stage)) return {};
    needed.clear();
    replays_.overwritten_needs(all[i].group, all[i].stage, needed);
    for (const Index group : needed) {
      const GroupRerun next{group, rerun.stage};
      if (!has(next) && std::ranges::find(all, next) == all.end()) all.push_back(next);
    }
  }
  return all;
}

bool Schedule::may_remove(GroupRerun rerun) const {
  for (const Index op : replays_.operators(rerun.group, rerun.stage)) {
    for (const graph::Content& one : program_.mutates(op)) {
      // A rerun in this stage that reads it before this write.
      for (const Index user : program_.users(one.storage)) {
        if (user >= op) break;
        if (replays_.group_of(user) != rerun.group &&
            std::ranges::binary_search(operators(rerun.stage), user)) {
          return false;
        }
      }
    }
  }
  return true;
}

void Schedule::add(GroupRerun rerun) {
  auto& stage = reruns_[at(rerun.stage)];
  auto& freed = freed_[at(rerun.stage)];
  for (const Index op : replays_.operators(rerun.group, rerun.stage)) {
    const Moment now = moment(rerun.stage, op);
    const auto place = stage.insert(std::ranges::lower_bound(stage, op), op);
    freed.insert(freed.begin() + (place - stage.begin()), 0);
    cost_ += program_.op(op).ns;
    if (!rerun_ns_.empty()) rerun_ns_[at(rerun.stage)] += program_.op(op).ns;
    for (const graph::Content& need : program_.needs(op)) add_use(need.storage, now);
    for (const Index storage : program_.makes(op)) add_make(storage, now);
    touch(now);
  }
  ++pairs_;
}

void Schedule::remove(GroupRerun rerun) {
  auto& stage = reruns_[at(rerun.stage)];
  auto& freed = freed_[at(rerun.stage)];
  for (const Index op : replays_.operators(rerun.group, rerun.stage)) {
    const Moment now = moment(rerun.stage, op);
    const auto place = stage.erase(std::ranges::lower_bound(stage, op));
    freed.erase(freed.begin() + (place - stage.begin()));
    cost_ -= program_.op(op).ns;
    if (!rerun_ns_.empty()) rerun_ns_[at(rerun.stage)] -= program_.op(op).ns;
    for (const graph::Content& need : program_.needs(op)) remove_use(need.storage, now);
    for (const Index storage : program_.makes(op)) remove_make(storage, now);
    touch(now);
  }
  --pairs_;
}

// Adds the storage to the stages after that of `from`, up to that of `to`: it lives when they
// begin.
void Schedule::enter(Index storage, Moment from, Moment to, std::int64_t sign) {
  tree_.add(at(stage_of(from) + 2), at(stage_of(to) + 2), sign * program_.storage(storage).bytes);
}

// The program's own operator is the last of its stage, so what ends with it does not affect the
// stage's peak.
void Schedule::count_end(Index storage, Moment moment, std::int64_t sign) {
  if (moment < 0) return;
  const Index stage = stage_of(moment);
  const auto& ops = reruns_[at(stage)];
  const auto op = static_cast<Index>(moment % width_);
  const auto place = std::ranges::lower_bound(ops, op);
  if (place == ops.end() || *place != op) return;
  freed_[at(stage)][static_cast<std::size_t>(place - ops.begin())] +=
      sign * program_.storage(storage).bytes;
}

void Schedule::touch(Moment moment) {
  if (moment < 0) return;
  const Index stage = stage_of(moment);
  if (is_touched_[at(stage)]) return;
  is_touched_[at(stage)] = true;
  touched_.push_back(stage);
}

void Schedule::add_use(Index storage, Moment moment) {
  Events& events = events_[at(storage)];
  const auto next = std::ranges::lower_bound(events, used_at(moment));
  // The new use is the last of its life.
  if (next == events.end() || is_make(*next)) {
    const Moment last = moment_of(*(next - 1));
    enter(storage, last, moment, 1);
    count_end(storage, last, -1);
    count_end(storage, moment, 1);
    touch(last);
  }
  events.insert(next, used_at(moment));
}

void Schedule::remove_use(Index storage, Moment moment) {
  Events& events = events_[at(storage)];
  const auto use = std::ranges::lower_bound(events, used_at(moment));
  if (use + 1 == events.end() || is_make(*(use + 1))) {
    const Moment last = moment_of(*(use - 1));
    enter(storage, last, moment, -1);
    count_end(storage, last, 1);
    touch(last);
  }
  events.erase(use);
}

// Splits a life that spans the moment.
void Schedule::add_make(Index storage, Moment moment) {
  Events& events = events_[at(storage)];
  const auto next = std::ranges::lower_bound(events, made_at(moment));
  const Moment before = moment_of(*(next - 1));
  if (next != events.end() && !is_make(*next)) {
    enter(storage, before, moment, -1);
    count_end(storage, before, 1);
    touch(before);
  } else {
    count_end(storage, moment, 1);
  }
  events.insert(next, made_at(moment));
}

void Schedule::remove_make(Index storage, Moment moment) {
  Events& events = events_[at(storage)];
  const auto make = std::ranges::lower_bound(events, made_at(moment));
  const auto next = make + 1;
  if (next != events.end() && !is_make(*next)) {
    const Moment before = moment_of(*(make - 1));
    enter(storage, before, moment, 1);
    count_end(storage, before, -1);
    touch(before);
  }
  events.erase(make);
}

bool Schedule::ends_at(Index storage, Moment moment) const {
  const Events& all = events(storage);
  const auto next = std::ranges::upper_bound(all, made_at(moment));
  return next == all.end() || is_make(*next);
}

bool Schedule::lives_at(Index storage, Moment moment) const {
  const Events& all = events(storage);
  // The first event after the moment; its predecessor is at the moment or earlier.
  const auto next = std::ranges::upper_bound(all, made_at(moment));
  if (next == all.begin()) return false;
  if (moment_of(*(next - 1)) == moment) return true;
  return next != all.end() && !is_make(*next);
}

Moment Schedule::event_before(Index storage, Moment moment) const {
  const Events& all = events(storage);
  return moment_of(*(std::ranges::lower_bound(all, used_at(moment)) - 1));
}

Schedule::Gap Schedule::gap(Index storage, Moment moment) const {
  const Events& all = events(storage);
  const auto next = std::ranges::lower_bound(all, used_at(moment));
  if (next == all.begin() || next == all.end() || is_make(*next) || moment_of(*next) == moment) {
    return {0, 0, false};
  }
  return {moment_of(*(next - 1)), moment_of(*next), true};
}

// Bytes in addition to those that live when the stage begins.
std::int64_t Schedule::own_peak(Index stage, Moment* where) const {
  std::int64_t now = 0;
  std::int64_t most = 0;
  const auto step = [&](Index op, std::int64_t extra) {
    now += program_.op(op).makes_bytes;
    if (now + extra > most || (where != nullptr && *where < 0)) {
      most = std::max(most, now + extra);
      if (where != nullptr) *where = moment(stage, op);
    }
  };
  const auto& ops = reruns_[at(stage)];
  const auto& freed = freed_[at(stage)];
  for (std::size_t i = 0; i < ops.size(); ++i) {
    step(ops[i], program_.op(ops[i]).workspace);
    now -= freed[i];
  }
  if (stage < program_.operators()) step(stage, most_extra_[at(stage)]);
  return most;
}

void Schedule::settle() {
  for (const Index stage : touched_) {
    is_touched_[at(stage)] = false;
    const std::int64_t own = own_peak(stage, nullptr);
    tree_.add(at(stage) + 1, at(stage) + 2, own - own_[at(stage)]);
    own_[at(stage)] = own;
  }
  touched_.clear();
}

std::int64_t Schedule::peak() {
  settle();
  return tree_.most();
}

Index Schedule::peak_stage() {
  settle();
  return static_cast<Index>(tree_.where()) - 1;
}

Moment Schedule::peak_moment(Index stage) const {
  if (stage == kNone) return kHead;
  Moment where = -1;
  (void)own_peak(stage, &where);
  return where < 0 ? moment(stage, program_.operators()) : where;
}

std::int64_t Schedule::stage_peak(Index stage) {
  settle();
  return tree_.at(at(stage + 1));
}

std::int64_t Schedule::peak_between(Index first, Index last) {
  settle();
  return tree_.most(at(first + 1), at(last + 1));
}

void Schedule::stage_peaks(std::vector<std::int64_t>& peaks) {
  settle();
  tree_.all(peaks);
  peaks.erase(peaks.begin());  // the head
  peaks.resize(at(stages()));
}

std::vector<GroupRerun> Schedule::reruns() const {
  std::vector<GroupRerun> all;
  all.reserve(pairs_);
  for (Index stage = 0; stage < stages(); ++stage) {
    for (const Index op : reruns_[at(stage)]) {
      const Index group = replays_.group_of(op);
      if (replays_.operators(group, stage).front() == op) all.push_back({group, stage});
    }
  }
  return all;
}

void Schedule::validate() {
  settle();
  for (Index stage = 0; stage < stages(); ++stage) {
    std::vector<std::int64_t> freed;
    for (const Index op : reruns_[at(stage)]) {
      std::int64_t& bytes = freed.emplace_back(0);
      const auto count = [&](Index storage) {
        if (ends_at(storage, moment(stage, op))) bytes += program_.storage(storage).bytes;
      };
      for (const graph::Content& need : program_.needs(op)) count(need.storage);
      for (const Index storage : program_.makes(op)) count(storage);
    }
    if (freed != freed_[at(stage)]) {
      throw std::logic_error("planner: what the reruns of stage " + std::to_string(stage) +
                             " free is not what ends with them");
    }
  }
  Schedule fresh(replays_);
  for (const GroupRerun rerun : reruns()) fresh.add(rerun);
  fresh.prices_ = prices_;
  for (const Load load : loads()) fresh.add(load);
  fresh.settle();
  if (fresh.cost() != cost() || fresh.pairs_ != pairs_ || fresh.rerun_ns_ != rerun_ns_ ||
      fresh.load_count_ != load_count_) {
    throw std::logic_error("planner: a schedule's cost does not follow from its reruns");
  }
  for (Index stage = kNone; stage < stages(); ++stage) {
    if (fresh.stage_peak(stage) != stage_peak(stage)) {
      throw std::logic_error("planner: the peak of stage " + std::to_string(stage) +
                             " does not follow from the reruns");
    }
  }
}

}  // namespace neap::planner
