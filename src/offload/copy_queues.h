// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// offload/copy_queues.h: what Copies keeps: the copies, the queues that they wait in, and the two
// threads that serve these.
#pragma once

#include "device/content_hash.h"
#include "device/device.h"
#include "offload/copies.h"
#include "offload/extents.h"
#include "offload/tier.h"

#include <condition_variable>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

namespace neap::offload {

struct Copy {
  enum class Status : std::uint8_t { ToWrite, Writing, Written, ToRead, Reading, Failed };
  enum class Failure : std::uint8_t { None, Write, Read, Differs };

  const void* from = nullptr;
  void* to = nullptr;
  std::int64_t bytes = 0;
  Extents::Place room;
  device::ContentHash hash;
  std::list<Copy>::iterator place;
  Status status = Status::ToWrite;
  Failure failure = Failure::None;
  int error = 0;  // of errno
};

// Of a sum that each copy makes a tenth smaller: about the last ten copies count.
class RunningMean {
 public:
  explicit RunningMean(double first) : first_(first) {}
  void add(double ns, std::int64_t bytes) noexcept {
    constexpr double kKept = 0.9;
    ns_ = kKept * ns_ + ns;
    bytes_ = kKept * bytes_ + static_cast<double>(bytes);
  }
  [[nodiscard]] double ns_per_byte() const noexcept { return bytes_ > 0 ? ns_ / bytes_ : first_; }

 private:
  double first_;
  double ns_ = 0;
  double bytes_ = 0;
};

// Under the lock: the lists, what is in a Copy but for its room, what says how writing goes, the
// means. A copy that is being written or read is its thread's, but for its status. The engine's
// thread alone: extents, refusal, texts.
struct Copies::State {
  enum class Refusal : std::uint8_t { None, NoRoom, NoMemory, Failing };
  // After so many failures one after the other, nothing is written any more.
  static constexpr int kMostFailures = 5;

  // Throws: std::bad_alloc.
  State(std::unique_ptr<Tier> its_tier, std::int64_t limit);
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State();  // waits for what is under way

  void start(std::thread& thread, const char* name, std::list<Copy>& queue,
             std::condition_variable& changed) noexcept;
  void work(const char* name, std::list<Copy>& queue, std::condition_variable& changed) noexcept;
  // Writes or reads a copy that waits for it. Unlocks meanwhile.
  void perform(Copy& copy, std::unique_lock<std::mutex>& lock) noexcept;
  int write(Copy& copy) noexcept;
  int read(const Copy& copy, device::ContentHash& found) noexcept;
  void note_written(Copy& copy, int error, double ns) noexcept;
  // Does it here if no thread has begun it, and waits for it otherwise.
  void finish(Copy& copy, std::unique_lock<std::mutex>& lock) noexcept;
  void explain_loss(const Copy& copy) noexcept;
  [[nodiscard]] bool may_write() const noexcept { return failures < kMostFailures && !is_full; }

  std::unique_ptr<Tier> tier;
  Extents extents;
  device::Device& device = device::tracked();

  std::mutex mutex;
  std::condition_variable to_write_changed, to_read_changed, done;
  std::list<Copy> to_write, to_read, others;  // the first of a queue is the next
  bool stop = false;
  int failures = 0;      // of writes, one after the other
  int last_error = 0;    // of a write
  bool is_full = false;  // the tier itself, below the limit, until a copy in it is dropped
  RunningMean out_mean, in_mean;

  Refusal refusal = Refusal::None;  // of the last begin()
  std::int64_t refused_bytes = 0;
  std::string why_lost;

  std::thread writer, reader;  // started by the first copy
};

}  // namespace neap::offload
