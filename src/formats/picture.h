// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// formats/picture.h: PNG and JPEG as bytes of pixels.
#pragma once

#include "formats/npy.h"

#include <cstdint>
#include <span>
#include <vector>

namespace neap::formats {

struct Picture {
  std::int64_t channels = 0;  // 1: grey, 3: red, green, blue
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::vector<unsigned char> pixels;  // (channels, height, width)
};

// Decodes a PNG or a JPEG, by its first bytes. Grey pictures have one channel, all others three;
// what is transparent lies on black. Threads: any.
// Throws: FormatError for a damaged picture, another kind, or one of more than kMostPixels.
inline constexpr std::int64_t kMostPixels = std::int64_t{1} << 26;
Picture decode_picture(std::span<const unsigned char> file);

// The same picture with this shape, between its pixels by bilinear interpolation in whole numbers:
// equal on every machine. One channel becomes three by copies, and three one by the luma of ITU-R
// BT.601.
Picture shaped(const Picture& picture, std::int64_t channels, std::int64_t height,
               std::int64_t width);

}  // namespace neap::formats
