// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/call_codec.h: the arguments of an operator as a few bytes, and back.
//
// Grammar, native byte order:
//   call    := value*                      one for each argument
//   value   := tag payload
//   tensor  := flags:u16 dtype:u8 dim:u8 reference:u16 [offset:i64] size* [stride*] ; i32, or i64 when Wide
//   lists   := count:u32 element*
// A tensor names its storage by number: of a Read, or of a Write, of its node.
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
  None,    // no bytes: zero-sized
  Read,    // reads the data
  Write,   // writes (and, unless it overwrites, reads) the data
  Unread,  // looks at the shape only
  Once,    // updates state in the first run only
};

struct Operand {
  c10::TensorImpl* tensor;
  Block* block;
  std::uint16_t reference;  // number of the Read or Write
  std::uint8_t argument;
  Use use;
};

// Bytes at the end of which others are written. A vector would write each twice.
class Code {
 public:
  [[nodiscard]] std::span<const std::uint8_t> bytes() const { return {bytes_.get(), size_}; }
  void clear() noexcept { size_ = 0; }
  // So many more, yet to be written.
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

// Appends the arguments to `code`. `operands`: the defined tensors among them, flat, in order. False when an argument has a
// type that cannot be written down; `code` is then of no use.
bool encode(std::span<const c10::IValue> arguments, std::span<const Operand> operands, Code& code);

// Where the bytes of a tensor argument are.
class StorageSource {
 public:
  virtual ~StorageSource() = default;
  virtual c10::Storage storage(Use use, std::uint16_t reference) = 0;
  // For an argument that named a generator.
  [[nodiscard]] virtual at::Generator generator() const = 0;
};

// Pushes the arguments. REQUIRES: `code` is from encode().
void decode(std::span<const std::uint8_t> code, std::size_t arguments, StorageSource& source,
            torch::jit::Stack& stack);

}  // namespace neap::engine
