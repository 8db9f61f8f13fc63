// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A file of scalars that TensorBoard reads: events.out.tfevents.*. No LibTorch here.
//   file   := record*
//   record := length (8 bytes) crc(length) event crc(event)
// Numbers are little endian; crc is crc32c, masked as TensorFlow does; event is tfevents.proto.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace neap::app {

// crc32c (Castagnoli) of the bytes.
std::uint32_t crc32c(std::string_view bytes);

class EventFile {
 public:
  // `wall_time`: seconds since 1970, when the file begins.
  explicit EventFile(double wall_time);
  // `tag`: at most 15 characters. TensorBoard keeps values as float.
  void add(const char* tag, std::int64_t step, double wall_time, double value);
  [[nodiscard]] const std::string& bytes() const { return bytes_; }

 private:
  void add_record(std::string_view event);

  std::string bytes_;
};

}  // namespace neap::app
