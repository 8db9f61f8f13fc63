// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/call_codec.h: encodes the arguments of an operator in a few bytes, and decodes them.
//
// Grammar, native byte order:
//   call    := value*                      one for each argument
//   value   := tag payload
//   tensor  := flags:u16 dtype:u8 dim:u8 reference:u16 [offset:i64] size* [stride*]
//              sizes and strides are i32, or i64 when the flag Wide is set; a Number has its
//              bytes instead of a reference
//   lists   := count:u32 element*
// A tensor names its storage by the number of a Read or of a Write of its node.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/ivalue.h>
#include <ATen/core/stack.h>
#include <c10/core/TensorImpl.h>

#include <cstdint>
#include <memory>
#include <span>
#include <utility>

namespace neap::engine {

struct Block;

// How an operator uses a tensor argument.
enum class Use : std::uint8_t {
  None,    // its storage has zero bytes
  Read,    // reads the data
  Write,   // writes the data, and also reads it unless the operator overwrites it
  Unread,  // looks at the shape only
  Once,    // updates state in the first run only
  Number,  // a number that the host holds, for an operator of another device
};

struct Operand {
  c10::TensorImpl* tensor;
  Block* block;
  std::uint16_t reference;  // index of the Read or Write
  std::uint8_t argument;
  Use use;
};

// A byte buffer that grows at its end. A std::vector would fill new bytes with zeros before they
// are written.
class Code {
 public:
  [[nodiscard]] std::span<const std::uint8_t> bytes() const { return {bytes_.get(), size_}; }
  void clear() noexcept { size_ = 0; }
  // Makes room for `bytes` more at the end. Returns their address; the caller writes them.
  std::uint8_t* append(std::size_t bytes) {
    if (capacity_ - size_ < bytes) grow(bytes);
    return bytes_.get() + std::exchange(size_, size_ + bytes);
  }

 private:
  void grow(std::size_t bytes);

  std::unique_ptr<std::uint8_t[]> bytes_;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

// Appends the arguments to `code`. `operands`: the defined tensors among the arguments, flat, in
// order. Returns false when an argument has a type that cannot be encoded; `code` is then useless.
bool encode(std::span<const c10::IValue> arguments, std::span<const Operand> operands, Code& code);

// Gives the storages of tensor arguments to decode().
class StorageSource {
 public:
  virtual ~StorageSource() = default;
  virtual c10::Storage storage(Use use, std::uint16_t reference) = 0;
  // The generator for an argument that named one.
  [[nodiscard]] virtual at::Generator generator() const = 0;
};

// Pushes the arguments onto `stack`. REQUIRES: `code` comes from encode().
void decode(std::span<const std::uint8_t> code, std::size_t arguments, StorageSource& source,
            torch::jit::Stack& stack);

}  // namespace neap::engine
