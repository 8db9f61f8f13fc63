// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A tier in memory that does what a test tells it to: it waits at a call, fails at a call, or flips
// a bit. A test knows what the threads do at each moment, and no test sleeps.
#pragma once

#include "offload/tier.h"

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace neap::test {

// What the test and the tier share; it outlives the tier. Threads: any.
class Script {
 public:
  // The next calls of the kind wait, once they have begun, until go(). The kinds: 'w', 'r'.
  void hold(char kind) {
    const std::lock_guard lock(mutex_);
    held_[kind] = std::numeric_limits<int>::max();
  }
  // Those that begin from now on do not wait.
  void let_later_pass(char kind) {
    const std::lock_guard lock(mutex_);
    held_[kind] = begun_[kind];
  }
  void go(char kind) {
    const std::lock_guard lock(mutex_);
    held_[kind] = 0;
    changed_.notify_all();
  }
  // Waits until so many calls of the kind have begun.
  void wait_begun(char kind, int calls) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return begun_[kind] >= calls; });
  }
  // The k-th call of the kind, from 1, fails with this value of errno.
  void fail(char kind, int k, int error) {
    const std::lock_guard lock(mutex_);
    errors_[{kind, k}] = error;
  }
  // What the k-th read brings differs in one bit.
  void flip_a_bit(int k) {
    const std::lock_guard lock(mutex_);
    flipped_ = k;
  }
  void refuse_release() { releases_ = false; }

  // "w0 w4096 r0": what has begun, in order, with offsets.
  [[nodiscard]] std::string log() {
    const std::lock_guard lock(mutex_);
    return log_;
  }
  [[nodiscard]] int begun(char kind) {
    const std::lock_guard lock(mutex_);
    return begun_[kind];
  }
  // The bytes that have content: written and not released.
  [[nodiscard]] std::int64_t kept() {
    const std::lock_guard lock(mutex_);
    return static_cast<std::int64_t>(pages_.size()) * kPage;
  }

 private:
  friend class ScriptedTier;
  static constexpr std::int64_t kPage = 512;

  // Returns k.
  int begin(char kind, std::int64_t offset) {
    std::unique_lock lock(mutex_);
    const int k = ++begun_[kind];
    log_ += (log_.empty() ? "" : " ") + std::string(1, kind) + std::to_string(offset);
    changed_.notify_all();
    changed_.wait(lock, [&] { return k > held_[kind]; });
    const auto found = errors_.find({kind, k});
    if (found != errors_.end()) throw std::system_error(found->second, std::generic_category());
    return k;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<char, int> held_;  // the calls up to this one wait
  std::map<char, int> begun_;
  std::map<std::pair<char, int>, int> errors_;
  std::map<std::int64_t, std::vector<char>> pages_;
  std::string log_;
  int flipped_ = 0;
  bool releases_ = true;
};

class ScriptedTier final : public offload::Tier {
 public:
  explicit ScriptedTier(std::shared_ptr<Script> script) : script_(std::move(script)) {}

  void write(std::int64_t offset, const void* from, std::size_t bytes) override {
    script_->begin('w', offset);
    const std::lock_guard lock(script_->mutex_);
    for (std::size_t at = 0; at < bytes; at += kPage) {
      std::vector<char>& page = script_->pages_[offset + static_cast<std::int64_t>(at)];
      page.resize(kPage);
      std::memcpy(page.data(), static_cast<const char*>(from) + at, std::min(kPage, bytes - at));
    }
  }
  void read(std::int64_t offset, void* to, std::size_t bytes) override {
    const int k = script_->begin('r', offset);
    const std::lock_guard lock(script_->mutex_);
    for (std::size_t at = 0; at < bytes; at += kPage) {
      const std::vector<char>& page = script_->pages_.at(offset + static_cast<std::int64_t>(at));
      std::memcpy(static_cast<char*>(to) + at, page.data(), std::min(kPage, bytes - at));
    }
    if (k == script_->flipped_) static_cast<char*>(to)[bytes / 2] ^= 4;
  }
  bool release(std::int64_t offset, std::int64_t bytes) noexcept override {
    const std::lock_guard lock(script_->mutex_);
    if (!script_->releases_) return false;
    script_->pages_.erase(script_->pages_.lower_bound(offset),
                          script_->pages_.lower_bound(offset + bytes));
    return true;
  }
  [[nodiscard]] std::int64_t alignment() const noexcept override { return Script::kPage; }
  [[nodiscard]] offload::Speed measured() const noexcept override { return {.out = 3, .in = 2}; }
  [[nodiscard]] const std::string& name() const noexcept override { return name_; }

 private:
  static constexpr auto kPage = static_cast<std::size_t>(Script::kPage);
  std::shared_ptr<Script> script_;
  std::string name_ = "/the/tier";
};

}  // namespace neap::test
