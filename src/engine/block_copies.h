// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/block_copies.h: which blocks have copies in the tier.
//
// Note [Copies]
// A storage that goes can come back in two ways: by a replay, or by a copy in a tier, which is a
// file or memory that LibTorch does not hold (offload/tier.h). With a copy also those storages can
// go that nothing can make again: parameters, gradients, the optimizer's state.
//
// A copy is of the block's current version. An operator that writes into the block drops it. It
// stays good when the content has been brought back, so the storage can go again for nothing. What
// may have been written by hand meanwhile is compared before.
//
// These storages stay where they are, because the program may hold their address:
//   * what was there before the scope and no operator has written, such as a batch or a mask, but
//     for parameters
//   * what was made empty and no operator has written, and what was filled by hand
//   * what is exposed or watched: see Note [Exposed storages]
//
// When a scope ends, parameters and what operators write that was there before the scope, such as
// the optimizer's state, stay in the tier if they are there: bringing them back would only make
// room necessary that the next scope does not have. Operators bring them back at any time.
#pragma once

#include "engine/counts.h"
#include "engine/records.h"
#include "offload/copies.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

namespace neap::engine {

class BlockCopies {
 public:
  explicit BlockCopies(Counts& counts) : counts_(counts) {}

  // From now on copies are made there. Throws: as offload::open_tier(); ScopeConflict when copies
  // are in another tier.
  void open(const Offload& where);
  // No new copies are made. Those that there are stay.
  void close() noexcept { open_ = false; }
  [[nodiscard]] bool is_open() const noexcept { return open_; }

  // Whether the block's content may be copied: see Note [Copies].
  [[nodiscard]] bool can_copy(const Block& block) const noexcept {
    return open_ && (block.copy != nullptr || is_copyable(block));
  }
  // What it costs to bring the block out and back, ns. Infinite: there is no room for it, or
  // copying it has failed.
  [[nodiscard]] double price_ns(const Block& block) const noexcept;

  struct Speed {
    std::int64_t out_bytes_per_s, in_bytes_per_s;  // at least 1
  };
  // As measured so far. REQUIRES: is_open().
  [[nodiscard]] Speed speed() const noexcept;
  [[nodiscard]] std::optional<Bytes> limit() const noexcept;  // of the tier; absent: none

  // Begins to copy the content out, unless there is a copy. False: there is no room.
  // REQUIRES: can_copy(block); the block has data.
  bool begin(Block& block);
  // Waits until the content is in the tier as it is now. False: it is not, and there is no copy.
  // REQUIRES: the block has data and a copy.
  [[nodiscard]] bool settle(Block& block) noexcept;
  // The copy is of no use any more. Waits for what has begun. REQUIRES: no load is under way.
  void drop(Block& block) noexcept;
  // The memory is about to go or to be written: waits until no thread reads it.
  void release_memory(Block& block) noexcept;

  // Begins to bring the content back into `block.arriving`. REQUIRES: the block has a copy.
  void load(Block& block);
  // Waits until it is there. False: it is lost, and the copy with it; why_lost() says why.
  [[nodiscard]] bool finish_load(Block& block) noexcept;

  // Why begin() was false, for people; empty: nothing has been refused.
  [[nodiscard]] std::string why_not() const;
  [[nodiscard]] std::string why_lost() const;
  [[nodiscard]] std::int64_t in_use() const noexcept { return copies_ ? copies_->in_use() : 0; }
  // The largest number of bytes in the tier since the outermost scope was opened.
  [[nodiscard]] std::int64_t peak() const noexcept { return copies_ ? copies_->peak() : 0; }
  // In a child of fork(): the copies are the parent's.
  void abandon_in_child() noexcept;

 private:
  // The disk's own unit: a smaller storage would take as much room.
  static constexpr std::int64_t kSmallestCopy = 4096;  // bytes
  // What a copy costs beside its bytes: calls of the system, and two threads that wake each other.
  static constexpr double kCallNs = 10'000;

  [[nodiscard]] static bool is_copyable(const Block& block) noexcept;
  [[nodiscard]] static bool may_be_written_by_hand(const Block& block) noexcept {
    return block.pinned != PinReason::None || block.blank != Blank::No;
  }

  Counts& counts_;
  std::unique_ptr<offload::Copies> copies_;  // null: there was no tier yet
  std::filesystem::path directory_;
  bool open_ = false;
};

}  // namespace neap::engine
