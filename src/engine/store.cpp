// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "engine/store.h"

#include "engine/explain.h"
#include "engine/locks.h"
#include "memory/evicted.h"

#include <algorithm>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

namespace neap::engine {
namespace {

// Puts the block into the list, or takes it out. `place` is the member that holds its index there;
// -1: not in the list.
void enlist(std::vector<Block*>& list, Block& block, std::int32_t Block::*place, bool in) {
  if (in == (block.*place >= 0)) return;
  if (in) {
    block.*place = static_cast<std::int32_t>(list.size());
    list.push_back(&block);
    return;
  }
  Block* const last = list.back();
  list[static_cast<std::size_t>(block.*place)] = last;
  last->*place = block.*place;
  list.pop_back();
  block.*place = -1;
}

// The bytes that the block's data takes of the budget.
std::int64_t taken_of(const Block& block) {
  return block.unseen ? 0 : memory::footprint(block.bytes);
}

// A reference to the block's storage. Null: the program has let go of it.
c10::intrusive_ptr<c10::StorageImpl> storage_of(const Block& block) {
  return c10::intrusive_ptr<c10::StorageImpl>::reclaim(
      c10::raw::weak_intrusive_ptr::lock(block.storage));
}

}  // namespace

Store::Store(Session& session, Counts& counts, Recipes& recipes, UnseenMemory& unseen,
             BlockCopies& copies, c10::DeleterFnPtr death_of_evicted)
    : session_(session),
      counts_(counts),
      recipes_(recipes),
      unseen_(unseen),
      copies_(copies),
      own_deleter_(memory::deleter()),
      death_of_evicted_(death_of_evicted) {}

void Store::prepare_lists() {
  const std::size_t blocks = recipes_.blocks().size();
  for (std::vector<Block*>* const list : {&evictable_, &held_}) {
    if (list->capacity() <= blocks) list->reserve(2 * blocks + 64);
  }
}

void Store::hold_storage(Block& block, c10::StorageImpl& storage) {
  if (block.storage == &storage) return;
  drop_storage(block);
  c10::raw::weak_intrusive_ptr::incref(&storage);
  block.storage = &storage;
}

void Store::drop_storage(Block& block) noexcept {
  if (block.storage == nullptr) return;
  c10::raw::weak_intrusive_ptr::decref(block.storage);
  block.storage = nullptr;
}

// ---- Moves ----

// The program may have moved the memory, or shared it copy on write. Then it cannot be taken.
bool Store::can_take(Block& block, c10::StorageImpl& storage) const {
  const c10::DataPtr& pointer = intercept::data_ptr_of(storage);
  return is_own(pointer) && pointer.get_context() == block.data &&
         !intercept::has_materializer(storage);
}

std::int64_t Store::evict(Block& block, bool copies) {
  check_blank(block);
  const bool retained = block.residence == Residence::Retained;
  const auto storage = retained ? c10::intrusive_ptr<c10::StorageImpl>() : storage_of(block);
  if (!retained && (!storage || !can_take(block, *storage))) return 0;
  const bool copied = has_good_copy(block, copies);
  if (!copied && !block.replayable()) return 0;
  if (session_.verify && !copied) remember_content(block);
  const std::int64_t taken = memory::entry_of(block.data).taken;
  if (retained) {
    free_data(block);
    move(block, Residence::Gone);
    note_eviction(block, taken, copied);
    return taken;
  }
  std::string message =
      "neap has evicted this storage: " + describe(block) +
      ". An operator in the thread of the scope brings it back; raw access, and what "
      "other threads do, does not. Keep it in memory with neap::pin(tensor), called "
      "in the thread of the scope, before";
  intercept::prepare_absent(*storage);  // the last that may throw
  void* const data = intercept::data_ptr_of(*storage).release_context();
  intercept::put_absent(*storage, &block, death_of_evicted_, std::move(message));
  memory::set_record(data, nullptr);
  memory::release_evicted(data);
  block.data = nullptr;
  move(block, Residence::Evicted);
  note_eviction(block, taken, copied);
  return taken;
}

// What has a copy is at hand: nothing has to be made again for it.
void Store::note_eviction(Block& block, std::int64_t taken, bool copied) {
  update_lists(block);
  if (!copied) session_.policy->on_evict(block);
  ++counts_.stats.evictions;
  counts_.stats.evicted_bytes += taken;
}

void Store::cannot_go(Block& block) {
  block.uncopied = true;
  if (block.replayable()) block.opaque = true;
  update_lists(block);
}

std::int64_t Store::evict_all() {
  std::int64_t freed = 0;
  // Backwards, because the last block takes the place of an evicted one. What is found to have been
  // written by hand can take other blocks out of the list.
  for (std::size_t i = evictable_.size(); i-- > 0;) {
    if (i < evictable_.size() && can_go(*evictable_[i])) {
      freed += evict(*evictable_[i], /*copies=*/!evictable_[i]->replayable());
    }
  }
  return freed + cancel_loads();
}

bool Store::put_into_storage(Block& block) {
  const auto storage = storage_of(block);
  if (!storage) return false;
  c10::DataPtr& pointer = intercept::data_ptr_of(*storage);
  if (pointer.get_context() != &block) return false;
  pointer.release_context();  // otherwise replacing the pointer would report the block's death
  intercept::put_back(*storage,
                      c10::DataPtr(block.data, block.data, own_deleter_, session_.device.where()));
  memory::set_record(block.data, &block);
  move(block, Residence::Resident);
  cancel_load(block);  // an operator may have made it again meanwhile
  block.last_use = counts_.clock;
  update_lists(block);
  session_.policy->on_restore(block);
  return true;
}

void Store::free_data(Block& block) noexcept {
  copies_.release_memory(block);
  void* const data = std::exchange(block.data, nullptr);
  if (data == nullptr) return;
  if (block.unseen) return unseen_.free(data, block.bytes);
  memory::set_record(data, nullptr);
  memory::release(data);
}

void Store::move(Block& block, Residence to) noexcept {
  const auto count = [&](Residence where, std::int64_t sign) {
    if (where != Residence::Evicted && where != Residence::Retained) return;
    const std::int64_t taken = taken_of(block);
    if (where == Residence::Retained) {
      retained_ += sign * taken;
    } else {
      evicted_ += sign;
      away_ += sign * taken;
    }
  };
  count(std::exchange(block.residence, to), -1);
  count(to, 1);
}

// The message of a storage whose data is lost.
std::string Store::why_lost(const Block& block) noexcept {
  try {
    return "neap had evicted this storage, and its scope ended before it could be brought back: " +
           describe(block);
  } catch (const std::bad_alloc&) {
    return "neap: data lost";  // so short that it takes no memory
  }
}

void Store::forget(Block& block) noexcept {
  drop_copy(block);
  switch (block.residence) {
    case Residence::Retained:
    case Residence::Working:
      free_data(block);
      break;
    case Residence::Resident:
      if (block.unseen) {
        unseen_.forget(block.data);
      } else {
        memory::set_record(block.data, nullptr);
      }
      break;
    case Residence::Evicted:
      if (const auto storage = storage_of(block)) {
        c10::DataPtr& pointer = intercept::data_ptr_of(*storage);
        if (pointer.get_context() == &block) {
          pointer.release_context();
          intercept::put_absent(*storage, nullptr, nullptr, why_lost(block));
        }
      }
      break;
    case Residence::Gone:
      break;
  }
  drop_storage(block);
  move(block, Residence::Gone);
  block.alive = false;
  if (block.blank == Blank::Hashed || block.blank == Blank::Watched) hashes_.erase(&block);
  if (!contents_.empty()) contents_.erase(&block);
  update_lists(block);
}

void Store::clear() noexcept {
  evictable_.clear();
  held_.clear();
  arriving_.clear();
  hashes_.clear();
  contents_.clear();
  evicted_ = away_ = retained_ = 0;
}

// ---- What can go ----

void Store::update_lists(Block& block) {
  const bool retained = block.residence == Residence::Retained;
  const bool in_storage = block.residence == Residence::Resident && block.alive &&
                          block.storage != nullptr && block.bytes >= kSmallest;
  enlist(evictable_, block, &Block::evictable,
         (retained || in_storage) && (block.replayable() || copies_.can_copy(block)));
  enlist(held_, block, &Block::held, retained && !block.replayable());
}

void Store::pin_for_good(Block& block, PinReason why) {
  recipes_.pin_for_good(block, why);
  update_lists(block);
}

void Store::finish(Block& block) {
  if (!session_.is_final_when_restored() || block.chain == nullptr || !block.has_data()) return;
  for (const Read* read = block.readers; read != nullptr; read = read->next) {
    if (read->version != block.version) return;  // these readers still need the chain
  }
  const Lock lock(block);  // pin_for_good() may destroy the last readers of this block
  pin_for_good(block, PinReason::Final);
}

void Store::mark_blank(Block& block) { hash(block, Blank::Hashed); }
void Store::watch(Block& block) { hash(block, Blank::Watched); }

void Store::hash(Block& block, Blank why) {
  hashes_[&block] = session_.device.hash_of(block.data, static_cast<std::size_t>(block.bytes));
  block.blank = why;
  block.blank_version = block.version;
}

bool Store::is_as_hashed(const Block& block) const {
  return hashes_.at(&block) ==
         session_.device.hash_of(block.data, static_cast<std::size_t>(block.bytes));
}

void Store::remember_content(const Block& block) noexcept {
  const auto size = static_cast<std::size_t>(block.bytes);
  try {
    std::vector<Content>& contents = contents_[&block];
    std::erase_if(contents, [&](const Content& one) { return one.version == block.version; });
    contents.push_back({block.version, session_.device.hash_of(block.data, size)});
  } catch (const std::bad_alloc&) {
    return;
  }
}

bool Store::is_as_remembered(const Block& block, std::uint32_t version, const void* data) const {
  const auto contents = contents_.find(&block);
  if (contents == contents_.end()) return true;
  const auto content = std::ranges::find(contents->second, version, &Content::version);
  return content == contents->second.end() ||
         content->hash == session_.device.hash_of(data, static_cast<std::size_t>(block.bytes));
}

void Store::check_blank(Block& block) {
  if (block.blank == Blank::No || block.blank == Blank::Watched) return;
  if (block.version != block.blank_version || !block.has_data()) return;
  const auto size = static_cast<std::size_t>(block.bytes);
  if (block.blank == Blank::Zeros ? session_.device.is_zero(block.data, size)
                                  : is_as_hashed(block)) {
    return;
  }
  if (block.blank == Blank::Hashed) hashes_.erase(&block);
  block.blank = Blank::No;
  written_by_hand(block);
  if (session_.observer != nullptr) session_.observer->not_replayable(block);
}

// The current content cannot be made again. Older ones can, and must be where somebody reads them:
// then the chain stays. It stays in a replay too, which may be about to run its nodes.
void Store::written_by_hand(Block& block) {
  bool is_chain_needed = session_.restoring;
  for (const Read* read = block.readers; read != nullptr; read = read->next) {
    is_chain_needed = is_chain_needed || read->version != block.version;
  }
  if (!is_chain_needed) return pin_for_good(block, PinReason::Factory);
  block.opaque = true;
  update_lists(block);
}

void Store::validate() const {
  const auto require = [](bool holds, const char* equation) {
    if (!holds) throw std::logic_error(std::string("store: ") + equation);
  };
  std::int64_t evicted = 0, away = 0, retained = 0;
  for (const Block* const block : recipes_.blocks()) {
    if (block->residence == Residence::Evicted) {
      ++evicted;
      away += taken_of(*block);
    }
    if (block->residence == Residence::Retained) retained += taken_of(*block);
    require(block->residence != Residence::Working || session_.restoring, "no work is left behind");
    require(block->evictable < 0 || evictable_[static_cast<std::size_t>(block->evictable)] == block,
            "a block knows its place in the list of what can go");
    require((block->held >= 0) == (block->residence == Residence::Retained && !block->replayable()),
            "what is held is in the list of it");
    require(block->held < 0 || held_[static_cast<std::size_t>(block->held)] == block,
            "a block knows its place in the list of what is held");
  }
  require(evicted == evicted_, "evicted_ counts the evicted blocks");
  require(away == away_, "away_ counts the bytes of evicted blocks");
  require(retained == retained_, "retained_ counts the bytes of retained blocks");
}

}  // namespace neap::engine
