// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "export/tfevents.h"

#include "export/tfevents.pb.h"

#include <neap/base.h>

#include <pb_encode.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <limits>

namespace neap::app {
namespace {

constexpr std::array<std::uint32_t, 256> crc_table() {
  constexpr std::uint32_t kPolynomial = 0x82F63B78;  // its bits in reverse
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < table.size(); ++byte) {
    std::uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 1) != 0 ? crc >> 1 ^ kPolynomial : crc >> 1;
    table.at(byte) = crc;
  }
  return table;
}

// TensorFlow's mask: the crc of bytes that hold a crc themselves would be a weak one.
std::uint32_t masked_crc(std::string_view bytes) {
  constexpr std::uint32_t kMask = 0xA282EAD8;
  const std::uint32_t crc = crc32c(bytes);
  return (crc >> 15 | crc << 17) + kMask;
}

void append_number(std::string& to, std::uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) to += static_cast<char>(value >> (8 * i) & 0xFF);
}

std::string encoded(const neap_tfevents_Event& event) {
  std::array<pb_byte_t, neap_tfevents_Event_size> buffer{};
  pb_ostream_t stream = pb_ostream_from_buffer(buffer.data(), buffer.size());
  if (!pb_encode(&stream, neap_tfevents_Event_fields, &event)) {
    throw Error(std::string("an event cannot be encoded: ") + PB_GET_ERROR(&stream));
  }
  return {reinterpret_cast<const char*>(buffer.data()), stream.bytes_written};
}

// A number beyond the range of float becomes infinite.
float as_float(double value) {
  constexpr double kMost = std::numeric_limits<float>::max();
  if (value > kMost) return std::numeric_limits<float>::infinity();
  if (value < -kMost) return -std::numeric_limits<float>::infinity();
  return static_cast<float>(value);
}

template <std::size_t kSize>
void set_text(char (&to)[kSize], const char* text) {
  std::snprintf(to, kSize, "%s", text);
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
  constexpr std::array<std::uint32_t, 256> kTable = crc_table();
  std::uint32_t crc = ~std::uint32_t{0};
  for (const char one : bytes) {
    crc = kTable.at((crc ^ static_cast<unsigned char>(one)) & 0xFF) ^ crc >> 8;
  }
  return ~crc;
}

EventFile::EventFile(double wall_time) {
  neap_tfevents_Event event = neap_tfevents_Event_init_zero;
  event.wall_time = wall_time;
  event.has_file_version = true;
  set_text(event.file_version, "brain.Event:2");
  add_record(encoded(event));
}

void EventFile::add(const char* tag, std::int64_t step, double wall_time, double value) {
  neap_tfevents_Event event = neap_tfevents_Event_init_zero;
  event.wall_time = wall_time;
  event.has_step = true;
  event.step = step;
  event.has_summary = true;
  event.summary.value_count = 1;
  neap_tfevents_Value& scalar = event.summary.value[0];
  set_text(scalar.tag, tag);
  scalar.simple_value = as_float(value);
  add_record(encoded(event));
}

void EventFile::add_record(std::string_view event) {
  std::string length;
  append_number(length, event.size(), 8);
  bytes_ += length;
  append_number(bytes_, masked_crc(length), 4);
  bytes_ += event;
  append_number(bytes_, masked_crc(event), 4);
}

}  // namespace neap::app
