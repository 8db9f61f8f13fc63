// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "engine/scanner.h"

#include "engine/stack_tensors.h"
#include "intercept/operators.h"
#include "intercept/storage_access.h"

#include <cstdint>

namespace neap::engine {
namespace {

// True when a write of the whole tensor writes each byte of its storage.
bool covers_storage(const c10::TensorImpl& tensor) {
  return tensor.is_non_overlapping_and_dense() &&
         static_cast<std::size_t>(tensor.numel()) * tensor.itemsize() ==
             tensor.unsafe_storage().nbytes();
}

// `bit`: of the argument.
Use use_of(const Call& call, std::uint64_t bit) {
  if (call.once && (call.traits.once & bit) != 0) return Use::Once;
  if ((call.traits.writes & bit) != 0) return Use::Write;
  return (call.traits.unread & bit) != 0 ? Use::Unread : Use::Read;
}

// Gives each read and written block its index. A block that is written counts as written only: the
// node holds it through its chain.
void choose_references(Call& call) {
  const auto add = [](auto& blocks, Block* block) {
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      if (blocks[i] == block) return static_cast<std::uint16_t>(i);
    }
    blocks.push_back(block);
    return static_cast<std::uint16_t>(blocks.size() - 1);
  };
  for (Operand& operand : call.operands) {
    if (operand.block == nullptr) continue;
    if (operand.use == Use::Write) operand.reference = add(call.writes, operand.block);
    if (operand.use == Use::Once) add(call.once_writes, operand.block);
  }
  bool overlap = false;
  const Operand* written = nullptr;
  for (Operand& operand : call.operands) {
    if (operand.block == nullptr) continue;
    if (operand.use == Use::Write) written = &operand;
    if (operand.use != Use::Read) continue;
    for (std::size_t i = 0; i < call.writes.size(); ++i) {
      if (call.writes[i] != operand.block) continue;
      operand.use = Use::Write;
      operand.reference = static_cast<std::uint16_t>(i);
      overlap = true;
    }
    if (operand.use == Use::Read) operand.reference = add(call.reads, operand.block);
  }
  call.whole = call.traits.overwrites && call.writes.size() == 1 && !overlap &&
               written != nullptr && covers_storage(*written->tensor);
}

}  // namespace

void Scanner::scan(Call& call) {
  const auto arguments = call.arguments();
  const bool once = intercept::updates_once(call.traits, arguments);
  call.once = once;
  for_each_tensor(arguments, [&](const at::Tensor& tensor, std::size_t argument) {
    if (tensor.defined()) scan_tensor(call, tensor, argument);
  });
  if (call.traits.random) {
    for (const c10::IValue& value : arguments) {
      if (value.isGenerator() && !session_.device.can_save(value.toGenerator()))
        call.foreign = true;
    }
  }
  choose_references(call);
}

void Scanner::scan_tensor(Call& call, const at::Tensor& tensor, std::size_t argument) {
  c10::TensorImpl& impl = *tensor.unsafeGetTensorImpl();
  const std::uint64_t bit = std::uint64_t{1} << argument;
  if (!intercept::is_plain(impl)) {
    if (intercept::is_host_number(impl)) {
      call.operands.push_back(
          {&impl, nullptr, 0, static_cast<std::uint8_t>(argument), Use::Number});
      return;
    }
    call.foreign = true;
    call.keeps_operands = call.keeps_operands || (call.traits.writes & bit) != 0;
    return;
  }
  c10::StorageImpl* const storage = impl.unsafe_storage().unsafeGetStorageImpl();
  if (storage == nullptr) {
    call.foreign = true;
    return;
  }
  call.storages.push_back(storage);
  const Use use = use_of(call, bit);
  if (storage->nbytes() == 0) {
    if (use == Use::Write) call.foreign = true;  // the operator will allocate its memory
    call.operands.push_back({&impl, nullptr, 0, static_cast<std::uint8_t>(argument), Use::None});
    return;
  }
  Block* const block = block_of(call, tensor, *storage, use);
  if (block != nullptr && block->pinned == PinReason::Exposed && use != Use::Unread) {
    call.foreign = true;
  }
  call.operands.push_back({&impl, block, 0, static_cast<std::uint8_t>(argument), use});
}

Block* Scanner::block_of(Call& call, const at::Tensor& tensor, c10::StorageImpl& storage, Use use) {
  Block* block = store_.find(storage);
  if (block == nullptr && use != Use::Unread && !call.traits.view && session_.is_tracking()) {
    block = tracker_.track(tensor, storage);
    if (block == nullptr) call.foreign = true;
  }
  if (block == nullptr) return nullptr;
  if (block->scope_number == kNoNumber) tracker_.meet_first(*block, storage);
  if (block->storage != nullptr && block->storage != &storage) {
    store_.hold_storage(*block, storage);  // the program has moved the memory to another storage
  }
  return block;
}

}  // namespace neap::engine
