// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "engine/call_recorder.h"

#include "engine/stack_tensors.h"
#include "intercept/autograd_phase.h"
#include "intercept/storage_access.h"

#include <algorithm>
#include <utility>

namespace neap::engine {
namespace {

// A block with more writes in place than this is pinned.
constexpr std::uint16_t kLongestChain = 64;

// An operator of an extension may go on with the addresses of its arguments and results after it
// has returned, as a collective that runs in another thread does.
bool may_keep_addresses(const intercept::OperatorTraits& traits) {
  return !traits.replayable && !traits.op.schema().name().starts_with("aten::");
}

void stays_in_place(Block& block, Store& store) {
  block.uncopied = true;
  store.drop_copy(block);
  store.update_lists(block);
}

}  // namespace

CallRecorder::CallRecorder(Session& session, Counts& counts, Recipes& recipes, Store& store,
                           Tracker& tracker, Regions& regions, const LayerNames& layers,
                           device::ExecutionStates& states)
    : session_(session),
      counts_(counts),
      recipes_(recipes),
      store_(store),
      tracker_(tracker),
      regions_(regions),
      layers_(layers),
      states_(states) {}

// ---- Before the kernel ----

// Note [Writes with grad mode off]
// Optimizer state, running averages and counters are written with grad mode off. They outlive the
// step, and the gradients that they are made from die. So the engine never makes them again from a
// recipe. The forward of a custom autograd function also writes with grad mode off. In a scope, a
// storage that it makes and writes can be made again on these conditions. It was made after grad
// mode went off. It depends only on parameters and on storages that can be made again, also through
// storages that were made in the same section. It is written at most a few times, since a sum of
// many batches would hold all of them. What an optimizer makes from its state, such as the root of
// an average, does not meet the conditions. Such functions also write by hand, so the bytes are
// checked before the content is lost: see Note [Blanks].
bool CallRecorder::hangs_on_what_stays(const Call& call) const {
  return std::ranges::all_of(call.reads, [this](const Block* read) {
    if (read->pinned == PinReason::Parameter) return true;
    return (session_.only_observing() ? read->observed_replayable() : read->replayable()) &&
           (read->scope_number < tracker_.section() || read->temporary);
  });
}

bool CallRecorder::may_write_again(const Call& call, const Block& block) const {
  if (call.grad_mode) return true;
  constexpr std::uint32_t kMostWrites = 4;
  return block.temporary && block.scope_number != kNoNumber &&
         block.scope_number >= tracker_.section() && block.version < kMostWrites &&
         !intercept::in_plain_backward() && hangs_on_what_stays(call);
}

// Says whether the results can be made again by a replay. It does not check whether the arguments
// can be encoded.
bool CallRecorder::may_run_again(Call& call) const {
  const intercept::OperatorTraits& traits = call.traits;
  if (!traits.replayable || traits.view || traits.empty || call.foreign) return false;
  if (call.writes.empty()) {
    if (!session_.is_tracking()) return false;
    // Note [Gradients]
    // To make a gradient again, the engine would have to replay the backward that made it. For that
    // it would have to hold the activations that die as the backward goes on. That saves no memory.
    // So what a backward makes is pinned, and not recorded.
    call.gradient = intercept::in_plain_backward();
    if (call.gradient) return false;
  } else {
    if (call.writes.size() != 1) return false;
    const Block& block = *call.writes[0];
    const bool again = session_.only_observing() ? block.observed_replayable() : block.replayable();
    if (!again && !(block.pinned == PinReason::Empty && call.whole)) return false;
    if (!may_write_again(call, block)) return false;
  }
  for (const Operand& operand : call.operands) {
    if (operand.block == nullptr && (operand.use == Use::Read || operand.use == Use::Write)) {
      return false;  // not tracked: outside of a region, or not LibTorch's memory
    }
  }
  return true;
}

void CallRecorder::encode(Call& call) {
  if (!may_run_again(call)) return;
  // A scope that only observes has recipes for blocks of its regions only.
  const bool unrecorded =
      session_.only_observing() && (call.writes.empty() || call.writes[0]->chain == nullptr);
  if (unrecorded && session_.observer == nullptr) {
    call.replayable = true;
    return;
  }
  code_.clear();
  const auto arguments = call.arguments();
  if (!engine::encode({arguments.data(), arguments.size()},
                      {call.operands.data(), call.operands.size()}, code_)) {
    return;
  }
  call.replayable = true;
  if (unrecorded) return;
  call.encoded = true;
  call.state = states_.current(!call.traits.pointwise);
  if (call.traits.random) save_generator(call);
}

void CallRecorder::save_generator(Call& call) {
  at::Generator generator = session_.device.default_generator();
  for (const c10::IValue& value : call.arguments()) {
    if (value.isGenerator()) generator = value.toGenerator();
  }
  if (!last_generator_ || last_generator_->generator() != generator ||
      !last_generator_->is_current()) {
    last_generator_ = session_.device.save(generator);
  }
  call.generator = last_generator_;
}

// ---- After it ----

// The block has a new content without a recipe.
void CallRecorder::wrote_unseen(Block& block) {
  ++block.version;
  if (block.chain != nullptr || block.pinned == PinReason::Observed) block.opaque = true;
  store_.update_lists(block);
}

// As a recorded write, but without a recipe: what could be made again before still can.
void CallRecorder::wrote_observed(Block& block) {
  block.pinned = PinReason::Observed;
  if (++block.version >= kLongestChain) block.opaque = true;
}

void CallRecorder::failed(const Call& call) {
  session_.stop_director();
  for (Block* const block : call.writes) wrote_unseen(*block);
  for (Block* const block : call.once_writes) wrote_unseen(*block);
}

void CallRecorder::record(Call& call) {
  try {
    record_all(call);
  } catch (...) {  // what the kernel has written is known to be written in any case
    failed(call);
    throw;
  }
}

void CallRecorder::record_all(Call& call) {
  counts_.clock += static_cast<double>(call.cost_ns);
  call.operator_sequence = recipes_.next_sequence();
  const NewStorages made = session_.is_tracking() ? new_storages(call) : NewStorages();
  if (call.keeps_operands) pin_operands(call);
  if (may_keep_addresses(call.traits) && store_.makes_copies()) {
    for (const Operand& operand : call.operands) {
      if (operand.block != nullptr) stays_in_place(*operand.block, store_);
    }
  }
  for (Block* const block : call.once_writes) wrote_unseen(*block);
  if (!call.writes.empty() && !call.traits.view) record_writes(call, !made.empty());
  if (made.empty()) return tell(call, {});
  record_made(call, made);
}

// The new storages among the results, each once.
CallRecorder::NewStorages CallRecorder::new_storages(Call& call) const {
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
    if (!store_.is_own(pointer) || pointer.get_context() == nullptr) return;
    if (memory::entry_of(pointer.get_context()).record != nullptr) return;
    const auto is_it = [&](const c10::StorageImpl* other) { return other == storage; };
    if (std::ranges::any_of(call.storages, is_it)) return;
    if (std::ranges::any_of(made, is_it, &NewStorage::storage)) return;
    made.push_back({storage, &tensor, mine});
  });
  return made;
}

// A tensor that is not plain may hold them now. Nobody sees who reads them there.
void CallRecorder::pin_operands(const Call& call) {
  for (const Operand& operand : call.operands) {
    if (operand.block == nullptr) continue;
    stays_in_place(*operand.block, store_);
    if (operand.block->observed_replayable()) {
      operand.block->opaque = true;
      if (session_.observer != nullptr) session_.observer->not_replayable(*operand.block);
    }
    store_.update_lists(*operand.block);
  }
}

// Why what the operator has made is pinned. None: the operator becomes its recipe.
PinReason CallRecorder::pin_reason_of(Call& call, const NewStorages& made) const {
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

Node* CallRecorder::create_node(Call& call, std::span<const Recipes::NewWrite> writes) {
  Node* const node = recipes_.create_node(call.traits, {call.reads.data(), call.reads.size()},
                                          writes, code_.bytes());
  node->cost_ns = call.cost_ns;
  node->generator = std::move(call.generator);
  node->state = call.state;
  return node;
}

void CallRecorder::record_made(Call& call, const NewStorages& made) {
  // First, because it may take back call.replayable, which the observer is told.
  const PinReason pinned = pin_reason_of(call, made);
  const NewBlocks blocks = create_blocks(call, made, pinned);
  tell(call, {blocks.data(), blocks.size()});
  if (pinned == PinReason::None) record_recipe(call, made, blocks);
}

// Makes a block for each new storage, in the same order.
CallRecorder::NewBlocks CallRecorder::create_blocks(const Call& call, const NewStorages& made,
                                                    PinReason pinned) {
  const std::uint16_t layer = layer_of(call);
  // Only such a block may be written with grad mode off and still have a recipe: see
  // Note [Writes with grad mode off].
  const bool temporary = !call.grad_mode && !call.gradient && hangs_on_what_stays(call);
  // The operator can make the content again. Observed: it can too, but its scope evicts nothing.
  const bool remade = pinned == PinReason::None || pinned == PinReason::Observed;
  // The program may still fill by hand what it made from no tensor: see Note [Blanks].
  const bool blank = call.traits.factory && remade;
  NewBlocks blocks;
  for (const NewStorage& one : made) {
    Block* const block = tracker_.create(*one.storage, pinned);
    block->maker = &call.traits;
    block->layer = layer;
    block->temporary = temporary;
    if (may_keep_addresses(call.traits) && store_.makes_copies()) stays_in_place(*block, store_);
    if (blank && call.traits.zeros) {
      block->blank = Blank::Zeros;  // needs no hash
    } else if (blank) {
      store_.mark_blank(*block);
    }
    blocks.push_back(block);
  }
  return blocks;
}

// The operator becomes the recipe of the blocks that it has made.
void CallRecorder::record_recipe(Call& call, const NewStorages& made, const NewBlocks& blocks) {
  c10::SmallVector<Recipes::NewWrite, 4> writes;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    writes.push_back({.block = blocks[i], .version = 0, .result = made[i].result, .whole = true});
  }
  Node* const node = create_node(call, {writes.data(), writes.size()});
  node->once = call.once;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    Block& block = *blocks[i];
    block.cost_ns = node->cost_ns;
    store_.update_lists(block);
    regions_.decide(block, call.traits, made[i].tensor->sizes());
  }
}

void CallRecorder::record_writes(Call& call, bool makes_blocks) {
  // The kernel's allocations may have freed what its operand was made from, and dropped the
  // operand's recipe.
  const bool begun = call.whole || call.writes[0]->chain != nullptr;
  if (!call.encoded || makes_blocks || !begun) return wrote_unrecorded(call, makes_blocks);
  record_write(call, *call.writes[0]);
}

void CallRecorder::wrote_unrecorded(const Call& call, bool makes_blocks) {
  for (Block* const block : call.writes) {
    if (call.replayable && !call.encoded && !makes_blocks) {
      wrote_observed(*block);
      if ((call.whole && call.reads.empty()) || !call.grad_mode) store_.mark_blank(*block);
      continue;
    }
    wrote_unseen(*block);
    if (block->pinned == PinReason::Empty && call.whole) block->pinned = PinReason::NotReplayable;
  }
}

void CallRecorder::record_write(Call& call, Block& block) {
  const Recipes::NewWrite write{&block, block.version + 1, 0, call.whole};
  create_node(call, {&write, 1})->mutation = true;
  ++block.version;
  block.pinned = PinReason::None;
  if (call.whole) written_whole(call, block);
  if (!call.grad_mode) store_.mark_blank(block);
  block.cost_ns += call.cost_ns;
  if (block.chain_length > kLongestChain) block.opaque = true;
  if (block.storage == nullptr) {
    for (const Operand& operand : call.operands) {
      if (operand.block == &block) {
        store_.hold_storage(block, *operand.tensor->unsafe_storage().unsafeGetStorageImpl());
      }
    }
  }
  store_.update_lists(block);
}

// The block has a new content that needs nothing of the old one.
void CallRecorder::written_whole(const Call& call, Block& block) {
  block.cost_ns = call.cost_ns;
  block.maker = &call.traits;
  block.layer = layer_of(call);
  for (const Operand& operand : call.operands) {
    if (operand.block == &block) regions_.decide(block, call.traits, operand.tensor->sizes());
  }
  block.cost_ns = 0;
  if (block.reader_count == 0) recipes_.forget_older_writes(block);
  if (call.reads.empty()) store_.mark_blank(block);
}

void CallRecorder::tell(const Call& call, std::span<Block* const> made) {
  if (session_.observer == nullptr || call.traits.view) return;
  session_.observer->ran({call.traits,
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
std::uint16_t CallRecorder::layer_of(const Call& call) const {
  if (layers_.empty()) return 0;
  std::uint16_t inherited = 0;
  for (const Operand& operand : call.operands) {
    if (operand.block == nullptr || operand.block->layer == 0) continue;
    if (operand.block->maker == nullptr) return operand.block->layer;
    if (inherited == 0) inherited = operand.block->layer;
  }
  return inherited;
}

}  // namespace neap::engine
