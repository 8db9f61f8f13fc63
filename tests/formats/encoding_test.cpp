// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Texts of other encodings, as UTF-8.
#include "formats/encoding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace neap::formats {
namespace {

using namespace std::string_literals;
using namespace std::string_view_literals;

std::string utf8(std::string_view bytes, const std::string& encoding = "") {
  const std::vector<unsigned char> text = utf8_of({bytes.begin(), bytes.end()}, encoding);
  return {text.begin(), text.end()};
}

void expect_refused(std::string_view bytes, const std::string& encoding, std::int64_t offset,
                    const std::string& text) {
  try {
    (void)utf8(bytes, encoding);
    ADD_FAILURE() << "was read";
  } catch (const FormatError& error) {
    EXPECT_EQ(error.offset, offset);
    EXPECT_THAT(error.what(), testing::HasSubstr(text));
  }
}

TEST(Encoding, a_byte_order_mark_names_it_and_goes) {
  EXPECT_EQ(utf8("\xEF\xBB\xBFgr\xC3\xBC\xC3\x9F"sv), "gr\xC3\xBC\xC3\x9F");
  EXPECT_EQ(utf8("\xFF\xFEg\0\xFC\0\x3D\xD8\x00\xDE"sv), "g\xC3\xBC\xF0\x9F\x98\x80");
  EXPECT_EQ(utf8("\xFE\xFF\0g\0\xFC\xD8\x3D\xDE\x00"sv), "g\xC3\xBC\xF0\x9F\x98\x80");
  EXPECT_EQ(utf8("\xFF\xFE\0\0g\0\0\0"sv), "g");
  EXPECT_EQ(utf8("\0\0\xFE\xFF\0\0\0g"sv), "g");
  EXPECT_EQ(utf8("\xFF\xFE"sv), "");
}

TEST(Encoding, without_a_mark_bytes_stay_as_they_are) {
  const std::string all = "\xFF\xFF\0\x80text\xC3"s;
  EXPECT_EQ(utf8(all), all);
  EXPECT_EQ(utf8(""), "");
  EXPECT_EQ(utf8("\xEF\xBB"sv), "\xEF\xBB");
}

TEST(Encoding, a_named_one_counts_more_than_a_mark) {
  EXPECT_EQ(utf8("gr\xFC\xDF"sv, "ISO-8859-1"), "gr\xC3\xBC\xC3\x9F");
  EXPECT_EQ(utf8("\xFF\xFE"sv, "ISO-8859-1"), "\xC3\xBF\xC3\xBE");
  EXPECT_EQ(utf8("g\0\xFC\0"sv, "utf-16le"), "g\xC3\xBC");
  EXPECT_EQ(utf8("\xFF\xFEg\0"sv, "UTF-16LE"), "g") << "the mark is no character of the text";
  EXPECT_EQ(utf8("\xEF\xBB\xBFg"sv, "UTF-8"), "g");
  const std::string large(300'000, '\xE4');  // longer than one piece of the converter
  std::string twice;
  for (std::size_t i = 0; i < large.size(); ++i) twice += "\xC3\xA4";
  EXPECT_TRUE(utf8(large, "ISO-8859-1") == twice);
}

TEST(Encoding, what_is_not_of_it_is_refused_with_the_offset) {
  expect_refused("gr\xC3\xBC\xFC!"sv, "UTF-8", 4, "no character: expected UTF-8");
  expect_refused(
      "\xEF\xBB\xBF"
      "a\xFF"sv,
      "", 4, "no character: expected UTF-8, which its byte order mark names");
  expect_refused("\xFF\xFEg\0\x00"sv, "", 4, "cut short in a character: expected UTF-16LE");
  expect_refused("\xFF\xFE\x00\xDEg\0"sv, "", 2, "no character: expected UTF-16LE");
  expect_refused("ab\x80"sv, "ASCII", 2, "no character: expected ASCII");
  expect_refused("ab\xC3"sv, "UTF-8", 2, "cut short in a character: expected UTF-8");
}

TEST(Encoding, names_are_those_of_iconv_without_its_options) {
  EXPECT_TRUE(knows_encoding("UTF-16"));
  EXPECT_TRUE(knows_encoding("iso-8859-1"));
  for (const char* const name : {"", "nonsense", "UTF-8//IGNORE", "ASCII//TRANSLIT", "/"}) {
    EXPECT_FALSE(knows_encoding(name)) << name;
  }
}

}  // namespace
}  // namespace neap::formats
