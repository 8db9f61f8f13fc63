// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/store.h: where the data of each block is, and every move of it.
//
// A block has data while it is resident, retained or working; see Residence. The store takes the
// data out of storages, puts it back and frees it. It keeps the lists of what can go, and the
// counts of what is away. It decides nothing.
#pragma once

#include "device/content_hash.h"
#include "engine/block_copies.h"
#include "engine/counts.h"
#include "engine/recipes.h"
#include "engine/session.h"
#include "engine/unseen_memory.h"
#include "intercept/storage_access.h"
#include "memory/allocator.h"

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

namespace neap::engine {

class Store {
 public:
  // `death_of_evicted`: what an evicted storage calls when it dies, with its block.
  Store(Session& session, Counts& counts, Recipes& recipes, UnseenMemory& unseen,
        BlockCopies& copies, c10::DeleterFnPtr death_of_evicted);

  // The block of the storage. Null: it is not tracked.
  [[nodiscard]] Block* find(c10::StorageImpl& storage) {
    const c10::DataPtr& pointer = intercept::data_ptr_of(storage);
    const c10::DeleterFnPtr deleter = pointer.get_deleter();
    void* const context = pointer.get_context();
    if (context == nullptr) return nullptr;
    if (deleter == own_deleter_) {
      return static_cast<Block*>(memory::entry_of(context).record.load());
    }
    if (deleter == death_of_evicted_) return static_cast<Block*>(context);
    return unseen_.owns(pointer) ? unseen_.find(context) : nullptr;
  }
  // True for memory of neap's allocator.
  [[nodiscard]] bool is_own(const c10::DataPtr& pointer) const noexcept {
    return pointer.get_deleter() == own_deleter_;
  }
  // Makes room in the lists for one more block. After it, they take no memory.
  void prepare_lists();
  // Ties the block to the storage by a weak reference.
  void hold_storage(Block& block, c10::StorageImpl& storage);
  void drop_storage(Block& block) noexcept;

  // Frees the data. `copies`: a block without a copy gets one before; else only what has one or can
  // be made again goes. Returns the bytes given to the cache; 0: the block could not be evicted.
  std::int64_t evict(Block& block, bool copies = false);
  // evict() was in vain, and would be again.
  void cannot_go(Block& block);
  // Evicts all that can go. Returns the bytes given to the cache.
  std::int64_t evict_all();
  // Puts the data back. False: the program has let go of the storage.
  bool put_into_storage(Block& block);
  // Takes memory for the block's content and begins to bring the copy back. Throws:
  // BudgetExceeded. REQUIRES: the block has a copy and no data.
  void begin_load(Block& block);
  // Waits until it is there. Then the block is Residence::Working. False: the copy is lost.
  // REQUIRES: begin_load().
  bool finish_load(Block& block);
  // The copy is not needed or not right any more.
  void drop_copy(Block& block) noexcept;
  [[nodiscard]] bool makes_copies() const noexcept { return copies_.is_open(); }
  [[nodiscard]] bool can_copy(const Block& block) const noexcept { return copies_.can_copy(block); }
  [[nodiscard]] std::string why_copy_lost() const { return copies_.why_lost(); }
  // Gives back the memory of loads that nobody waits for. Returns its bytes.
  std::int64_t cancel_loads() noexcept;
  void cancel_load(Block& block) noexcept;
  // Frees data that the engine holds. The caller says by move() where the block is then.
  void free_data(Block& block) noexcept;
  // Every change of a residence, except a block's first.
  void move(Block& block, Residence to) noexcept;
  // Lets go of a block that is about to be destroyed. Data that the program holds stays as it is.
  // An evicted storage is lost: later accesses throw.
  void forget(Block& block) noexcept;
  void clear() noexcept;
  // After clear(): the block stays known, evicted with a copy, as one from before the next scope.
  void stays_copied(Block& block) noexcept;

  // Puts the block into the lists in which it belongs now, and takes it out of the others.
  void update_lists(Block& block);
  void pin_for_good(Block& block, PinReason why);
  void finish(Block& block);  // see Note [Modes]
  // The operator that has just run made the content from no tensor, or with grad mode off: see
  // Note [Blanks].
  void mark_blank(Block& block);
  void check_blank(Block& block);
  // Hashes the current content: see Note [Exposed storages]. Throws: std::bad_alloc; nothing has
  // changed then. So does mark_blank().
  void watch(Block& block);
  // REQUIRES: the block is hashed or watched.
  [[nodiscard]] bool is_as_hashed(const Block& block) const;

  // For Options::verify: hashes the content of a block that is about to lose its data. Where there
  // is no memory for the hash, the content is not known.
  void remember_content(const Block& block) noexcept;
  // Whether `data` is what the block had in this version, or it is not known what that was.
  [[nodiscard]] bool is_as_remembered(const Block& block, std::uint32_t version,
                                      const void* data) const;

  // Blocks with data that can be made again or copied, if they are retained, or if they are
  // resident and not small: programs read small storages through raw pointers.
  [[nodiscard]] std::span<Block* const> evictable() const noexcept { return evictable_; }
  // Retained blocks that cannot be made again.
  [[nodiscard]] std::span<Block* const> held() const noexcept { return held_; }
  [[nodiscard]] std::int64_t evicted() const noexcept { return evicted_; }    // blocks
  [[nodiscard]] std::int64_t away() const noexcept { return away_; }          // their bytes
  [[nodiscard]] std::int64_t retained() const noexcept { return retained_; }  // bytes
  // Throws std::logic_error when a list or a count is wrong.
  void validate() const;

 private:
  bool has_good_copy(Block& block, bool copies);
  [[nodiscard]] bool can_take(Block& block, c10::StorageImpl& storage) const;
  void note_eviction(Block& block, std::int64_t taken, bool copied);
  static std::string why_lost(const Block& block) noexcept;
  void hash(Block& block, Blank why);
  void written_by_hand(Block& block);

  Session& session_;
  Counts& counts_;
  Recipes& recipes_;
  UnseenMemory& unseen_;
  BlockCopies& copies_;
  c10::DeleterFnPtr own_deleter_;
  c10::DeleterFnPtr death_of_evicted_;
  std::vector<Block*> evictable_;
  std::vector<Block*> held_;
  std::vector<Block*> arriving_;                                  // with a load under way
  std::unordered_map<const Block*, device::ContentHash> hashes_;  // of blanks that are not zeros
  struct Content {
    std::uint32_t version;
    device::ContentHash hash;
  };
  std::unordered_map<const Block*, std::vector<Content>> contents_;  // that were given back
  std::int64_t evicted_ = 0;
  std::int64_t away_ = 0;
  std::int64_t retained_ = 0;
};

}  // namespace neap::engine
