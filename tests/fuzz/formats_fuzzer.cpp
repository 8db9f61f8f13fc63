// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Any bytes are an array of numpy, a table, a picture and a text, or are refused with a
// FormatError. What is read has the sizes that it says.
#include "formats/csv.h"
#include "formats/encoding.h"
#include "formats/npy.h"
#include "formats/picture.h"
#include "fuzz/round_trip.h"

#include <span>
#include <string_view>
#include <vector>

namespace neap::formats {
namespace {

using fuzz::expect;

void check_npy(std::span<const unsigned char> file) {
  const Npy npy = parse_npy(file);
  std::size_t bytes = bytes_of(npy.element);
  for (const std::int64_t extent : npy.shape) bytes *= static_cast<std::size_t>(extent);
  expect(bytes == npy.items.size(), "an array has the items of its shape");
}

void check_csv(std::span<const unsigned char> file) {
  const Csv csv = parse_csv({reinterpret_cast<const char*>(file.data()), file.size()});
  expect(csv.values.size() == csv.labels.size() * static_cast<std::size_t>(csv.features),
         "each row has all features and a label");
}

void check_picture(std::span<const unsigned char> file) {
  const Picture picture = decode_picture(file);
  expect(picture.channels == 1 || picture.channels == 3, "a picture is grey or coloured");
  expect(picture.pixels.size() ==
             static_cast<std::size_t>(picture.channels * picture.height * picture.width),
         "a picture has all pixels");
  const Picture small = shaped(picture, 3, 5, 4);
  expect(small.pixels.size() == 3 * 5 * 4, "a picture takes any shape");
}

bool is_utf8(const std::vector<unsigned char>& text) {
  try {
    (void)utf8_of(text, "UTF-8");
    return true;
  } catch (const FormatError&) {
    return false;
  }
}

void check_encoding(std::span<const unsigned char> file) {
  const std::vector<unsigned char> bytes(file.begin(), file.end());
  const std::vector<unsigned char> text = utf8_of(bytes, "");
  expect(text == bytes || is_utf8(text), "a text whose mark was read is UTF-8");
  expect(utf8_of(bytes, "ISO-8859-1").size() >= bytes.size(), "each byte is a character");
}

}  // namespace
}  // namespace neap::formats

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* bytes, std::size_t count) {
  for (const auto check : {&neap::formats::check_npy, &neap::formats::check_csv,
                           &neap::formats::check_picture, &neap::formats::check_encoding}) {
    try {
      check({bytes, count});
    } catch (const neap::formats::FormatError&) {
    }
  }
  return 0;
}
