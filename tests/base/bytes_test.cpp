// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include <neap/base.h>

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace {

using neap::Bytes;

TEST(Bytes, parse_reads_numbers_with_and_without_units) {
  const std::vector<std::pair<std::string, std::int64_t>> cases{
      {"123", 123},
      {"0", 0},
      {"7B", 7},
      {"64KiB", 65536},
      {"1.5 GiB", 1610612736},
      {"2GB", 2000000000},
      {" 3 MiB ", 3145728},
      {"1kB", 1000},
      {"1KB", 1000},
      {"0.5KiB", 512},
      {"0.1GB", 100000000},
      {"1TiB", 1099511627776},
      {"1TB", 1000000000000},
      {"1.999KiB", 2046},
      {"9223372036854775807", 9223372036854775807},
  };
  for (const auto& [text, bytes] : cases) EXPECT_EQ(Bytes::parse(text).count(), bytes) << text;
}

// 0.29 * 100 is 28.999... in binary: a parser through double would lose a byte.
TEST(Bytes, parse_rounds_decimal_fractions_exactly) {
  for (int part = 0; part < 1000; ++part) {
    std::string digits = std::to_string(part);
    digits.insert(0, 3 - digits.size(), '0');
    EXPECT_EQ(Bytes::parse("0." + digits + "kB").count(), part);
    EXPECT_EQ(Bytes::parse("0." + digits + "KiB").count(), part * 1024 / 1000);
  }
}

TEST(Bytes, parse_refuses_the_rest_with_the_text_and_the_position) {
  const std::vector<std::pair<std::string, int>> cases{
      {"", 1},
      {"abc", 1},
      {"-5", 1},
      {"1.5", 4},
      {"12XB", 3},
      {"1 GiB x", 7},
      {"1.GiB", 3},
      {"1..2GiB", 3},
      {"1e9", 2},
      {"0x10", 2},
      {"1,5 GiB", 2},
      {"1gib", 2},
      {"1 Gi B", 3},
      {"99999999999999999999", 19},
      {"9000000000 TiB", 15},
      {".5GiB", 1},
      {"50%", 3},
  };
  for (const auto& [text, position] : cases) {
    try {
      const Bytes bytes = Bytes::parse(text);
      ADD_FAILURE() << "'" << text << "' was read as " << bytes.count();
    } catch (const neap::InvalidArgument& error) {
      const std::string what = error.what();
      EXPECT_NE(what.find("'" + text + "'"), std::string::npos) << what;
      EXPECT_NE(what.find("position " + std::to_string(position) + " "), std::string::npos) << what;
    }
  }
}

TEST(Bytes, text_is_for_people) {
  EXPECT_EQ(Bytes(0).text(), "0 B");
  EXPECT_EQ(Bytes(512).text(), "512 B");
  EXPECT_EQ(Bytes(1023).text(), "1023 B");
  EXPECT_EQ(Bytes(1024).text(), "1.0 KiB");
  EXPECT_EQ(Bytes(92379545).text(), "88.1 MiB");
  EXPECT_EQ(Bytes((std::int64_t{1} << 30) - 1).text(), "1.0 GiB");
  EXPECT_EQ(Bytes(1048524).text(), "1023.9 KiB");
  EXPECT_EQ(Bytes(1048525).text(), "1.0 MiB") << "never 1024.0 KiB";
  EXPECT_EQ(Bytes(1280).text(), "1.2 KiB") << "1.25: half to even";
  EXPECT_EQ(Bytes(1792).text(), "1.8 KiB") << "1.75";
  EXPECT_EQ(Bytes(-1).text(), "-1 B");
  EXPECT_EQ(Bytes(-1536).text(), "-1.5 KiB");
  EXPECT_EQ(Bytes(std::numeric_limits<std::int64_t>::max()).text(), "8.0 EiB");
  EXPECT_EQ(Bytes(std::numeric_limits<std::int64_t>::min()).text(), "-8.0 EiB");
}

TEST(Bytes, compare_and_add_as_numbers) {
  EXPECT_LT(Bytes(1), Bytes(2));
  EXPECT_EQ(Bytes(1) + Bytes(2), Bytes(3));
  EXPECT_EQ(Bytes(5) - Bytes(2), Bytes(3));
}

TEST(Error, every_type_is_caught_as_error) {
  EXPECT_THROW(throw neap::InvalidArgument("x"), neap::Error);
  EXPECT_THROW(throw neap::Error("x"), std::runtime_error);
}

}  // namespace
