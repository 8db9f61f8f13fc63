// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "engine/tracker.h"

#include "intercept/storage_access.h"
#include "memory/allocator.h"

#include <new>

namespace neap::engine {
namespace {

constexpr std::size_t kMostNumbers = std::size_t{1} << 20;

}  // namespace

Tracker::Tracker(Session& session, Counts& counts, Recipes& recipes, Store& store, Deaths& deaths,
                 Retention& retention, Regions& regions, const LayerNames& layers, RunLog& run_log)
    : session_(session),
      counts_(counts),
      recipes_(recipes),
      store_(store),
      unseen_(deaths.unseen()),
      retention_(retention),
      regions_(regions),
      layers_(layers),
      run_log_(run_log) {
  deaths.set_handler(this);
}

Block* Tracker::track(const at::Tensor& tensor, c10::StorageImpl& storage) {
  c10::DataPtr& pointer = intercept::data_ptr_of(storage);
  if (pointer.get_context() == nullptr || intercept::has_materializer(storage)) return nullptr;
  if (!store_.is_own(pointer) &&
      !unseen_.adopt(pointer, static_cast<std::int64_t>(storage.nbytes()))) {
    return nullptr;
  }
  // A parameter often arrives as a view, such as the transposed weight of a linear layer. A view is
  // no leaf, but a name of its storage tells that it is a parameter.
  const bool parameter =
      (tensor.requires_grad() && tensor.is_leaf()) || layers_.layer_of(storage) != 0;
  Block* const block = create(storage, parameter ? PinReason::Parameter : PinReason::Outside);
  note_parameter(*block, storage);
  return block;
}

void Tracker::note_parameter(const Block& block, c10::StorageImpl& storage) {
  if (block.pinned == PinReason::Parameter && !run_log_.has_parameter()) {
    run_log_.parameter(storage);
  }
}

// No scope is open yet, so it has no number: the first operator of the scope that meets it gives
// one.
void Tracker::meet_again(c10::StorageImpl& storage, PinReason pinned) {
  Block* const block = create(storage, pinned);
  block->version = 1;  // an operator has written it, in another scope
  store_.update_lists(*block);
}

void Tracker::meet_first(Block& block, c10::StorageImpl& storage) {
  number(block);
  note_parameter(block, storage);
}

Block* Tracker::create(c10::StorageImpl& storage, PinReason pinned) {
  const c10::DataPtr& pointer = intercept::data_ptr_of(storage);
  void* const data = pointer.get_context();
  const auto bytes = static_cast<std::int64_t>(storage.nbytes());
  const bool is_own = store_.is_own(pointer);
  // What may throw comes first: a block is known everywhere, or nowhere.
  if (numbered_.size() == numbered_.capacity()) numbered_.reserve(2 * numbered_.size() + 64);
  regions_.prepare();
  store_.prepare_lists();
  Block* const block = recipes_.create_block(data, bytes);
  block->pinned = pinned;
  block->last_use = counts_.clock;
  if (!layers_.empty()) block->layer = layers_.layer_of(storage);
  if (is_own) {
    memory::set_record(data, block);
    if (storage.allocator() != &memory::allocator()) storage.set_allocator(&memory::allocator());
  } else {
    block->unseen = true;
    unseen_.add(data, block, bytes);  // takes no memory: adopt() has made the entry
  }
  number(*block);
  const bool may_be_copied = store_.makes_copies() && is_own;
  if (pinned == PinReason::None || may_be_copied) store_.hold_storage(*block, storage);
  if (may_be_copied) store_.update_lists(*block);
  regions_.enter(*block);
  return block;
}

void Tracker::number(Block& block) {
  if ((!session_.budget && !session_.observing) || numbered_.size() >= kMostNumbers) return;
  if (numbered_.size() == numbered_.capacity()) numbered_.reserve(2 * numbered_.size() + 64);
  block.scope_number = static_cast<std::uint32_t>(numbered_.size());
  numbered_.push_back(&block);
}

void Tracker::forget(const Block& block) noexcept {
  if (block.scope_number < numbered_.size()) numbered_[block.scope_number] = nullptr;
}

void Tracker::clear() noexcept {
  numbered_.clear();
  section_ = 0;
}

void Tracker::on_death(Block& block) noexcept {
  const Busy busy(session_);
  if (block.reader_count > 0 || session_.observer != nullptr) store_.check_blank(block);
  if (session_.observer != nullptr) session_.observer->released(block);
  block.alive = false;
  store_.drop_storage(block);
  regions_.leave(block);
  lose_data(block);
  store_.update_lists(block);
  release_early(block);
  recipes_.release_if_unused(block);
}

// Deleters must not throw. Where the search has no memory, the content stays until it must go.
void Tracker::release_early(Block& block) noexcept {
  try {
    if (session_.director_frees(block)) {
      retention_.release_content(block);
    } else if (session_.budget && block.held >= 0 && !session_.director &&
               !retention_.is_worth_holding(block)) {
      retention_.release_from_readers(block);
    }
  } catch (const std::bad_alloc&) {
    return;
  }
}

// The program has let go of the block. Data that cannot be made again is kept for its readers.
// Without a budget and outside of regions, all data is kept, so that no operator is replayed twice.
// A director can keep it too.
void Tracker::lose_data(Block& block) {
  if (block.reader_count == 0) store_.drop_copy(block);
  if (block.residence == Residence::Evicted) return store_.move(block, Residence::Gone);
  if (block.residence != Residence::Resident) return;
  if (!block.unseen) memory::set_record(block.data, nullptr);
  if (block.reader_count > 0 && (!block.replayable() || session_.is_final_when_restored() ||
                                 session_.director_keeps(block))) {
    store_.move(block, Residence::Retained);
    store_.finish(block);
    return;
  }
  if (session_.verify && block.reader_count > 0 && block.replayable()) {
    store_.remember_content(block);
  }
  store_.free_data(block);
  store_.move(block, Residence::Gone);
  if (block.reader_count > 0 && block.chain != nullptr) session_.policy->on_evict(block);
}

}  // namespace neap::engine
