// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "formats/picture.h"

#include <png.h>
#include <turbojpeg.h>

#include <algorithm>
#include <array>
#include <memory>

namespace neap::formats {
namespace {

void check_size(std::int64_t width, std::int64_t height) {
  if (width < 1 || height < 1) throw FormatError("a damaged picture: it has no size", 0);
  if (width <= kMostPixels / height) return;
  throw FormatError("a picture of " + std::to_string(width) + " x " + std::to_string(height) +
                        "; known are those of up to " + std::to_string(kMostPixels) + " pixels",
                    0);
}

// (height, width, channels) to (channels, height, width).
Picture planar(std::int64_t channels, std::int64_t height, std::int64_t width,
               const std::vector<unsigned char>& rows) {
  Picture picture{channels, height, width, std::vector<unsigned char>(rows.size())};
  const std::int64_t area = height * width;
  for (std::int64_t i = 0; i < area; ++i) {
    for (std::int64_t c = 0; c < channels; ++c) {
      picture.pixels[static_cast<std::size_t>(c * area + i)] =
          rows[static_cast<std::size_t>(i * channels + c)];
    }
  }
  return picture;
}

Picture decode_png(std::span<const unsigned char> file) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  const std::unique_ptr<png_image, void (*)(png_image*)> freed(&image, &png_image_free);
  const auto refuse = [&] { throw FormatError(std::string("a damaged PNG: ") + image.message, 0); };
  if (png_image_begin_read_from_memory(&image, file.data(), file.size()) == 0) refuse();
  check_size(image.width, image.height);
  const bool has_colour = (image.format & PNG_FORMAT_FLAG_COLOR) != 0;
  image.format = has_colour ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY;
  std::vector<unsigned char> rows(PNG_IMAGE_SIZE(image));
  constexpr png_color kBlack{0, 0, 0};
  if (png_image_finish_read(&image, &kBlack, rows.data(), 0, nullptr) == 0) refuse();
  // libpng reads on after some damages, and says so.
  if (PNG_IMAGE_FAILED(image)) refuse();
  return planar(has_colour ? 3 : 1, image.height, image.width, rows);
}

Picture decode_jpeg(std::span<const unsigned char> file) {
  const std::unique_ptr<void, int (*)(tjhandle)> decoder(tjInitDecompress(), &tjDestroy);
  if (!decoder) throw Error("the JPEG decoder cannot begin: no memory");
  const auto refuse = [&] {
    throw FormatError(std::string("a damaged JPEG: ") + tjGetErrorStr2(decoder.get()), 0);
  };
  int width = 0, height = 0, subsampling = 0, colours = 0;
  if (tjDecompressHeader3(decoder.get(), file.data(), file.size(), &width, &height, &subsampling,
                          &colours) != 0) {
    refuse();
  }
  check_size(width, height);
  const bool is_grey = colours == TJCS_GRAY;
  if (!is_grey && colours != TJCS_YCbCr && colours != TJCS_RGB) {
    throw FormatError("a JPEG with colours for print (CMYK); convert it to RGB", 0);
  }
  const std::int64_t channels = is_grey ? 1 : 3;
  std::vector<unsigned char> rows(static_cast<std::size_t>(channels) *
                                  static_cast<std::size_t>(width) *
                                  static_cast<std::size_t>(height));
  // The accurate transform gives the same bits with and without vector instructions. A file that is
  // cut short is a warning there, and an error here. Thousands of scans would take minutes.
  constexpr int kFlags = TJFLAG_ACCURATEDCT | TJFLAG_STOPONWARNING | TJFLAG_LIMITSCANS;
  if (tjDecompress2(decoder.get(), file.data(), file.size(), rows.data(), width, 0, height,
                    is_grey ? TJPF_GRAY : TJPF_RGB, kFlags) != 0) {
    refuse();
  }
  return planar(channels, height, width, rows);
}

// Where each of `to` places lies between `from` places: the place before it, and how far it is from
// there in 256ths.
struct Between {
  std::int64_t before;
  std::int64_t after;
  std::int64_t share;  // of `after`, 0 to 255
};
std::vector<Between> places(std::int64_t from, std::int64_t to) {
  std::vector<Between> all;
  for (std::int64_t i = 0; i < to; ++i) {
    // The middle of the place, in 256ths of a pixel of `from`.
    const std::int64_t middle =
        std::clamp<std::int64_t>((2 * i + 1) * from * 128 / to - 128, 0, (from - 1) * 256);
    const std::int64_t before = middle / 256;
    all.push_back({before, std::min(before + 1, from - 1), middle % 256});
  }
  return all;
}

std::vector<unsigned char> resized(const unsigned char* plane, std::int64_t width,
                                   const std::vector<Between>& rows,
                                   const std::vector<Between>& columns) {
  std::vector<unsigned char> out;
  out.reserve(rows.size() * columns.size());
  for (const Between& row : rows) {
    const unsigned char* const upper = plane + row.before * width;
    const unsigned char* const lower = plane + row.after * width;
    for (const Between& column : columns) {
      const auto across = [&](const unsigned char* line) {
        return line[column.before] * (256 - column.share) + line[column.after] * column.share;
      };
      const std::int64_t sum = across(upper) * (256 - row.share) + across(lower) * row.share;
      out.push_back(static_cast<unsigned char>((sum + (1 << 15)) >> 16));
    }
  }
  return out;
}

}  // namespace

Picture decode_picture(std::span<const unsigned char> file) {
  constexpr std::array<unsigned char, 4> kPng = {0x89, 'P', 'N', 'G'};
  constexpr std::array<unsigned char, 3> kJpeg = {0xFF, 0xD8, 0xFF};
  const auto begins_with = [&](std::span<const unsigned char> magic) {
    return file.size() >= magic.size() && std::ranges::equal(magic, file.first(magic.size()));
  };
  if (begins_with(kPng)) return decode_png(file);
  if (begins_with(kJpeg)) return decode_jpeg(file);
  throw FormatError("neither a PNG nor a JPEG, by its first bytes", 0);
}

Picture shaped(const Picture& picture, std::int64_t channels, std::int64_t height,
               std::int64_t width) {
  Picture out{channels, height, width, {}};
  const std::int64_t area = picture.height * picture.width;
  const unsigned char* const pixels = picture.pixels.data();
  std::vector<unsigned char> luma;
  if (channels == 1 && picture.channels == 3) {
    for (std::int64_t i = 0; i < area; ++i) {
      const int sum = 299 * pixels[i] + 587 * pixels[area + i] + 114 * pixels[2 * area + i];
      luma.push_back(static_cast<unsigned char>((sum + 500) / 1000));
    }
  }
  const std::vector<Between> rows = places(picture.height, height);
  const std::vector<Between> columns = places(picture.width, width);
  for (std::int64_t c = 0; c < channels; ++c) {
    const unsigned char* const plane =
        !luma.empty() ? luma.data() : pixels + (picture.channels == 3 ? c : 0) * area;
    const std::vector<unsigned char> one = resized(plane, picture.width, rows, columns);
    out.pixels.insert(out.pixels.end(), one.begin(), one.end());
  }
  return out;
}

}  // namespace neap::formats
