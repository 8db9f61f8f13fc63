// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// data/prefetch.h: worker threads that load the batches of one epoch ahead, in order, within a
// number of bytes.
//
// Batches have tickets 0, 1, ... Workers take tickets in order, load at the same time, and store
// each result in a slot.
// Invariants, under the lock:
//   out <= admitted <= taken <= out + slots
//   queued == bytes of the tickets in [out, admitted) <= max(limit, the bytes of one of them)
// Tickets are admitted to memory in order too. Otherwise later ones could fill the queue while the
// ticket that the program waits for has no room. Then the program would wait forever, or the limit
// would be broken.
// Threads: the loader's thread makes all calls; the workers are internal.
#pragma once

#include <neap/data.h>

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>
#include <vector>

namespace neap::data {

class Prefetch {
 public:
  struct Plan {
    std::int64_t batches;
    std::function<std::vector<std::int64_t>(std::int64_t ticket)> samples;  // called by any thread
    std::int64_t workers;
    std::int64_t limit;  // bytes
    bool pin_memory;
    std::function<void(std::int64_t index, Sample& sample)> change;  // as in BatchRequest
  };

  // Throws: std::system_error when the system gives no threads. REQUIRES: `dataset` outlives this.
  Prefetch(const Dataset& dataset, Plan plan);
  Prefetch(const Prefetch&) = delete;
  Prefetch& operator=(const Prefetch&) = delete;
  ~Prefetch();  // waits for the samples that are being loaded

  // The next batch. Throws: the exception of the worker in its place. Adds the time spent waiting
  // to `waited_ns`.
  // REQUIRES: fewer calls than batches.
  Batch next(std::int64_t& waited_ns);

 private:
  struct Slot {
    bool ready = false;
    std::optional<Batch> batch;
    std::exception_ptr error;
    std::int64_t bytes = 0;
  };

  void work(const std::stop_token& stop);
  // False when stopped.
  bool admit(std::int64_t ticket, std::int64_t bytes, const std::stop_token& stop);
  Slot make(std::int64_t ticket, const std::stop_token& stop);

  const Dataset& dataset_;
  const Plan plan_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::vector<Slot> slots_;
  std::int64_t taken_ = 0;
  std::int64_t admitted_ = 0;
  std::int64_t out_ = 0;
  std::int64_t queued_ = 0;  // bytes
  std::vector<std::jthread> workers_;
};

}  // namespace neap::data
