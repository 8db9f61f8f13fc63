// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "formats/picture.h"

#include "support/message_of.h"
#include "support/pictures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

namespace neap::formats {
namespace {

using test::as_jpeg;
using test::as_png;
using test::gradient;
using testing::ElementsAre;
using testing::HasSubstr;

std::vector<unsigned char> interleaved(const Picture& picture) {
  std::vector<unsigned char> rows;
  const std::int64_t area = picture.height * picture.width;
  for (std::int64_t i = 0; i < area; ++i) {
    for (std::int64_t c = 0; c < picture.channels; ++c) {
      rows.push_back(picture.pixels[static_cast<std::size_t>(c * area + i)]);
    }
  }
  return rows;
}

TEST(PictureFile, of_png_gives_each_pixel_back) {
  for (const int channels : {1, 3}) {
    const auto rows = gradient(channels, 5, 7);
    const Picture picture = decode_picture(as_png(channels, 5, 7, rows));
    EXPECT_EQ(picture.channels, channels);
    EXPECT_EQ(picture.height, 5);
    EXPECT_EQ(picture.width, 7);
    EXPECT_EQ(interleaved(picture), rows);
  }
}

TEST(PictureFile, of_jpeg_gives_nearly_the_same_pixels_back) {
  for (const int channels : {1, 3}) {
    const auto rows = gradient(channels, 16, 8);
    const auto found = interleaved(decode_picture(as_jpeg(channels, 16, 8, rows)));
    ASSERT_EQ(found.size(), rows.size());
    for (std::size_t i = 0; i < rows.size(); ++i) {
      EXPECT_LE(std::abs(int{found[i]} - int{rows[i]}), 3) << i;
    }
  }
}

TEST(PictureFile, that_is_damaged_or_of_another_kind_is_refused) {
  const auto why = [](const std::vector<unsigned char>& file) {
    return test::message_of<std::exception>([&] { (void)decode_picture(file); });
  };
  EXPECT_THAT(why({'G', 'I', 'F', '8'}), HasSubstr("neither a PNG nor a JPEG"));
  EXPECT_THAT(why({}), HasSubstr("neither a PNG nor a JPEG"));
  for (auto file : {as_png(3, 9, 9, gradient(3, 9, 9)), as_jpeg(3, 9, 9, gradient(3, 9, 9))}) {
    constexpr std::size_t kEnd = 12;  // of a PNG, after its last pixel
    for (std::size_t length = 8; length + kEnd < file.size(); ++length) {
      EXPECT_THAT(why({file.begin(), file.begin() + static_cast<std::ptrdiff_t>(length)}),
                  HasSubstr("a damaged"))
          << length << " of " << file.size();
    }
  }
  std::vector<unsigned char> huge = as_png(1, 2, 2, gradient(1, 2, 2));
  huge[16] = huge[20] = 0x40;  // both extents become 2^30; the checksum of the header is wrong then
  EXPECT_THAT(why(huge),
              testing::AnyOf(HasSubstr("a damaged PNG"), HasSubstr("known are those of up to")));
}

TEST(ShapedPicture, keeps_what_has_the_shape_and_interpolates_what_has_not) {
  const Picture picture{1, 2, 2, {0, 100, 200, 60}};
  EXPECT_EQ(shaped(picture, 1, 2, 2).pixels, picture.pixels);
  EXPECT_THAT(shaped(picture, 1, 1, 1).pixels, ElementsAre(90));
  EXPECT_THAT(shaped(picture, 1, 1, 4).pixels, ElementsAre(100, 95, 85, 80));
  const Picture three = shaped(picture, 3, 2, 2);
  EXPECT_THAT(three.pixels, ElementsAre(0, 100, 200, 60, 0, 100, 200, 60, 0, 100, 200, 60));
  const Picture red{3, 1, 1, {255, 0, 0}};
  EXPECT_THAT(shaped(red, 1, 1, 1).pixels, ElementsAre(76));
}

}  // namespace
}  // namespace neap::formats
