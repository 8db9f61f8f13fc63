// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "engine/materialization.h"

#include "engine/explain.h"
#include "engine/stack_tensors.h"
#include "intercept/dispatch.h"
#include "intercept/storage_access.h"
#include "memory/refusal.h"

#include <algorithm>
#include <new>

namespace neap::engine {

bool Materialization::at_hand(const Block& block, std::uint32_t version) {
  return (block.residence == Residence::Resident || block.residence == Residence::Retained) &&
         block.version == version;
}

// Does not change during the run: a block without work was in memory when it was collected.
bool Materialization::is_boundary(const Read& read) const {
  const Block& block = *read.block;
  if (block.work < 0) return true;
  return work_of(block).shadow && read.version == block.version;
}

// Finds what makes this version of the block, unless it is at hand.
void Materialization::find(Block& block, std::uint32_t version) {
  if (at_hand(block, version)) return;
  if (block.work < 0) {
    works_.push_back({&block});
    works_.back().shadow = block.has_data();
    works_.back().copied = block.copy != nullptr && version == block.version && !block.has_data();
    block.work = static_cast<std::int32_t>(works_.size() - 1);
  }
  if (is_loaded(block, version)) return;
  bool complete = false;
  bool newest = true;
  for (Write* write = block.chain; write != nullptr && !complete; write = write->previous) {
    if (write->version > version) continue;
    if (newest && write->version != version) break;
    newest = false;
    complete = write->whole;
    Node* const node = write->node();
    if (node->marked) continue;
    search_.push_back(node);
    nodes_.push_back(node);
    node->marked = true;
  }
  if (!complete) lost_ = &block;
}

// What may find no memory comes first, and changes nothing that end() would not put back.
void Materialization::find_all(std::span<Block* const> targets) {
  for (Block* const block : targets) {
    if (!block->has_data()) find(*block, block->version);
  }
  while (!search_.empty()) {
    Node& node = *search_.back();
    search_.pop_back();
    for (Read& read : node.reads()) find(*read.block, read.version);
  }
  std::size_t most_writes = 0;
  for (Node* const node : nodes_) {
    most_writes = std::max<std::size_t>(most_writes, node->write_count);
  }
  published_.reserve(works_.size() + most_writes);
}

void Materialization::need(Read& read) noexcept {
  if (is_boundary(read)) {
    ++read.block->locks;
  } else {
    ++work_of(*read.block).uses;
  }
}

// Of what the nodes read and do not make, a watched block may have been written by hand.
void Materialization::require_unwritten() const {
  for (Node* const node : nodes_) {
    for (const Read& read : node->reads()) {
      const Block& block = *read.block;
      if (block.blank == Blank::Watched && block.blank_version == read.version &&
          is_boundary(read) && !store_.is_as_hashed(block)) {
        throw HandWritten(describe(block));
      }
    }
  }
}

void Materialization::collect(std::span<Block* const> targets) {
  find_all(targets);
  for (Block* const block : targets) {
    if (!block->has_data()) ++work_of(*block).uses;
  }
  for (Node* const node : nodes_) {
    for (Read& read : node->reads()) need(read);
  }
  is_locked_ = true;
  if (lost_ != nullptr) throw_lost();
  require_unwritten();
  std::ranges::sort(nodes_, {}, &Node::operator_sequence);
}

class Materialization::End {
 public:
  explicit End(Materialization& materialization) : materialization_(materialization) {}
  End(const End&) = delete;
  End& operator=(const End&) = delete;
  ~End() { materialization_.end(); }

 private:
  Materialization& materialization_;
};

void Materialization::run(std::span<Block* const> targets) {
  const End end(*this);
  collect(targets);
  begin_loads(targets);
  replay_all();
  finish_loads(targets);
  for (Work& work : works_) {
    if (work.uses > 0) retire(work);
  }
}

void Materialization::replay_all() {
  const intercept::BelowAll below;
  device::ExecutionStateGuard state;
  for (; done_ < nodes_.size(); ++done_) {
    Node& node = *nodes_[done_];
    state.become(states_[node.state]);
    replay(node);
    node.marked = false;
    nodes_[done_] = nullptr;
    account(node);
    finish_published();  // may destroy the node
  }
}

// After a complete run nothing is left to do here. After an exception, this releases the rest.
void Materialization::end() noexcept {
  for (std::size_t i = done_; i < nodes_.size(); ++i) {
    Node& node = *nodes_[i];
    node.marked = false;
    if (!is_locked_) continue;
    for (Read& read : node.reads()) {
      if (is_boundary(read)) --read.block->locks;
    }
  }
  for (Work& work : works_) {
    if (work.block != nullptr) retire(work);
  }
  finish_published();
  works_.clear();
  nodes_.clear();
  search_.clear();
  stack_.clear();
  done_ = 0;
  is_locked_ = false;
  running_ = nullptr;
  lost_ = nullptr;
}

void Materialization::replay(Node& node) {
  load_reads(node);  // before the kernel's phase, in which other threads may use the records
  const Timed time(counts_, &Stats::replay_ns);
  running_ = &node;
  const intercept::OperatorTraits* const outer = session_.running;
  session_.running = node.traits;
  {
    const Gate::Kernel kernel(session_.gate);
    const device::GeneratorStateGuard generator(node.generator.get());
    try {
      if (node.mutation) allocate_for(node);
      decode(node.code(), node.traits->arguments, *this, stack_);
      node.traits->op.callBoxed(&stack_);
    } catch (...) {
      session_.running = outer;
      memory::rethrow_refusal();
    }
  }
  session_.running = outer;
  publish(node);
  stack_.clear();
  ++node.replays;
  ++counts_.stats.replays;
  if (session_.observer != nullptr) session_.observer->replayed(node);
}

// A chain may start with an operator that overwrites the block. Its first write needs memory to
// write into.
void Materialization::allocate_for(Node& node) {
  Write& write = node.writes()[0];
  Block& block = *write.block;
  Work& work = work_of(block);
  if (work.reached != kNothing) return;
  c10::DataPtr memory = memory::allocator().allocate(static_cast<std::size_t>(block.bytes));
  void* const data = memory.release_context();
  if (work.shadow) {
    work.shadow_data = data;
  } else {
    block.data = data;
    store_.move(block, Residence::Working);
  }
}

c10::Storage Materialization::storage(Use use, std::uint16_t reference) {
  void* data = nullptr;
  std::int64_t bytes = 0;
  if (use == Use::Read || use == Use::Write) {
    const Block* block = nullptr;
    bool shadow = false;
    if (use == Use::Read) {
      const Read& read = running_->reads()[reference];
      block = read.block;
      shadow = !is_boundary(read);
    } else {
      block = running_->writes()[reference].block;
      shadow = true;
    }
    const Work* const work = shadow ? &work_of(*block) : nullptr;
    data = work != nullptr && work->shadow ? work->shadow_data : block->data;
    bytes = block->bytes;
  }
  // This storage does not own the memory. The block or the work keeps it until after the operator.
  return c10::make_intrusive<c10::StorageImpl>(c10::StorageImpl::use_byte_size_t(), bytes,
                                               c10::DataPtr(data, session_.device.where()), nullptr,
                                               false);
}

at::Generator Materialization::generator() const {
  return running_->generator ? running_->generator->generator() : at::Generator();
}

void Materialization::publish(Node& node) {
  if (node.mutation) return advance(node.writes()[0]);
  std::uint16_t number = 0;
  std::size_t next = 0;
  const std::span<Write> writes = node.writes();
  for_each_tensor(stack_, [&](const at::Tensor& tensor, std::size_t) {
    const std::uint16_t mine = number++;
    if (next >= writes.size() || writes[next].result != mine) return;
    Write& write = writes[next++];
    if (write.block == nullptr) return;
    c10::StorageImpl& made = *tensor.unsafeGetTensorImpl()->unsafe_storage().unsafeGetStorageImpl();
    c10::DataPtr& memory = intercept::data_ptr_of(made);
    if (memory.get_deleter() != memory::deleter() ||
        static_cast<std::int64_t>(made.nbytes()) != write.block->bytes) {
      throw ReplayError(node.traits->op.schema().name() + ": replayed, result " +
                        std::to_string(mine) + " has " + std::to_string(made.nbytes()) +
                        " bytes, recorded were " + std::to_string(write.block->bytes) +
                        "; an operator that is declared replayable must do the same each time");
    }
    const bool has_gaps = session_.verify && ((node.traits->scratch >> mine & 1) != 0 ||
                                              tensor.nbytes() < made.nbytes());
    take(write, std::move(memory), has_gaps);
  });
}

// Takes the memory that a maker has just made for one of its blocks.
void Materialization::take(Write& write, c10::DataPtr memory, bool has_gaps) {
  Block& block = *write.block;
  const bool bonus = block.work < 0 && block.residence == Residence::Evicted &&
                     block.version == write.version && !session_.director_frees(block);
  // Nobody asked for it, and it is in memory already or of no use.
  if (block.work < 0 && !bonus) return;
  void* const data = memory.release_context();
  if (!bonus && work_of(block).shadow) {
    work_of(block).shadow_data = data;
  } else {
    block.data = data;
    store_.move(block, Residence::Working);
  }
  if (bonus) {
    if (session_.verify && !has_gaps) {
      try {
        require_same(write, data);
      } catch (...) {
        discard(block);
        throw;
      }
    }
    // Keeping it costs nothing more, and may save a replay later.
    if (store_.put_into_storage(block)) {
      publish_later(block);
    } else {
      discard(block);
    }
  } else {
    work_of(block).has_gaps = has_gaps;
    advance(write);
  }
}

void Materialization::advance(const Write& write) {
  Block& block = *write.block;
  const std::uint32_t version = write.version;
  Work& work = work_of(block);
  if (session_.verify && !work.has_gaps) {  // first: what is wrong must not count as reached
    require_same(write, work.shadow ? work.shadow_data : block.data);
  }
  work.reached = version;
  if (work.shadow || !block.alive || version != block.version) return;
  if (!store_.put_into_storage(block)) return;
  work.locked = true;
  ++block.locks;
  ++block.replays;
  publish_later(block);
}

void Materialization::require_same(const Write& write, const void* data) const {
  const Block& block = *write.block;
  if (store_.is_as_remembered(block, write.version, data)) return;
  throw ReplayError(
      running_->traits->op.schema().name() + ": replayed, made other bytes than " +
      describe(block) +
      " had when its memory was given back. The operator does not do the same each time or leaves "
      "bytes of its result unwritten, or something has written past the dispatcher into what it "
      "reads or made. Keep its result in memory with neap::pin(tensor), or call "
      "neap::expose(tensor) on what is written before operators read it");
}

void Materialization::discard(Block& block) noexcept {
  store_.free_data(block);
  store_.move(block, block.alive ? Residence::Evicted : Residence::Gone);
}

// The lock is released later, because finish() may destroy the node that is running, and other
// blocks of the list.
void Materialization::publish_later(Block& block) noexcept {
  ++block.locks;
  published_.push_back(&block);
}

// The node has run. What it read may be freed, unless a later node reads it too.
void Materialization::account(Node& node) noexcept {
  for (Read& read : node.reads()) {
    Block& block = *read.block;
    if (is_boundary(read)) {
      --block.locks;
      leave(block);
      recipes_.release_if_unused(block);
      continue;
    }
    Work& work = work_of(block);
    if (--work.uses > 0) continue;
    retire(work);
    if (work.locked) leave(block);
  }
}

// Nothing here may throw: end() calls it after an exception.
void Materialization::retire(Work& work) noexcept {
  Block& block = *work.block;
  work.block = nullptr;
  work.uses = 0;
  block.work = -1;
  if (work.shadow) {
    if (work.shadow_data != nullptr) memory::release(work.shadow_data);
    return;
  }
  if (work.locked) {
    --block.locks;
    return;
  }
  if (block.residence != Residence::Working) return;  // no memory was made for it
  if (!block.alive && work.reached == block.version &&
      (session_.is_final_when_restored() || session_.director_keeps(block))) {
    // Operators outside of this run read it too. It stays for them, so that no operator is replayed
    // twice.
    store_.move(block, Residence::Retained);
    store_.update_lists(block);
    session_.policy->on_restore(block);
    publish_later(block);
    return;
  }
  discard(block);
}

// No node of this run reads the block any more. If the director frees it, it goes before the
// remaining nodes run. Where there is no memory to evict it, it stays until it must go.
void Materialization::leave(Block& block) noexcept {
  if (block.evictable < 0 || !can_go(block) || !session_.director_frees(block)) return;
  try {
    store_.evict(block);
  } catch (const std::bad_alloc&) {
    return;
  }
}

void Materialization::finish_published() noexcept {
  for (Block* const block : published_) {
    --block->locks;
    store_.finish(*block);
    recipes_.release_if_unused(*block);
  }
  published_.clear();
}

}  // namespace neap::engine
