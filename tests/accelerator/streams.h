// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The emulated accelerator's streams and events. A kernel computes at once, but its stream writes
// what it has computed late, and in order. Kernels of the same stream read what was not written yet
// as if it were. Other streams and the host see it after an event, or after they have waited.
#pragma once

#include <c10/core/Storage.h>
#include <c10/core/Stream.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>

namespace neap::test {

// A point in a stream: all that was pushed before record().
struct Event {
  c10::StreamId stream = 0;
  std::int64_t end = 0;
};

// Threads: any.
class Streams {
 public:
  static constexpr c10::StreamId kStreams = 4;
  static constexpr c10::StreamId kDefault = 0;

  static Streams& instance();
  // The current stream of this thread.
  static c10::StreamId current();
  static c10::StreamId exchange_current(c10::StreamId stream);
  // A stream other than the default: one after the other.
  c10::StreamId next_of_pool();

  // A kernel begins in this thread's current stream. What events it waits for has been written
  // then. In the default stream all that its kernels have computed has been written, too.
  void begin_kernel();
  // The current stream writes these bytes to `to`, a place inside the device's memory.
  void write(char* to, const c10::Storage& from, std::size_t bytes);
  // Copies what kernels of the current stream find in the device's memory at `from`.
  void read(char* to, const char* from, std::size_t bytes);

  [[nodiscard]] Event record(c10::StreamId stream);
  // Later work of the stream runs after the event.
  void block(c10::StreamId stream, Event event);
  [[nodiscard]] bool has_run(Event event);
  // They return when the work has run.
  void wait(Event event);
  void wait_for_all();
  // Later work of any stream runs after all work that was pushed so far.
  void join_all();
  // The number of writes.
  [[nodiscard]] std::int64_t writes();

 private:
  struct Work {
    Event after = {};  // of another stream; a write has none
    char* to = nullptr;
    c10::Storage from = {};
    std::size_t bytes = 0;
  };
  struct Queue {
    std::deque<Work> work;  // not done yet
    std::int64_t done = 0;
    [[nodiscard]] std::int64_t end() const { return done + static_cast<std::int64_t>(work.size()); }
  };
  void run(Event event);  // all work before it
  Queue& queue(c10::StreamId stream) { return queues_.at(static_cast<std::size_t>(stream)); }

  std::mutex mutex_;
  std::array<Queue, kStreams> queues_;
  c10::StreamId last_of_pool_ = 0;
  std::int64_t writes_ = 0;
};

}  // namespace neap::test
