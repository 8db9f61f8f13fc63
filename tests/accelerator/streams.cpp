// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "accelerator/streams.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

namespace neap::test {
namespace {
thread_local c10::StreamId current_stream = Streams::kDefault;
}

Streams& Streams::instance() {
  static auto* const streams = new Streams;  // tensors may die after the statics
  return *streams;
}

c10::StreamId Streams::current() { return current_stream; }
c10::StreamId Streams::exchange_current(c10::StreamId stream) {
  return std::exchange(current_stream, stream);
}
c10::StreamId Streams::next_of_pool() {
  const std::lock_guard lock(mutex_);
  last_of_pool_ = last_of_pool_ % (kStreams - 1) + 1;
  return last_of_pool_;
}

void Streams::begin_kernel() {
  if (current() == kDefault) return wait(record(kDefault));
  const std::lock_guard lock(mutex_);
  std::vector<Event> events;  // running them may do work of this stream
  for (const Work& work : queue(current()).work) events.push_back(work.after);
  for (const Event& event : events) run(event);
}

void Streams::write(char* to, const c10::Storage& from, std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  ++writes_;
  queue(current()).work.push_back({{}, to, from, bytes});
}

void Streams::read(char* to, const char* from, std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  std::memcpy(to, from, bytes);
  for (const Work& work : queue(current()).work) {
    const char* const begin = std::max<const char*>(from, work.to);
    const char* const end = std::min<const char*>(from + bytes, work.to + work.bytes);
    if (begin >= end) continue;
    std::memcpy(to + (begin - from), static_cast<const char*>(work.from.data()) + (begin - work.to),
                static_cast<std::size_t>(end - begin));
  }
}

Event Streams::record(c10::StreamId stream) {
  const std::lock_guard lock(mutex_);
  return {stream, queue(stream).end()};
}
void Streams::block(c10::StreamId stream, Event event) {
  const std::lock_guard lock(mutex_);
  queue(stream).work.push_back({event});
}

bool Streams::has_run(Event event) {
  const std::lock_guard lock(mutex_);
  return queue(event.stream).done >= event.end;
}
void Streams::wait(Event event) {
  const std::lock_guard lock(mutex_);
  run(event);
}
void Streams::wait_for_all() {
  for (c10::StreamId stream = 0; stream < kStreams; ++stream) wait(record(stream));
}
void Streams::join_all() {
  const std::lock_guard lock(mutex_);
  std::array<Event, kStreams> ends;
  for (c10::StreamId stream = 0; stream < kStreams; ++stream) {
    ends.at(static_cast<std::size_t>(stream)) = {stream, queue(stream).end()};
  }
  for (c10::StreamId stream = 0; stream < kStreams; ++stream) {
    for (const Event& end : ends) {
      const bool is_ahead = queue(end.stream).done < end.end;
      if (end.stream != stream && is_ahead) queue(stream).work.push_back({end});
    }
  }
}

// The work may run work of other streams, by the events that it waits for. Those are older, so this
// ends.
void Streams::run(Event event) {
  Queue& queue = this->queue(event.stream);
  while (queue.done < event.end) {
    const Work work = std::move(queue.work.front());
    queue.work.pop_front();
    ++queue.done;
    run(work.after);
    if (work.to != nullptr) std::memcpy(work.to, work.from.data(), work.bytes);
  }
}

std::int64_t Streams::writes() {
  const std::lock_guard lock(mutex_);
  return writes_;
}

}  // namespace neap::test
