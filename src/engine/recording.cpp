// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/recording.cpp: records an operator that has run. Hot: called once per operator.
// bench/micro.cpp measures it.
#include "engine/call.h"
#include "engine/engine.h"
#include "engine/stack_tensors.h"
#include "intercept/autograd_phase.h"
#include "intercept/storage_access.h"

#include <algorithm>

namespace neap::engine {
namespace {

// A block with more writes in place than this is pinned.
constexpr std::uint16_t kLongestChain = 64;

}  // namespace

// The block has a new content without a recipe.
void Engine::wrote_unseen(Block& block) {
  ++block.version;
  if (block.chain != nullptr || block.pinned == PinReason::Observed) block.opaque = true;
  update_evictable(block);
}

// As a recorded write, but without a recipe: what could be made again before still can.
void Engine::wrote_observed(Block& block) {
  block.pinned = PinReason::Observed;
  if (++block.version >= kLongestChain) block.opaque = true;
}

// A kernel that threw may have written anything.
void Engine::failed(Call& call) {
  for (Block* const block : call.writes) wrote_unseen(*block);
  for (Block* const block : call.once_writes) wrote_unseen(*block);
}

void Engine::record_results(Call& call) {
  clock_ += static_cast<double>(call.cost_ns);
  call.operator_sequence = recipes_.next_sequence();
  const NewStorages made = is_tracking() ? new_storages(call) : NewStorages();
  if (call.keeps_operands) pin_operands(call);
  for (Block* const block : call.once_writes) wrote_unseen(*block);
  if (!call.writes.empty() && !call.traits.view) record_writes(call, !made.empty());
  if (made.empty()) return tell(call, {});
  record_made(call, made);
}

// The new storages among the results, each once.
Engine::NewStorages Engine::new_storages(Call& call) const {
  NewStorages made;
  std::uint16_t number = 0;
  const auto results = c10::ArrayRef<c10::IValue>(*call.stack).slice(call.first_argument);
  for_each_tensor(results, [&](const at::Tensor& tensor, std::size_t) {
    const std::uint16_t mine = number++;
    if (!tensor.defined()) return;
    if (!intercept::is_plain(*tensor.unsafeGetTensorImpl())) {
      call.keeps_operands = true;
      return;
    }
    if (call.traits.view) return;
    c10::StorageImpl* const storage = intercept::storage_of(tensor);
    if (storage == nullptr || storage->nbytes() == 0) return;
    const c10::DataPtr& pointer = intercept::data_ptr_of(*storage);
    if (pointer.get_deleter() != own_deleter_ || pointer.get_context() == nullptr) return;
    if (memory::entry_of(pointer.get_context()).record != nullptr) return;
    const auto is_it = [&](const c10::StorageImpl* other) { return other == storage; };
    if (std::ranges::any_of(call.storages, is_it)) return;
    if (std::ranges::any_of(made, is_it, &NewStorage::storage)) return;
    made.push_back({storage, &tensor, mine});
  });
  return made;
}

// A tensor that is not plain may hold them now. Nobody sees who reads them there.
void Engine::pin_operands(const Call& call) {
  for (const Operand& operand : call.operands) {
    if (operand.block == nullptr || !operand.block->observed_replayable()) continue;
    operand.block->opaque = true;
    if (observer_ != nullptr) observer_->not_replayable(*operand.block);
    update_evictable(*operand.block);
  }
}

// Why what the operator has made is pinned. None: the operator becomes its recipe.
PinReason Engine::pin_reason_of(Call& call, const NewStorages& made) const {
  // An operator that both makes and writes has no recipe. A small tensor that is made from no
  // tensor has none either, because the recipe would take more bytes. Zeros are the exception.
  const bool number = call.traits.factory && !call.traits.zeros &&
                      static_cast<std::int64_t>(made[0].storage->nbytes()) < kSmallest;
  if (!call.writes.empty() || number) call.replayable = false;
  if (call.encoded && call.replayable) return PinReason::None;
  if (call.traits.empty) return PinReason::Empty;
  if (call.foreign) return PinReason::Foreign;
  if (call.replayable) return PinReason::Observed;
  if (call.gradient) return PinReason::Gradient;
  if (call.traits.factory && call.traits.replayable) return PinReason::Factory;
  return PinReason::NotReplayable;
}

void Engine::record_made(Call& call, const NewStorages& made) {
  const PinReason pinned = pin_reason_of(call, made);
  const std::uint16_t layer = layer_of(call);
  const bool temporary = !call.grad_mode && !call.gradient && hangs_on_what_stays(call);
  const bool blank =
      call.traits.factory && (pinned == PinReason::None || pinned == PinReason::Observed);
  c10::SmallVector<Recipes::NewWrite, 4> writes;
  for (const NewStorage& one : made) {
    Block* const block = create(*one.storage, pinned);
    block->maker = &call.traits;
    block->layer = layer;
    block->temporary = temporary;
    if (blank && call.traits.zeros) {
      block->blank = Blank::Zeros;
    } else if (blank) {
      mark_blank(*block);
    }
    writes.push_back({block, 0, one.result, true});
  }
  if (observer_ != nullptr) {
    c10::SmallVector<Block*, 4> blocks;
    for (const Recipes::NewWrite& write : writes) blocks.push_back(write.block);
    tell(call, {blocks.data(), blocks.size()});
  }
  if (pinned != PinReason::None) return;
  Node* const node = recipes_.create_node(call.traits, {call.reads.data(), call.reads.size()},
                                          {writes.data(), writes.size()}, code_.bytes());
  node->cost_ns = call.cost_ns;
  node->generator = std::move(call.generator);
  node->state = call.state;
  node->once = call.once;
  for (std::size_t i = 0; i < writes.size(); ++i) {
    writes[i].block->cost_ns = node->cost_ns;
    update_evictable(*writes[i].block);
    decide(call, *writes[i].block, made[i].tensor->sizes());
  }
}

void Engine::tell(const Call& call, std::span<Block* const> made) {
  if (observer_ == nullptr || call.traits.view) return;
  observer_->ran({call.traits,
                  layers_.name(layer_of(call)),
                  {call.reads.data(), call.reads.size()},
                  {call.writes.data(), call.writes.size()},
                  {call.once_writes.data(), call.once_writes.size()},
                  made,
                  call.ns,
                  call.signature,
                  call.operator_sequence,
                  call.allocations,
                  call.live,
                  call.peak,
                  call.replayable,
                  call.whole,
                  intercept::in_plain_backward(),
                  call.grad_mode});
}

// The layer whose parameter the operator reads; otherwise the layer of the first operand that has
// one.
std::uint16_t Engine::layer_of(const Call& call) const {
  if (layers_.empty()) return 0;
  std::uint16_t inherited = 0;
  for (const Operand& operand : call.operands) {
    if (operand.block == nullptr || operand.block->layer == 0) continue;
    if (operand.block->maker == nullptr) return operand.block->layer;
    if (inherited == 0) inherited = operand.block->layer;
  }
  return inherited;
}

void Engine::record_writes(Call& call, bool makes_blocks) {
  // The kernel's allocations may have freed what its operand was made from, and dropped the
  // operand's recipe.
  const bool begun = call.whole || call.writes[0]->chain != nullptr;
  if (!call.encoded || makes_blocks || !begun) {
    for (Block* const block : call.writes) {
      if (call.replayable && !call.encoded && !makes_blocks) {
        wrote_observed(*block);
        if ((call.whole && call.reads.empty()) || !call.grad_mode) mark_blank(*block);
        continue;
      }
      wrote_unseen(*block);
      if (block->pinned == PinReason::Empty && call.whole) block->pinned = PinReason::NotReplayable;
    }
    return;
  }
  Block& block = *call.writes[0];
  ++block.version;
  const Recipes::NewWrite write{&block, block.version, 0, call.whole};
  Node* const node = recipes_.create_node(call.traits, {call.reads.data(), call.reads.size()},
                                          {&write, 1}, code_.bytes());
  node->mutation = true;
  node->cost_ns = call.cost_ns;
  node->generator = std::move(call.generator);
  node->state = call.state;
  block.pinned = PinReason::None;
  if (call.whole) {
    block.cost_ns = call.cost_ns;
    block.maker = &call.traits;
    block.layer = layer_of(call);
    for (const Operand& operand : call.operands) {
      if (operand.block == &block) decide(call, block, operand.tensor->sizes());
    }
    block.cost_ns = 0;
    if (block.reader_count == 0) recipes_.forget_older_writes(block);
    if (call.reads.empty()) mark_blank(block);
  }
  if (!call.grad_mode) mark_blank(block);
  block.cost_ns += node->cost_ns;
  if (block.chain_length > kLongestChain) block.opaque = true;
  if (block.storage == nullptr) {
    for (const Operand& operand : call.operands) {
      if (operand.block == &block) {
        hold_storage(block, *operand.tensor->unsafe_storage().unsafeGetStorageImpl());
      }
    }
  }
  update_evictable(block);
}

}  // namespace neap::engine
