// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Files of tensors: what is written is read, and what is damaged is refused and never believed.
#include "safetensors/safetensors.h"

#include "base/stable_hash.h"
#include "support/scratch_folder.h"

#include <neap/base.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <random>
#include <sstream>

namespace neap::safetensors {
namespace {

using testing::HasSubstr;

class Folder : public test::ScratchFolder {
 public:
  [[nodiscard]] const std::filesystem::path& path() const { return folder_; }
};

std::span<const std::byte> bytes_of(const std::vector<float>& values) {
  return std::as_bytes(std::span(values));
}

std::string content_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void put(const std::filesystem::path& path, const std::string& content) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
}

// A file with this header, and so many bytes after it.
std::string file_of(const std::string& header, std::size_t bytes) {
  const std::uint64_t length = header.size();
  std::string all(sizeof length, '\0');
  std::memcpy(all.data(), &length, sizeof length);
  return all + header + std::string(bytes, 'x');
}

std::string why_refused(const std::filesystem::path& path) {
  try {
    const File file(path);
    return {};
  } catch (const Error& error) {
    return error.what();
  }
}

TEST(Safetensors, what_is_written_is_read) {
  const Folder folder;
  const auto path = folder.path() / "some.safetensors";
  const std::vector<float> matrix{1, 2, 3, 4, 5, 6};
  const std::vector<std::byte> flags{std::byte{1}, std::byte{0}, std::byte{1}};
  const std::vector<double> number{2.5};
  const Written written = write(path,
                                {{"flags", "BOOL", {3}, flags},
                                 {"a.matrix \"m\"", "F32", {2, 3}, bytes_of(matrix)},
                                 {"empty", "I64", {0, 4}, {}},
                                 {"number", "F64", {}, std::as_bytes(std::span(number))}},
                                {{"format", "pt"}});
  const File file(path);
  EXPECT_EQ(file.metadata(), (Metadata{{"format", "pt"}}));
  ASSERT_EQ(file.entries().size(), 4);
  const File::Entry* const entry = file.find("a.matrix \"m\"");
  ASSERT_NE(entry, nullptr);
  EXPECT_EQ(entry->type, "F32");
  EXPECT_EQ(entry->shape, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(entry->offset % 4, 0);
  std::vector<float> read(6);
  file.read(*entry, std::as_writable_bytes(std::span(read)));
  EXPECT_EQ(read, matrix);
  EXPECT_EQ(file.find("empty")->bytes, 0);
  EXPECT_TRUE(file.find("number")->shape.empty());
  EXPECT_EQ(file.find("other"), nullptr);

  const std::string content = content_of(path);
  EXPECT_EQ(static_cast<std::int64_t>(content.size()), written.bytes);
  EXPECT_EQ(file.bytes(), written.bytes);
  EXPECT_EQ(stable_hash(content.data(), content.size()), written.hash);
  EXPECT_EQ(file.hash(), written.hash);
  EXPECT_EQ(written.tensors.at("flags"), stable_hash(flags.data(), flags.size()));
}

TEST(Safetensors, only_this_user_may_read_what_is_written) {
  const Folder folder;
  write(folder.path() / "some", {});
  EXPECT_EQ(std::filesystem::status(folder.path() / "some").permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  EXPECT_TRUE(File(folder.path() / "some").entries().empty());
}

TEST(Safetensors, what_cannot_be_meant_is_not_written) {
  const Folder folder;
  const auto path = folder.path() / "some";
  const std::vector<float> one{1};
  EXPECT_THROW(write(path, {{"a", "F32", {1}, bytes_of(one)}, {"a", "F32", {1}, bytes_of(one)}}),
               InvalidArgument);
  EXPECT_THROW(write(path, {{"a", "F33", {1}, bytes_of(one)}}), InvalidArgument);
  EXPECT_THROW(write(path, {{"a", "F32", {2}, bytes_of(one)}}), InvalidArgument);
  EXPECT_THROW(write(path, {{"__metadata__", "F32", {1}, bytes_of(one)}}), InvalidArgument);
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_THROW(write(folder.path() / "no" / "folder", {}), Error);
}

TEST(Safetensors, a_file_that_is_cut_anywhere_is_refused) {
  const Folder folder;
  const auto path = folder.path() / "some";
  const std::vector<float> four{1, 2, 3, 4};
  write(path, {{"a", "F32", {4}, bytes_of(four)}, {"b", "F32", {2, 2}, bytes_of(four)}});
  const std::string whole = content_of(path);
  for (std::size_t length = 0; length < whole.size(); ++length) {
    put(path, whole.substr(0, length));
    EXPECT_THAT(why_refused(path), HasSubstr("is no whole safetensors file: at byte")) << length;
  }
  put(path, whole + 'x');
  EXPECT_THAT(why_refused(path), HasSubstr("the tensors end at byte"));
}

TEST(Safetensors, a_header_that_lies_is_refused) {
  const Folder folder;
  const auto path = folder.path() / "some";
  const auto refused = [&](const std::string& header, std::size_t bytes = 8) {
    put(path, file_of(header, bytes));
    return why_refused(path);
  };
  const auto one = [](const std::string& type, const std::string& shape,
                      const std::string& offsets) {
    return "{\"a\":{\"dtype\":\"" + type + "\",\"shape\":" + shape +
           ",\"data_offsets\":" + offsets + "}}";
  };
  EXPECT_EQ(refused(one("F32", "[2]", "[0,8]")), "");
  EXPECT_THAT(refused(one("F33", "[2]", "[0,8]")), HasSubstr("F33"));
  EXPECT_THAT(refused(one("F32", "[3]", "[0,8]")), HasSubstr("do not have the bytes"));
  EXPECT_THAT(refused(one("F32", "[2]", "[8,0]")), HasSubstr("do not have the bytes"));
  EXPECT_THAT(refused(one("F32", "[2]", "[4,12]")), HasSubstr("should begin here"));
  EXPECT_THAT(refused(one("F32", "[2]", "[0,8]"), 4), HasSubstr("end at byte"));
  EXPECT_THAT(refused(one("F32", "[-2]", "[0,8]")), HasSubstr("expected dtype"));
  EXPECT_THAT(refused(one("F32", "[2.0]", "[0,8]")), HasSubstr("expected dtype"));
  EXPECT_THAT(refused(one("F32", "2", "[0,8]")), HasSubstr("expected dtype"));
  EXPECT_THAT(refused(one("F32", "[2]", "[0,8,9]")), HasSubstr("expected dtype"));
  // The product is 2^64 bytes, which is 0 in 64 bits.
  EXPECT_THAT(refused(one("F32", "[4294967296,1073741824]", "[0,0]"), 0),
              HasSubstr("do not have the bytes"));
  EXPECT_THAT(refused(one("U8", "[9223372036854775807]", "[0,9223372036854775807]")),
              HasSubstr("is too large"));
  EXPECT_THAT(refused("{\"a\":1}"), HasSubstr("expected dtype"));
  EXPECT_THAT(refused("[]"), HasSubstr("one JSON object"));
  EXPECT_THAT(refused("{"), HasSubstr("one JSON object"));
  EXPECT_THAT(refused("{\"__metadata__\":{\"a\":1}}", 0), HasSubstr("something else than texts"));
  const std::string inner = "{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8]}";
  EXPECT_THAT(refused("{\"a\":" + inner + ",\"a\":" + inner + "}"),
              HasSubstr("no name stands twice"));
  EXPECT_THAT(refused("{\"a\":" + inner + ",\"b\":" + inner + "}"), HasSubstr("should begin here"));
  EXPECT_THAT(refused(std::string(100000, '[')), HasSubstr("one JSON object"));
}

TEST(Safetensors, a_length_that_is_too_large_takes_no_memory) {
  const Folder folder;
  const auto path = folder.path() / "some";
  for (const std::uint64_t length : {std::uint64_t{9}, std::uint64_t{1} << 40, ~std::uint64_t{0}}) {
    std::string all(sizeof length, '\0');
    std::memcpy(all.data(), &length, sizeof length);
    put(path, all + "{}");
    EXPECT_THAT(why_refused(path), HasSubstr("the header should have"));
  }
}

TEST(Safetensors, flipped_bits_are_refused_or_change_the_hash) {
  const Folder folder;
  const auto path = folder.path() / "some";
  const std::vector<float> four{1, 2, 3, 4};
  const Written written = write(path, {{"a", "F32", {4}, bytes_of(four)}}, {{"k", "v"}});
  const std::string whole = content_of(path);
  for (std::size_t bit = 0; bit < whole.size() * 8; ++bit) {
    std::string changed = whole;
    changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ (1 << bit % 8));
    put(path, changed);
    if (why_refused(path).empty()) {
      EXPECT_NE(File(path).hash(), written.hash) << bit;
    }
  }
}

TEST(Safetensors, what_is_no_file_is_refused) {
  const Folder folder;
  EXPECT_THAT(why_refused(folder.path()), HasSubstr("is a folder"));
  EXPECT_THAT(why_refused(folder.path() / "none"), HasSubstr("cannot be opened"));
  EXPECT_THAT(why_refused("/dev/zero"), HasSubstr("is a device"));
}

TEST(RunningHash, is_the_hash_of_the_whole) {
  std::string text(100000, '\0');
  std::mt19937 random(7);
  for (char& one : text) one = static_cast<char>(random());
  RunningHash hash;
  EXPECT_EQ(hash.value(), stable_hash("", 0));
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t part = std::min<std::size_t>(text.size() - at, random() % 3000);
    hash.update(text.data() + at, part);
    at += part;
  }
  EXPECT_EQ(hash.value(), stable_hash(text.data(), text.size()));
}

}  // namespace
}  // namespace neap::safetensors
