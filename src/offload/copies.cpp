// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "offload/copies.h"

#include "offload/copy_queues.h"

#include <neap/base.h>
#include <neap/machine.h>

#include <list>
#include <mutex>
#include <new>
#include <utility>

namespace neap::offload {

Copies::Copies(std::unique_ptr<Tier> tier, std::int64_t limit)
    : state_(std::make_unique<State>(std::move(tier), limit)) {}

Copies::~Copies() = default;

Copy* Copies::begin(const void* from, std::int64_t bytes) {
  State& s = *state_;
  const auto refuse = [&](State::Refusal why) {
    s.refusal = why;
    s.refused_bytes = bytes;
    return nullptr;
  };
  {
    const std::lock_guard lock(s.mutex);
    if (!s.may_write()) return refuse(State::Refusal::Failing);
  }
  std::list<Copy> made;
  Extents::Place room;
  try {
    made.emplace_back();
    if (!s.extents.take(bytes, room)) return refuse(State::Refusal::NoRoom);
  } catch (const std::bad_alloc&) {
    return refuse(State::Refusal::NoMemory);
  }
  Copy& copy = made.front();
  copy.from = from;
  copy.bytes = bytes;
  copy.room = room;
  copy.place = made.begin();
  s.refusal = State::Refusal::None;
  {
    const std::lock_guard lock(s.mutex);
    s.to_write.splice(s.to_write.end(), made);
  }
  s.start(s.writer, "neap-copy-out", s.to_write, s.to_write_changed);
  s.to_write_changed.notify_one();
  return &copy;
}

bool Copies::has_room(std::int64_t bytes) const noexcept {
  {
    const std::lock_guard lock(state_->mutex);
    if (!state_->may_write()) return false;
  }
  return state_->extents.fits(bytes);
}

bool Copies::wait_written(Copy& copy) noexcept {
  std::unique_lock lock(state_->mutex);
  if (copy.status == Copy::Status::ToWrite || copy.status == Copy::Status::Writing) {
    state_->finish(copy, lock);
  }
  return copy.failure != Copy::Failure::Write;
}

bool Copies::is_written(const Copy& copy) const noexcept {
  const std::lock_guard lock(state_->mutex);
  return copy.status != Copy::Status::ToWrite && copy.status != Copy::Status::Writing;
}

void Copies::load(Copy& copy, void* to) {
  if (!wait_written(copy)) return;  // wait_loaded() says so
  State& s = *state_;
  {
    const std::lock_guard lock(s.mutex);
    if (copy.status == Copy::Status::Failed) return;  // an earlier load has failed
    copy.to = to;
    copy.status = Copy::Status::ToRead;
    s.to_read.splice(s.to_read.end(), s.others, copy.place);
  }
  s.start(s.reader, "neap-copy-in", s.to_read, s.to_read_changed);
  s.to_read_changed.notify_one();
}

bool Copies::wait_loaded(Copy& copy) noexcept {
  std::unique_lock lock(state_->mutex);
  state_->finish(copy, lock);
  if (copy.status == Copy::Status::Written) return true;
  state_->explain_loss(copy);
  return false;
}

bool Copies::is_same(const Copy& copy, const void* data) const {
  return state_->device.hash_of(data, static_cast<std::size_t>(copy.bytes)) == copy.hash;
}

void Copies::drop(Copy& copy) noexcept {
  State& s = *state_;
  std::list<Copy> dropped;
  {
    std::unique_lock lock(s.mutex);
    if (copy.status == Copy::Status::ToWrite) {
      dropped.splice(dropped.end(), s.to_write, copy.place);
    } else if (copy.status == Copy::Status::ToRead) {
      dropped.splice(dropped.end(), s.to_read, copy.place);
    } else {
      s.finish(copy, lock);
      dropped.splice(dropped.end(), s.others, copy.place);
    }
    // What it held can be written again, so a full disk has room.
    if (copy.status == Copy::Status::Written || copy.status == Copy::Status::ToRead) {
      s.is_full = false;
    }
  }
  if (copy.status == Copy::Status::Failed) {
    s.extents.give_released(copy.room);
  } else {
    s.extents.give(copy.room);
  }
}

std::int64_t Copies::in_use() const noexcept { return state_->extents.in_use(); }
std::int64_t Copies::peak() const noexcept { return state_->extents.peak(); }
void Copies::reset_peak() noexcept { state_->extents.reset_peak(); }
std::int64_t Copies::limit() const noexcept { return state_->extents.limit(); }

std::string Copies::why_not() const {
  const State& s = *state_;
  const std::string& name = s.tier->name();
  if (s.refusal == State::Refusal::NoMemory) {
    return name + ": there is no memory for the record of a copy; end other programs";
  }
  const std::lock_guard lock(state_->mutex);
  // Whoever looks at has_room() first asks for no copy that is then refused.
  if (s.refusal == State::Refusal::NoRoom || s.last_error == 0) {
    std::string text = name + " is full: " + Bytes(in_use()).text() + " of " +
                       Bytes(limit()).text() + " are in use";
    if (s.refusal == State::Refusal::NoRoom) {
      text += ", and a copy of " + Bytes(s.refused_bytes).text() + " does not fit";
    }
    return text + "; raise the limit of what is offloaded";
  }
  std::string text = name + " cannot be written: " + machine::why_not_written(s.last_error);
  if (s.failures >= State::kMostFailures) {
    text += " (" + std::to_string(s.failures) + " copies in a row failed; no more are tried)";
  }
  return text;
}

const std::string& Copies::why_lost() const noexcept { return state_->why_lost; }

double Copies::out_ns_per_byte() const noexcept {
  const std::lock_guard lock(state_->mutex);
  return state_->out_mean.ns_per_byte();
}

double Copies::in_ns_per_byte() const noexcept {
  const std::lock_guard lock(state_->mutex);
  return state_->in_mean.ns_per_byte();
}

// The rest stays as it is, since its threads are not here and its lock may be held by one of them.
void Copies::abandon_in_child() noexcept {
  State* const left = state_.release();
  if (left != nullptr) left->tier.reset();
}

}  // namespace neap::offload
