// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/data/loading.h: data sets whose samples tell their index, and what a loader made of them.
#pragma once

#include "support/bytes.h"

#include <gtest/gtest.h>
#include <neap/data.h>
#include <torch/torch.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace neap::data {

// Sample i is ((3,) float from i * 3 on, () int64 of i), as views.
inline std::shared_ptr<Dataset> numbers(std::int64_t size) {
  return from_tensors(
      {torch::arange(size * 3, torch::kFloat).view({size, 3}), torch::arange(size, torch::kLong)});
}

// The contents of a batch, without its memory.
struct Seen {
  std::vector<std::int64_t> samples;
  test::ByteLists bytes;
  friend bool operator==(const Seen&, const Seen&) = default;
};

inline Seen seen(const Batch& batch) { return {batch.samples, test::bytes_of(batch.tensors)}; }

inline std::vector<Seen> epoch_of(MemoryEfficientDataLoader& loader) {
  std::vector<Seen> all;
  for (const Batch& batch : loader) all.push_back(seen(batch));
  return all;
}

inline std::vector<std::vector<std::int64_t>> samples_of(const std::vector<Seen>& epoch) {
  std::vector<std::vector<std::int64_t>> samples;
  for (const Seen& batch : epoch) samples.push_back(batch.samples);
  return samples;
}

// Counts the samples that were asked for, and lets a test wait for a number of them.
class Counted final : public Dataset {
 public:
  explicit Counted(std::shared_ptr<Dataset> dataset) : dataset_(std::move(dataset)) {}
  [[nodiscard]] std::int64_t size() const override { return dataset_->size(); }
  [[nodiscard]] Sample get(std::int64_t index) const override {
    {
      const std::lock_guard lock(mutex_);
      ++count_;
      if (std::this_thread::get_id() == maker_) ++in_maker_;
      changed_.notify_all();
    }
    return dataset_->get(index);
  }
  void wait_for(std::int64_t count) const {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return count_ >= count; });
  }
  [[nodiscard]] std::int64_t count() const {
    const std::lock_guard lock(mutex_);
    return count_;
  }
  // How many of them were asked for in the thread that made this.
  [[nodiscard]] std::int64_t in_maker() const {
    const std::lock_guard lock(mutex_);
    return in_maker_;
  }

 private:
  std::shared_ptr<Dataset> dataset_;
  const std::thread::id maker_ = std::this_thread::get_id();
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  mutable std::int64_t count_ = 0;
  mutable std::int64_t in_maker_ = 0;
};

inline std::int64_t threads_now() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/task"),
                       std::filesystem::directory_iterator());
}

// A joined thread stays in /proc for a few more instructions.
inline bool threads_become(std::int64_t count) {
  for (int tries = 0; tries < 1'000'000; ++tries) {
    if (threads_now() == count) return true;
    std::this_thread::yield();
  }
  return false;
}

}  // namespace neap::data
