// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/data/files.h: files of a data set, whole and damaged.
#pragma once

#include "support/scratch_folder.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>

namespace neap::data {

inline std::string be32(std::uint32_t number) {
  std::string text;
  for (int shift = 24; shift >= 0; shift -= 8) text += static_cast<char>(number >> shift & 0xff);
  return text;
}

// The header of an IDX file.
inline std::string header(std::initializer_list<std::uint32_t> extents) {
  std::string text = std::string("\0\0\x08", 3) + static_cast<char>(extents.size());
  for (const std::uint32_t extent : extents) text += be32(extent);
  return text;
}

inline std::string items(std::size_t count, std::size_t below) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += static_cast<char>(i * 7 % below);
  return text;
}

// Packs as gzip does.
inline std::string packed(const std::string& content) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(content.size() + 1024, '\0');
  std::string in = content;
  stream.next_in = reinterpret_cast<Bytef*>(in.data());
  stream.avail_in = static_cast<uInt>(in.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

class WithFolder : public test::ScratchFolder, public testing::Test {};

}  // namespace neap::data
