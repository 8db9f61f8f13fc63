// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// formats/npy.h: arrays that numpy.save wrote, as numpy describes them at
// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
#pragma once

#include <neap/base.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace neap::formats {

// A file that cannot be used. `offset`: of what is wrong in it, in bytes.
class FormatError : public Error {
 public:
  FormatError(const std::string& what, std::int64_t offset_bytes)
      : Error(what), offset(offset_bytes) {}
  std::int64_t offset;
};

enum class Element : std::uint8_t { Bool, UInt8, Int8, Int16, Int32, Int64, Float32, Float64 };
std::size_t bytes_of(Element element);

struct Npy {
  Element element = Element::UInt8;
  std::vector<std::int64_t> shape;
  std::span<const unsigned char> items;  // little-endian, row by row; of the file's bytes
};

// Parses a whole file of version 1, 2 or 3. Throws: FormatError for a damaged one, and for arrays
// that are not supported: other types, another byte order, Fortran's order.
Npy parse_npy(std::span<const unsigned char> file);

}  // namespace neap::formats
