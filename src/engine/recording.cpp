// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/recording.cpp: what is remembered of an operator that has run. Hot: once per operator. Guarded by bench/micro.cpp.
#include "engine/call.h"
#include "engine/engine.h"
#include "intercept/autograd_phase.h"
#include "intercept/storage_access.h"

namespace neap::engine {
namespace {

constexpr std::uint16_t kLongestChain =
    64;  // a block that is written in place more often is pinned

}  // namespace

// The block's newest content has no recipe.
void Engine::wrote_unseen(Block& block) {
  ++block.version;
  if (block.chain != nullptr || block.given == Given::Observed) block.opaque = true;
  update_evictable(block);
}

// As a recorded write, without the recipe: what could be made again still could.
void Engine::wrote_observed(Block& block) {
  block.given = Given::Observed;
  if (++block.version >= kLongestChain) block.opaque = true;
}

// What a kernel that threw has written nobody knows.
void Engine::failed(Call& call) {
  for (Block* const block : call.writes) wrote_unseen(*block);
  for (Block* const block : call.once_writes) wrote_unseen(*block);
}

void Engine::record_results(Call& call) {
  clock_ += static_cast<double>(call.cost_ns);
  call.sequence = recipes_.next_sequence();

  // New storages among the results, each once, with the number of the first tensor on it.
  struct Made {
    c10::StorageImpl* storage;
    const at::Tensor* tensor;
    std::uint16_t result;
  };
  c10::SmallVector<Made, 4> made;
  if (following()) {
    std::uint16_t number = 0;
    const auto look = [&](const c10::IValue& value) {
      const std::uint16_t mine = number++;
      const at::Tensor& tensor = value.toTensor();
      if (!tensor.defined()) return;
      if (!intercept::is_plain(*tensor.unsafeGetTensorImpl())) {
        call.keeps_operands = true;
        return;
      }
      if (call.traits.view) return;
      c10::StorageImpl* const storage =
          tensor.unsafeGetTensorImpl()->unsafe_storage().unsafeGetStorageImpl();
      if (storage == nullptr || storage->nbytes() == 0) return;
      const c10::DataPtr& pointer = intercept::data_ptr_of(*storage);
      if (pointer.get_deleter() != own_deleter_ || pointer.get_context() == nullptr) return;
      if (memory::header_of(pointer.get_context())->record != nullptr) return;
      for (const c10::StorageImpl* const operand : call.storages) {
        if (operand == storage) return;
      }
      for (const Made& known : made) {
        if (known.storage == storage) return;
      }
      made.push_back({storage, &tensor, mine});
    };
    for (std::size_t i = call.first_argument; i < call.stack->size(); ++i) {
      const c10::IValue& value = (*call.stack)[i];
      if (value.isTensor()) {
        look(value);
      } else if (value.isTensorList()) {
        for (const c10::IValue& element : value.toListRef()) look(element);
      }
    }
  }

  if (call.keeps_operands) {
    for (const Operand& operand : call.operands) {
      if (operand.block == nullptr || !operand.block->observed_replayable()) continue;
      operand.block->opaque = true;
      if (observer_ != nullptr) observer_->not_replayable(*operand.block);
      update_evictable(*operand.block);
    }
  }
  for (Block* const block : call.once_writes) wrote_unseen(*block);
  if (!call.writes.empty() && !call.traits.view) record_writes(call, !made.empty());
  if (made.empty()) return tell(call, {});
  Given given = Given::No;
  // An operator that both makes and writes has no recipe. Nor has a small tensor made from no tensor: a recipe would take more bytes.
  const bool number = call.traits.factory && !call.traits.zeros &&
                      static_cast<std::int64_t>(made[0].storage->nbytes()) < kSmallest;
  if (!call.writes.empty() || number) call.replayable = false;
  if (!call.encoded || !call.replayable) {
    given = call.traits.empty                               ? Given::Empty
            : call.foreign                                  ? Given::Foreign
            : call.replayable                               ? Given::Observed
            : call.gradient                                 ? Given::Gradient
            : call.traits.factory && call.traits.replayable ? Given::Factory
                                                            : Given::NotReplayable;
  }
  c10::SmallVector<Recipes::NewWrite, 4> writes;
  const std::uint16_t layer = layer_of(call);
  const bool temporary = !call.grad_mode && !call.gradient && hangs_on_what_stays(call);
  for (const Made& one : made) {
    Block* const block = create(*one.storage, given);
    block->maker = &call.traits;
    block->layer = layer;
    block->temporary = temporary;
    if (call.traits.factory && (given == Given::No || given == Given::Observed)) {
      if (call.traits.zeros) {
        block->blank = Blank::Zeros;
      } else {
        mark_blank(*block);
      }
    }
    writes.push_back({block, 0, one.result, true});
  }
  if (observer_ != nullptr) {
    c10::SmallVector<Block*, 4> blocks;
    for (const Recipes::NewWrite& write : writes) blocks.push_back(write.block);
    tell(call, {blocks.data(), blocks.size()});
  }
  if (given != Given::No) return;
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
                  call.sequence,
                  call.allocations,
                  call.live,
                  call.peak,
                  call.replayable,
                  call.whole,
                  intercept::in_plain_backward(),
                  call.grad_mode});
}

// The layer whose parameter the operator reads, else that of its first operand.
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
  // To make room for this kernel, what its operand was made from may have gone, and the operand's recipe with it.
  const bool begun = call.whole || call.writes[0]->chain != nullptr;
  if (!call.encoded || makes_blocks || !begun) {
    for (Block* const block : call.writes) {
      if (call.replayable && !call.encoded && !makes_blocks) {
        wrote_observed(*block);
        if ((call.whole && call.reads.empty()) || !call.grad_mode) mark_blank(*block);
        continue;
      }
      wrote_unseen(*block);
      if (block->given == Given::Empty && call.whole) block->given = Given::NotReplayable;
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
  block.given = Given::No;
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
