// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "planner/transfers.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace neap::planner {
namespace {

using graph::Step;

std::size_t at(Index i) { return static_cast<std::size_t>(i); }

// A copy that would take longer is not made: the sum of all stays below 2^63.
constexpr std::int64_t kLongestCopy = std::int64_t{1} << 40;

}  // namespace

Transfers::Transfers(const Program& program, std::int64_t limit)
    : program_(program), limit_(limit), seen_(at(program.storages()), false) {
  out_ns_.reserve(seen_.size());
  in_ns_.reserve(seen_.size());
  for (Index storage = 0; storage < program.storages(); ++storage) {
    const std::int64_t bytes = program.storage(storage).bytes;
    const auto ns = [&](std::int64_t bandwidth) {
      return std::min(graph::copy_ns(bytes, bandwidth).value_or(kLongestCopy), kLongestCopy);
    };
    out_ns_.push_back(ns(program.out_bytes_per_s()));
    in_ns_.push_back(ns(program.in_bytes_per_s()));
  }
}

void Transfers::place(Schedule& schedule, std::int64_t budget) {
  schedule_ = &schedule;
  places_.clear();
  waited_ = most_offloaded_ = 0;
  gather();
  if (gaps_.empty()) return;
  const Index stages = schedule.stages();
  schedule.stage_peaks(room_);
  for (std::int64_t& bytes : room_) bytes = std::max<std::int64_t>(budget - bytes, 0);
  begins_.assign(at(stages) + 1, 0);
  for (Index stage = 0; stage < stages; ++stage) {
    begins_[at(stage) + 1] = begins_[at(stage)] + schedule.stage_ns(stage);
  }
  prefetch();
  follow();
  waited_ = now_ - begins_.back();
  count_offloaded();
  if (most_offloaded_ > limit_) waited_ = kTooMuch;
}

bool Transfers::is_gap(Index storage, Moment moment) const {
  return std::ranges::binary_search(gap_begins_, std::pair(storage, moment));
}

// ---------------------------------------------------------------- gaps and contents

void Transfers::gather() {
  contents_.clear();
  gaps_.clear();
  gap_begins_.clear();
  if (schedule_->load_count() == 0) return;
  std::vector<Index> storages;
  for (Index stage = 0; stage < schedule_->stages(); ++stage) {
    for (const Index storage : schedule_->loaded(stage)) {
      if (seen_[at(storage)]) continue;
      seen_[at(storage)] = true;
      storages.push_back(storage);
    }
  }
  for (const Index storage : storages) {
    seen_[at(storage)] = false;
    gather(storage);
  }
  std::ranges::sort(gap_begins_);
  std::ranges::sort(gaps_, {}, [&](const Gap& gap) {
    return std::pair(gap.use, contents_[gap.content].storage);
  });
}

void Transfers::gather(Index storage) {
  const auto writers = program_.writers(storage);
  const Schedule::Events& events = schedule_->events(storage);
  constexpr std::size_t kNoContent = static_cast<std::size_t>(-1);
  std::size_t content = kNoContent;  // that the tier has
  Moment there = 0;                  // since when the content is resident
  Moment last = 0;                   // the event before
  for (std::size_t i = 0; i < events.size(); ++i) {
    const Moment now = Schedule::moment_of(events[i]);
    if (!Schedule::is_make(events[i])) {
      if (std::ranges::binary_search(writers, schedule_->operator_of(now))) {
        content = kNoContent;
        there = now;
      }
    } else if (i > 0 && schedule_->is_load_moment(now)) {
      // A load that serves nothing is none.
      if (i + 1 == events.size() || Schedule::is_make(events[i + 1])) continue;
      if (content == kNoContent) {
        content = contents_.size();
        contents_.push_back({storage, schedule_->stage_of(there) + 1, last});
      }
      ++contents_[content].loads;
      gaps_.push_back({content, last, use_of(storage, i + 1), schedule_->stage_of(now) + 1});
      gap_begins_.emplace_back(storage, last);
      there = now;
    } else {
      there = now;
    }
    last = now;
  }
}

// The first event from this one on that something waits for. A release is none; but what ends with
// it is waited for when it goes, behind the operator.
Moment Transfers::use_of(Index storage, std::size_t event) const {
  const Schedule::Events& events = schedule_->events(storage);
  for (;; ++event) {
    const Moment now = Schedule::moment_of(events[event]);
    const Index stage = schedule_->stage_of(now);
    const Index op = schedule_->operator_of(now);
    if (op != stage || op == program_.operators() ||
        std::ranges::binary_search(program_.users(storage), op) ||
        std::ranges::binary_search(program_.writers(storage), op)) {
      return now;
    }
    if (event + 1 == events.size() || Schedule::is_make(events[event + 1])) {
      return schedule_->moment(stage, program_.operators());
    }
  }
}

// ---------------------------------------------------------------- loads ahead of their uses

// When the operator of the moment begins, when nothing waits.
std::int64_t Transfers::begin_of(Moment use) const {
  const Index stage = schedule_->stage_of(use);
  const Index op = schedule_->operator_of(use);
  std::int64_t ns = begins_[at(stage)];
  for (const Index rerun : schedule_->operators(stage)) {
    if (rerun >= op) break;
    ns += program_.op(rerun).ns;
  }
  return ns;
}

void Transfers::prefetch() {
  std::int64_t next = std::numeric_limits<std::int64_t>::max();  // when the queue has to be free
  // Where copies take longer than the step, every load would begin as early as it can. Most of that
  // room is of no use, and looking for it would take longer than linear.
  constexpr std::int64_t kMovesOfAStage = 32;
  std::int64_t moves = kMovesOfAStage * schedule_->stages();
  for (std::size_t i = gaps_.size(); i-- > 0;) {
    Gap& gap = gaps_[i];
    const std::int64_t bytes = bytes_of(gap);
    const std::int64_t ideal =
        std::min(begin_of(gap.use), next) - in_ns_[at(contents_[gap.content].storage)];
    const Index first = schedule_->stage_of(gap.begins) + 2;
    while (gap.stage > first && begins_[at(gap.stage)] > ideal &&
           room_[at(gap.stage) - 1] >= bytes && moves-- > 0) {
      --gap.stage;
      room_[at(gap.stage)] -= bytes;
    }
    next = std::max(ideal, begins_[at(gap.stage)]);
  }
}

// ---------------------------------------------------------------- the step in its order

void Transfers::follow() {
  const auto sorted = [](std::vector<std::size_t>& order, std::size_t count, auto key) {
    order.resize(count);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::ranges::sort(order, {}, [&](std::size_t i) { return std::pair(key(i), i); });
  };
  sorted(by_begin_, gaps_.size(), [&](std::size_t i) { return gaps_[i].begins; });
  sorted(by_load_, gaps_.size(), [&](std::size_t i) { return gaps_[i].stage; });
  sorted(by_content_, contents_.size(), [&](std::size_t i) { return contents_[i].from; });
  next_begin_ = next_load_ = next_use_ = next_content_ = 0;
  open_.clear();
  held_.clear();
  held_bytes_ = in_tier_ = 0;
  now_ = out_free_ = in_free_ = 0;
  for (Index stage = 0; stage < schedule_->stages(); ++stage) {
    begin_stage(stage);
    run_stage(stage);
  }
}

void Transfers::begin_stage(Index stage) {
  const Moment begin = schedule_->moment(stage, 0);
  while (next_begin_ < by_begin_.size() && gaps_[by_begin_[next_begin_]].begins < begin) {
    start_gap(by_begin_[next_begin_++], stage, kNone);
  }
  if (!held_.empty()) free_copied(stage);
  while (next_load_ < by_load_.size() && gaps_[by_load_[next_load_]].stage == stage) {
    load(by_load_[next_load_++], stage);
  }
  while (next_content_ < by_content_.size() &&
         contents_[by_content_[next_content_]].from == stage) {
    open_.push_back(by_content_[next_content_++]);
    std::ranges::push_heap(open_, std::ranges::greater{},
                           [&](std::size_t i) { return contents_[i].until; });
  }
  if (!open_.empty()) begin_copies(stage);
}

// The memory of the gap goes when its copy has ended, here or later.
void Transfers::start_gap(std::size_t gap, Index stage, Index after) {
  Content& content = contents_[gaps_[gap].content];
  if (!content.begun) offload(gaps_[gap].content, stage, after);
  const std::int64_t bytes = bytes_of(gaps_[gap]);
  // Behind a rerun, the rest of the stage counts without it. At the beginning of a stage,
  // free_copied() makes room.
  if (content.copied <= now_ || (after != kNone && held_bytes_ + bytes > room_[at(stage)])) {
    free(gap, stage, after);
    return;
  }
  held_.insert(
      std::ranges::upper_bound(held_, content.copied, {},
                               [&](std::size_t i) { return contents_[gaps_[i].content].copied; }),
      gap);
  held_bytes_ += bytes;
}

// Frees what is copied by now, and waits for more as long as the stage has no room for the rest.
void Transfers::free_copied(Index stage) {
  const auto copied = [&](std::size_t gap) { return contents_[gaps_[gap].content].copied; };
  std::size_t count = 0;
  while (count < held_.size() && (copied(held_[count]) <= now_ || held_bytes_ > room_[at(stage)])) {
    held_bytes_ -= bytes_of(gaps_[held_[count]]);
    free(held_[count++], stage, kNone);
  }
  held_.erase(held_.begin(), held_.begin() + static_cast<std::ptrdiff_t>(count));
}

void Transfers::free(std::size_t gap, Index stage, Index after) {
  const Content& content = contents_[gaps_[gap].content];
  now_ = std::max(now_, content.copied);
  gaps_[gap].freed = true;
  places_.push_back({stage, after, {Step::Action::Free, program_.storage(content.storage).id}});
}

void Transfers::load(std::size_t gap, Index stage) {
  Gap& one = gaps_[gap];
  Content& content = contents_[one.content];
  if (!one.freed) {
    std::erase(held_, gap);
    held_bytes_ -= bytes_of(one);
    free(gap, stage, kNone);
  }
  one.ready = std::max({now_, in_free_, content.copied}) + in_ns_[at(content.storage)];
  in_free_ = one.ready;
  content.last = static_cast<std::int64_t>(places_.size());
  if (--content.loads == 0) in_tier_ -= program_.storage(content.storage).bytes;
  places_.push_back({stage, kNone, {Step::Action::Load, program_.storage(content.storage).id}});
}

// Keeps the queue out busy until the stage ends.
void Transfers::begin_copies(Index stage) {
  const std::int64_t until = now_ + schedule_->stage_ns(stage);
  const auto later = [&](std::size_t i) { return contents_[i].until; };
  while (!open_.empty() && std::max(out_free_, now_) < until) {
    const std::size_t first = open_.front();
    const bool begun = contents_[first].begun;
    if (!begun && limit_ != kNoLimit &&
        in_tier_ > limit_ - program_.storage(contents_[first].storage).bytes) {
      return;
    }
    std::ranges::pop_heap(open_, std::ranges::greater{}, later);
    open_.pop_back();
    if (!begun) offload(first, stage, kNone);
  }
}

void Transfers::offload(std::size_t number, Index stage, Index after) {
  Content& content = contents_[number];
  content.begun = true;
  content.copied = std::max(now_, out_free_) + out_ns_[at(content.storage)];
  out_free_ = content.copied;
  content.first = static_cast<std::int64_t>(places_.size());
  in_tier_ += program_.storage(content.storage).bytes;
  places_.push_back({stage, after, {Step::Action::Offload, program_.storage(content.storage).id}});
}

void Transfers::run_stage(Index stage) {
  const Moment end = schedule_->moment(stage + 1, 0);
  const bool waits = next_use_ < gaps_.size() && gaps_[next_use_].use < end;
  const bool frees = next_begin_ < by_begin_.size() &&
                     gaps_[by_begin_[next_begin_]].begins < schedule_->moment(stage, stage);
  if (!waits && !frees) {
    now_ += schedule_->stage_ns(stage);
    return;
  }
  for (const Index op : schedule_->operators(stage)) {
    const Moment now = schedule_->moment(stage, op);
    wait_for(now);
    now_ += program_.op(op).ns;
    while (next_begin_ < by_begin_.size() && gaps_[by_begin_[next_begin_]].begins == now) {
      start_gap(by_begin_[next_begin_++], stage, op);
    }
  }
  if (stage < program_.operators()) {
    wait_for(schedule_->moment(stage, stage));
    now_ += program_.op(stage).ns;
  }
  wait_for(schedule_->moment(stage, program_.operators()));
}

// Until all that is used up to the moment has arrived.
void Transfers::wait_for(Moment use) {
  while (next_use_ < gaps_.size() && gaps_[next_use_].use <= use) {
    now_ = std::max(now_, gaps_[next_use_++].ready);
  }
}

void Transfers::count_offloaded() {
  std::vector<std::int64_t> change(places_.size() + 1, 0);
  for (const Content& one : contents_) {
    const std::int64_t bytes = program_.storage(one.storage).bytes;
    change[static_cast<std::size_t>(one.first)] += bytes;
    change[static_cast<std::size_t>(one.last) + 1] -= bytes;
  }
  std::int64_t bytes = 0;
  for (const std::int64_t one : change) most_offloaded_ = std::max(most_offloaded_, bytes += one);
}

}  // namespace neap::planner
