// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "export/pickle.h"

#include "output.h"

#include <limits>
#include <utility>

namespace neap::app {
namespace {

// Of a part of a list or a dict, keys and values counted alone; even, so that no pair is cut.
constexpr int kItemsOfPart = 1000;

// The lowest `count` bytes, the lowest first.
void append_bytes(std::string& to, std::uint64_t value, int count) {
  for (int i = 0; i < count; ++i) to += static_cast<char>(value >> (8 * i) & 0xFF);
}

}  // namespace

PickleWriter::PickleWriter() : bytes_("\x80\x02") {}

void PickleWriter::none() {
  next_item();
  bytes_ += 'N';
}

void PickleWriter::boolean(bool value) {
  next_item();
  bytes_ += value ? '\x88' : '\x89';
}

void PickleWriter::integer(std::int64_t value) {
  next_item();
  const auto bits = static_cast<std::uint64_t>(value);
  if (value >= 0 && value <= std::numeric_limits<std::uint8_t>::max()) {
    bytes_ += 'K';
    append_bytes(bytes_, bits, 1);
  } else if (value >= std::numeric_limits<std::int32_t>::min() &&
             value <= std::numeric_limits<std::int32_t>::max()) {
    bytes_ += 'J';
    append_bytes(bytes_, bits, 4);
  } else {
    bytes_ += "\x8A\x08";
    append_bytes(bytes_, bits, 8);
  }
}

void PickleWriter::text(std::string_view value) {
  next_item();
  const std::string text = utf8(value);
  bytes_ += 'X';
  append_bytes(bytes_, text.size(), 4);
  bytes_ += text;
}

std::uint32_t PickleWriter::remember() {
  bytes_ += 'r';
  append_bytes(bytes_, remembered_, 4);
  return remembered_++;
}

void PickleWriter::again(std::uint32_t number) {
  next_item();
  bytes_ += 'j';
  append_bytes(bytes_, number, 4);
}

std::string PickleWriter::finish() {
  bytes_ += '.';
  return std::move(bytes_);
}

void PickleWriter::begin(std::string_view opcodes, bool is_list) {
  next_item();
  bytes_ += opcodes;
  levels_.push_back({is_list, 0});
}

void PickleWriter::end(std::string_view opcode) {
  bytes_ += opcode;
  levels_.pop_back();
}

void PickleWriter::next_item() {
  if (levels_.empty()) return;
  Level& level = levels_.back();
  if (level.items == kItemsOfPart) {
    bytes_ += level.is_list ? "e(" : "u(";
    level.items = 0;
  }
  ++level.items;
}

}  // namespace neap::app
