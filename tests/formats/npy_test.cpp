// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "formats/npy.h"

#include "support/message_of.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

namespace neap::formats {
namespace {

using Bytes = std::vector<unsigned char>;

Bytes file(const std::string& header, const Bytes& items, int version = 1) {
  Bytes bytes = {0x93, 'N', 'U', 'M', 'P', 'Y', static_cast<unsigned char>(version), 0};
  const std::size_t width = version == 1 ? 2 : 4;
  for (std::size_t i = 0; i < width; ++i) {
    bytes.push_back(static_cast<unsigned char>(header.size() >> 8 * i));
  }
  bytes.insert(bytes.end(), header.begin(), header.end());
  bytes.insert(bytes.end(), items.begin(), items.end());
  return bytes;
}

TEST(Npy, of_each_type_and_version_is_read) {
  for (const auto& [name, size] : std::vector<std::pair<std::string, std::size_t>>{{"|b1", 1},
                                                                                   {"|u1", 1},
                                                                                   {"|i1", 1},
                                                                                   {"<i2", 2},
                                                                                   {"<i4", 4},
                                                                                   {"<i8", 8},
                                                                                   {"<f4", 4},
                                                                                   {"<f8", 8}}) {
    for (const int version : {1, 2, 3}) {
      const Bytes items(6 * size, 7);
      const Bytes bytes =
          file("{'descr': '" + name + "', 'fortran_order': False, 'shape': (2, 3), }   \n", items,
               version);
      const Npy npy = parse_npy(bytes);
      EXPECT_EQ(bytes_of(npy.element), size);
      EXPECT_THAT(npy.shape, testing::ElementsAre(2, 3));
      EXPECT_EQ(Bytes(npy.items.begin(), npy.items.end()), items);
    }
  }
}

TEST(Npy, has_any_number_of_extents) {
  EXPECT_THAT(parse_npy(file("{'descr': '|u1', 'fortran_order': False, 'shape': (), }", {1})).shape,
              testing::IsEmpty());
  const Bytes one =
      file("{\"shape\": (3,), \"fortran_order\": False, \"descr\": \"|u1\"}", {1, 2, 3});
  EXPECT_THAT(parse_npy(one).shape, testing::ElementsAre(3));
  const Bytes none = file("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 5), }", {});
  EXPECT_TRUE(parse_npy(none).items.empty());
}

TEST(Npy, that_cannot_be_used_says_why) {
  const auto why = [](const Bytes& bytes) {
    return test::message_of<std::exception>([&] { (void)parse_npy(bytes); });
  };
  using testing::HasSubstr;
  EXPECT_THAT(why({1, 2, 3}), HasSubstr("does not begin with"));
  EXPECT_THAT(why(file("{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }", {0, 0, 0, 0})),
              HasSubstr("type >f4; save bool"));
  EXPECT_THAT(why(file("{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }", {0, 0, 0, 0})),
              HasSubstr("ascontiguousarray"));
  EXPECT_THAT(why(file("{'descr': '|u1', 'fortran_order': False, 'shape': (9,), }", {1})),
              HasSubstr("9 bytes of items are promised, and 1 follow"));
  const std::string huge =
      "{'descr': '<f8', 'fortran_order': False, 'shape': (4611686018427387904, 8), }";
  EXPECT_THAT(why(file(huge, {1})), HasSubstr("more than 2^63"));
  EXPECT_THAT(why(file("{'descr': '|u1', 'shape': (1,), }", {1})),
              HasSubstr("without descr, fortran_order or shape"));
  EXPECT_THAT(why(file("{'descr': '|u1', 'fortran_order': False, 'shape': (-1,), }", {1})),
              HasSubstr("no number"));
  EXPECT_THAT(why(file("{}", {}, 4)), HasSubstr("version 4"));
}

TEST(Npy, that_is_cut_short_or_has_another_byte_never_crashes) {
  const Bytes whole =
      file("{'descr': '<i2', 'fortran_order': False, 'shape': (2, 2), }", Bytes(8, 1));
  for (std::size_t length = 0; length < whole.size(); ++length) {
    EXPECT_THROW((void)parse_npy(std::span(whole).first(length)), FormatError) << length;
  }
  for (std::size_t i = 0; i < whole.size(); ++i) {
    for (const int bit : {0, 3, 7}) {
      Bytes changed = whole;
      changed[i] = static_cast<unsigned char>(changed[i] ^ 1 << bit);
      try {
        (void)parse_npy(changed);
      } catch (const FormatError&) {
      }
    }
  }
}

}  // namespace
}  // namespace neap::formats
