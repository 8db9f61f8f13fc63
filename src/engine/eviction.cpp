// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/eviction.cpp: how storages go, what must come back before a storage is overwritten, and what happens when the
// budget is full.
#include "engine/engine.h"
#include "intercept/storage_access.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <optional>

namespace neap::engine {
namespace {

constexpr std::chrono::seconds kOtherThreadWaits{2};

// Puts the block into the list, or takes it out. `place` is its index there, -1 outside.
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

}  // namespace

// A block is in the list of what can go exactly when it can be made again, and its data is held for others, or is in its storage
// and no small thing: programs read those through raw pointers. What is held for others and cannot be made again has its own.
void Engine::update_evictable(Block& block) {
  const bool retained = block.residence == Residence::Retained;
  const bool in_storage = block.residence == Residence::Resident && block.alive &&
                          block.storage != nullptr && block.bytes >= kSmallest;
  enlist(evictable_, block, &Block::evictable, (retained || in_storage) && block.replayable());
  enlist(held_, block, &Block::held, retained && !block.replayable());
}

// The operator that has just run made the block's content from no tensor.
void Engine::mark_blank(Block& block) {
  block.blank = Blank::Hashed;
  block.blank_version = block.version;
  hashes_[&block] = ContentHash::of(block.data, static_cast<std::size_t>(block.bytes));
}

// See Note [Blanks].
void Engine::check_blank(Block& block) {
  if (block.blank == Blank::No || block.version != block.blank_version || !block.has_data()) return;
  const auto* const bytes = static_cast<const char*>(block.data);
  const auto size = static_cast<std::size_t>(block.bytes);
  if (block.blank == Blank::Zeros ? bytes[0] == 0 && std::memcmp(bytes, bytes + 1, size - 1) == 0
                                  : hashes_.at(&block) == ContentHash::of(bytes, size)) {
    return;
  }
  if (block.blank == Blank::Hashed) hashes_.erase(&block);
  block.blank = Blank::No;
  make_given(block, Given::Factory);
  if (observer_ != nullptr) observer_->not_replayable(block);
}

std::int64_t Engine::evict(Block& block) {
  check_blank(block);
  if (!block.replayable()) return 0;
  if (block.residence == Residence::Retained) {
    const std::int64_t taken = memory::header_of(block.data)->taken;
    free_data(block);
    move(block, Residence::Gone);
    went(block, taken);
    return taken;
  }
  c10::StorageImpl* const storage = c10::raw::weak_intrusive_ptr::lock(block.storage);
  if (storage == nullptr) return 0;
  const auto held = c10::intrusive_ptr<c10::StorageImpl>::reclaim(storage);
  c10::DataPtr& pointer = intercept::data_ptr_of(*storage);
  // The program may have moved the memory, or shared it copy on write: then it is not ours to take.
  if (pointer.get_deleter() != own_deleter_ || pointer.get_context() != block.data ||
      intercept::has_materializer(*storage)) {
    return 0;
  }
  std::string message =
      "neap has evicted this storage: " + describe(block) +
      ". An operator in the thread of the scope brings it back; raw access, and what "
      "other threads do, does not. Keep it in memory with neap::pin(tensor), called "
      "in the thread of the scope, before";
  void* const data = pointer.release_context();
  const std::int64_t taken = memory::header_of(data)->taken;
  intercept::put_absent(*storage, &block, &Engine::on_evicted_death, std::move(message));
  memory::set_record(data, nullptr);
  memory::release(data);
  block.data = nullptr;
  move(block, Residence::Evicted);
  went(block, taken);
  return taken;
}

void Engine::went(Block& block, std::int64_t taken) {
  update_evictable(block);
  policy_->went(block);
  ++stats_.evictions;
  stats_.evicted_bytes += taken;
}

// All changes of a residence, but for a block's first.
void Engine::move(Block& block, Residence to) noexcept {
  const auto count = [&](Residence where, std::int64_t sign) {
    if (where != Residence::Evicted && where != Residence::Retained) return;
    const std::int64_t taken = block.unseen ? 0 : memory::footprint(block.bytes);
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

bool Engine::put_into_storage(Block& block) {
  c10::StorageImpl* const storage = c10::raw::weak_intrusive_ptr::lock(block.storage);
  if (storage == nullptr) return false;
  const auto held = c10::intrusive_ptr<c10::StorageImpl>::reclaim(storage);
  c10::DataPtr& pointer = intercept::data_ptr_of(*storage);
  if (pointer.get_context() != &block) return false;
  pointer.release_context();  // or replacing it would report the block's death
  intercept::put_back(*storage, c10::DataPtr(block.data, block.data, own_deleter_,
                                             c10::Device(c10::DeviceType::CPU)));
  memory::set_record(block.data, &block);
  move(block, Residence::Resident);
  block.last_use = clock_;
  update_evictable(block);
  policy_->came_back(block);
  return true;
}

void Engine::make_given(Block& block, Given why) {
  recipes_.make_given(block, why);
  update_evictable(block);
}

void Engine::finish(Block& block) {
  if (!final_when_back() || block.chain == nullptr || !block.has_data()) return;
  for (const Read* read = block.readers; read != nullptr; read = read->next) {
    if (read->version != block.version) return;  // they still need the chain
  }
  ++block.locks;  // what goes with its recipe may have been the last that read it
  make_given(block, Given::Final);
  --block.locks;
}

// At least so many bytes, if that can be. See Note [What is held].
std::int64_t Engine::make_room(std::int64_t bytes) {
  std::int64_t freed = 0;
  while (freed < bytes) {
    // Without neap, what is away would be there, and what is retained would not.
    beyond_plain_ = beyond_plain_ || away_ + bytes - freed > retained_;
    if (!beyond_plain_) {
      const std::int64_t released = release_held();
      freed += released;
      if (released > 0) continue;
    }
    Block* const victim = policy_->choose(evictable_, clock_);
    if (victim == nullptr) break;
    const std::int64_t got = evict(*victim);
    if (got == 0 && victim->replayable()) {  // not ours to take, now and later
      victim->opaque = true;
      update_evictable(*victim);
    }
    freed += got;
  }
  if (plan_.follows()) {
    stats_.unplanned_bytes += freed;
    plan_shortage_ = std::max(plan_shortage_, bytes);
  }
  return freed;
}

std::int64_t Engine::evict_all() {
  std::int64_t freed = 0;
  for (std::size_t i = evictable_.size(); i-- > 0;) {  // the last takes the place of what goes
    if (can_go(*evictable_[i])) freed += evict(*evictable_[i]);
  }
  return freed;
}

std::int64_t Engine::reclaim(std::int64_t bytes) {
  if (!owner_here()) {
    // Another thread. See Note [Phases].
    if (owner_.load() == nullptr) return 0;
    const std::lock_guard one_at_a_time(request_mutex_);
    const auto deadline = std::chrono::steady_clock::now() + kOtherThreadWaits;
    for (;;) {
      Phase expected = Phase::Kernel;
      if (phase_.compare_exchange_strong(expected, Phase::Evicting)) {
        std::int64_t freed = 0;
        {
          const Reclaiming reclaiming(*this);
          freed = make_room(bytes);
        }
        phase_.store(Phase::Kernel);
        return freed;
      }
      std::unique_lock lock(request_wait_);
      if (owner_.load() == nullptr) return 0;
      served_bytes_ = 0;
      request_.store(bytes);
      const bool served = request_served_.wait_until(
          lock, std::min(deadline, std::chrono::steady_clock::now() + std::chrono::milliseconds(5)),
          [&] { return request_.load() == 0; });
      if (served) return served_bytes_;
      request_.store(0);
      if (std::chrono::steady_clock::now() >= deadline) return 0;
    }
  }
  const Timed own(*this, &Stats::bookkeeping_ns);
  const Busy busy(*this);
  Phase before = phase_.load();
  if (before == Phase::Kernel || before == Phase::Evicting) {
    for (before = Phase::Kernel; !phase_.compare_exchange_weak(before, Phase::Evicting);) {
      before = Phase::Kernel;
      std::this_thread::yield();
    }
  }
  std::int64_t freed = 0;
  std::optional<Reclaiming> reclaiming(std::in_place, *this);
  if (!materializing_ && deaths_.load() != nullptr) {
    const std::int64_t before_burial = memory::usage().live;
    process_deaths();
    freed = std::max<std::int64_t>(0, before_burial - memory::usage().live);
  }
  if (freed < bytes) freed += make_room(bytes - freed);
  if (freed == 0) freed = release_held();
  if (freed == 0 && !materializing_) {
    const std::int64_t before_drop = memory::usage().live;
    drop_failed_backward();
    freed = std::max<std::int64_t>(0, before_drop - memory::usage().live);
  }
  reclaiming.reset();
  phase_.store(before == Phase::User ? Phase::User : Phase::Kernel);
  return freed;
}

void Engine::serve_requests() {
  const std::lock_guard lock(request_wait_);
  const std::int64_t bytes = request_.load();
  if (bytes == 0) return;
  served_bytes_ = make_room(bytes);
  request_.store(0);
  request_served_.notify_all();
}

bool Engine::begin_wait() noexcept {
  if (!owner_here() || busy_) return false;
  Phase expected = Phase::User;
  return phase_.compare_exchange_strong(expected, Phase::Kernel);
}

void Engine::end_wait() noexcept {
  Phase expected = Phase::Kernel;
  while (!phase_.compare_exchange_weak(expected, Phase::User)) {  // another thread evicts
    expected = Phase::Kernel;
    std::this_thread::yield();
  }
}

void Engine::refuse(std::int64_t need, std::int64_t in_use, std::int64_t budget) {
  std::string text = "budget of " + Bytes(budget).text() + " exceeded: ";
  if (!owner_here()) {
    text += "another thread than the scope's needs " + Bytes(need).text() + ", " +
            Bytes(in_use).text() +
            " are in use and nothing else can go\n  give the budget room "
            "for it, or let that thread hold less";
    throw BudgetExceeded(text, Bytes(need), Bytes(in_use), Bytes(budget), Bytes(0));
  }
  text += (running_ != nullptr ? running_->op.schema().name() : std::string("an allocation")) +
          " needs " + Bytes(need).text() + ", " + Bytes(in_use).text() +
          " are in use and nothing else can go";
  std::vector<const Block*> pinned;
  for (const Block* const block : recipes_.blocks()) {
    if (block->has_data()) pinned.push_back(block);
  }
  const std::size_t shown = std::min<std::size_t>(3, pinned.size());
  std::ranges::partial_sort(pinned, pinned.begin() + static_cast<std::ptrdiff_t>(shown),
                            std::ranges::greater{}, &Block::bytes);
  for (std::size_t i = 0; i < shown; ++i) {
    text += (i == 0 ? "\n  largest pinned: " : "; ") + describe(*pinned[i]) + " (" +
            why_pinned(*pinned[i]) + ")";
  }
  const std::int64_t feasible = run_log_.smallest_feasible(budget);
  text += feasible > 0
              ? "\n  the smallest budget known to work for this step is " + Bytes(feasible).text() +
                    " (" + std::to_string(feasible) +
                    " bytes): steps of the same operators, and those after them, ran in it or in a "
                    "little less; try that, or a smaller batch"
              : "\n  no budget is known to work for this step yet, but what plain LibTorch needs "
                "always does: try a larger one, or a smaller batch";
  BudgetExceeded error(text, Bytes(need), Bytes(in_use), Bytes(budget), Bytes(feasible));
  error.saved = std::make_shared<SavedReport>(report_storages());
  throw error;
}

std::string Engine::describe(const Block& block) const {
  std::string what;
  if (block.maker != nullptr) {
    what = "output of " + block.maker->op.schema().name();
  } else if (block.given == Given::Parameter) {
    what = "a parameter";
  } else {
    what = "a tensor";
  }
  return what + ", " + Bytes(block.bytes).text();
}

std::string Engine::why_pinned(const Block& block) const {
  if (block.pins > 0) return "neap::pin";
  if (block.locks > 0) return "operand of what runs now";
  if (block.residence == Residence::Retained) return "held so that others can be made again";
  if (block.opaque) return "written or held in a way that cannot be followed";
  if (block.decision == Decision::MustSave) return "CheckpointPolicy::MustSave";
  switch (block.given) {
    case Given::No:
      return block.bytes < kSmallest ? "too small" : "needed now";
    case Given::Parameter:
      return "parameter";
    case Given::Outside:
      return "made outside of the scope";
    case Given::Factory:
      return "made from no tensor, so the program may have written it by hand";
    case Given::Empty:
      return "made empty, so the program may have written it by hand";
    case Given::NotReplayable:
      return block.maker != nullptr && *block.maker->reason != '\0' ? block.maker->reason
                                                                    : "not replayable";
    case Given::Foreign:
      return "made from memory or tensors that are not LibTorch's own dense ones";
    case Given::Gradient:
      return "gradient";
    case Given::Overwritten:
      return "what it was made from has been overwritten";
    case Given::Final:
      return "its region is over";
    case Given::Observed:
      return "the scope has no budget";
  }
  return "";
}

}  // namespace neap::engine
