// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "data/prefetch.h"

#include "data/assemble.h"
#include "data/waited.h"
#include "memory/allocator.h"

#include <ATen/Parallel.h>

#include <latch>
#include <memory>
#include <utility>

namespace neap::data {
namespace {

constexpr std::int64_t kAheadPerWorker = 2;

// Note [Thread counts]
// at::set_num_threads(1) makes a worker use one thread. It also sets the count of the process,
// which each thread adopts when it first asks LibTorch for its count. So every thread that a
// program starts after its first loader would train with one thread. And a worker that has not
// asked yet would later adopt the count of the process, whatever it has set.
// Therefore a worker asks first, then sets. The starting thread asks first, waits until all workers
// have set theirs, and sets its own again. Starts are serialized; otherwise another one could read
// the 1 as its own count.
std::vector<std::jthread> start(std::int64_t count,
                                const std::function<void(std::stop_token)>& work) {
  static std::mutex one_at_a_time;
  const std::lock_guard lock(one_at_a_time);
  const RestoredThreadCount restored;
  const auto begun = std::make_shared<std::latch>(count);
  std::vector<std::jthread> threads;  // if one cannot be started, the others end here
  for (std::int64_t i = 0; i < count; ++i) {
    threads.emplace_back([work, begun](const std::stop_token& stop) {
      at::get_num_threads();
      at::set_num_threads(1);
      begun->count_down();
      work(stop);
    });
  }
  begun->wait();
  return threads;
}

}  // namespace

Prefetch::Prefetch(const Dataset& dataset, Plan plan)
    : dataset_(dataset),
      plan_(std::move(plan)),
      slots_(static_cast<std::size_t>(plan_.workers * kAheadPerWorker)),
      workers_(start(plan_.workers, [this](const std::stop_token& stop) { work(stop); })) {}

Prefetch::~Prefetch() {
  const memory::Waiting waiting;
  for (std::jthread& worker : workers_) worker.request_stop();
  workers_.clear();
}

void Prefetch::work(const std::stop_token& stop) {
  for (;;) {
    std::int64_t ticket = 0;
    {
      std::unique_lock lock(mutex_);
      const auto slots = static_cast<std::int64_t>(slots_.size());
      const bool more = changed_.wait(
          lock, stop, [&] { return taken_ == plan_.batches || taken_ < out_ + slots; });
      if (!more || taken_ == plan_.batches) return;
      ticket = taken_++;
    }
    Slot made = make(ticket, stop);
    const std::lock_guard lock(mutex_);
    slots_[static_cast<std::size_t>(ticket) % slots_.size()] = std::move(made);
    changed_.notify_all();
  }
}

bool Prefetch::admit(std::int64_t ticket, std::int64_t bytes, const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  const bool admitted = changed_.wait(lock, stop, [&] {
    return admitted_ == ticket && (queued_ == 0 || bytes <= plan_.limit - queued_);
  });
  if (!admitted) return false;
  ++admitted_;
  queued_ += bytes;
  changed_.notify_all();
  return true;
}

Prefetch::Slot Prefetch::make(std::int64_t ticket, const std::stop_token& stop) {
  Slot slot;
  bool asked = false;
  try {
    slot.batch = assemble(dataset_, {.samples = plan_.samples(ticket),
                                     .pin_memory = plan_.pin_memory,
                                     .admit =
                                         [&](std::int64_t bytes) {
                                           asked = true;
                                           slot.bytes = bytes;
                                           return admit(ticket, bytes, stop);
                                         },
                                     .abandoned = stop,
                                     .change = plan_.change});
  } catch (...) {
    slot.error = std::current_exception();
  }
  if (!asked) admit(ticket, 0, stop);  // the next tickets wait for this one's turn
  slot.ready = true;
  return slot;
}

Batch Prefetch::next(std::int64_t& waited_ns) {
  std::unique_lock lock(mutex_);
  Slot& slot = slots_[static_cast<std::size_t>(out_) % slots_.size()];
  if (!slot.ready) {
    const Waited waited(waited_ns);
    const memory::Waiting waiting;
    changed_.wait(lock, [&] { return slot.ready; });
  }
  Slot made = std::exchange(slot, Slot());
  ++out_;
  queued_ -= made.bytes;
  changed_.notify_all();
  lock.unlock();
  if (made.error) std::rethrow_exception(made.error);
  return *std::move(made.batch);
}

}  // namespace neap::data
