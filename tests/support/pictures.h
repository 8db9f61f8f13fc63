// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/support/pictures.h: writes PNG and JPEG files for tests.
#pragma once

#include <png.h>
#include <turbojpeg.h>

#include <cstdint>
#include <vector>

namespace neap::test {

// Pixels (height, width, channels); channels: 1 or 3.
inline std::vector<unsigned char> gradient(int channels, int height, int width) {
  std::vector<unsigned char> rows;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int c = 0; c < channels; ++c) {
        rows.push_back(static_cast<unsigned char>(10 * y + 3 * x + 50 * c));
      }
    }
  }
  return rows;
}

inline std::vector<unsigned char> as_png(int channels, int height, int width,
                                         const std::vector<unsigned char>& rows) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(width);
  image.height = static_cast<png_uint_32>(height);
  image.format = channels == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY;
  png_alloc_size_t size = 0;
  png_image_write_to_memory(&image, nullptr, &size, 0, rows.data(), 0, nullptr);
  std::vector<unsigned char> file(size);
  png_image_write_to_memory(&image, file.data(), &size, 0, rows.data(), 0, nullptr);
  return file;
}

inline std::vector<unsigned char> as_jpeg(int channels, int height, int width,
                                          const std::vector<unsigned char>& rows) {
  const tjhandle encoder = tjInitCompress();
  unsigned char* data = nullptr;
  unsigned long size = 0;
  tjCompress2(encoder, rows.data(), width, 0, height, channels == 3 ? TJPF_RGB : TJPF_GRAY, &data,
              &size, channels == 3 ? TJSAMP_444 : TJSAMP_GRAY, 100, TJFLAG_ACCURATEDCT);
  std::vector<unsigned char> file(data, data + size);
  tjFree(data);
  tjDestroy(encoder);
  return file;
}

}  // namespace neap::test
