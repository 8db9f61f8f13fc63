// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/deaths.h: the deaths of storages. LibTorch's deleters report them, from any thread. A
// death is processed at once when the engine's owner is in the program's code. Otherwise it is
// queued for the owner.
#pragma once

#include "engine/records.h"
#include "engine/session.h"
#include "engine/unseen_memory.h"

#include <atomic>
#include <mutex>

namespace neap::engine {

class Deaths {
 public:
  // Called by the thread that may touch the records: the owner, or one that is about to own them.
  struct Handler {
    virtual ~Handler() = default;
    virtual void on_death(Block& block) noexcept = 0;  // deleters call it
  };
  explicit Deaths(const Session& session);
  Deaths(const Deaths&) = delete;
  Deaths& operator=(const Deaths&) = delete;
  void set_handler(Handler* handler) noexcept { handler_ = handler; }

  // Deleter of an evicted storage, whose context is the block.
  static void of_evicted(void* record) noexcept;
  [[nodiscard]] UnseenMemory& unseen() noexcept { return unseen_; }

  // Processes what is queued. Called by the same threads.
  void process() {
    if (is_waiting()) process_queue();
  }
  [[nodiscard]] bool is_waiting() const noexcept {
    return queue_.load(std::memory_order_relaxed) != nullptr;
  }
  // While the lock is held, no death is queued. The engine forgets its blocks under it: a death
  // that comes later finds no record.
  [[nodiscard]] std::unique_lock<std::mutex> lock() { return std::unique_lock(mutex_); }
  // REQUIRES: lock() is held.
  void process_locked();

 private:
  static bool of_storage(void* record, void* data) noexcept;
  static void of_unseen(void* data) noexcept;
  bool process_here(Block& block) noexcept;
  void queue(Block& block) noexcept;
  void process_queue();
  void process_list(Block* block);

  const Session& session_;
  UnseenMemory unseen_;
  Handler* handler_ = nullptr;
  std::atomic<Block*> queue_{nullptr};
  std::mutex mutex_;
  static inline Deaths* instance_ = nullptr;  // for the deleters
};

}  // namespace neap::engine
