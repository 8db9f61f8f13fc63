// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Any bytes are an array of numpy, a table and a picture, or are refused with a FormatError. What is
// read has the sizes that it says.
#include "formats/csv.h"
#include "formats/npy.h"
#include "formats/picture.h"
#include "fuzz/round_trip.h"

#include <span>
#include <string_view>

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

}  // namespace
}  // namespace neap::formats

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* bytes, std::size_t count) {
  for (const auto check :
       {&neap::formats::check_npy, &neap::formats::check_csv, &neap::formats::check_picture}) {
    try {
      check({bytes, count});
    } catch (const neap::formats::FormatError&) {
    }
  }
  return 0;
}
