// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Texts as bytes, and the windows from which a language model learns.
#include "data/files.h"
#include "data/source.h"
#include "support/bytes.h"

#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

namespace neap::data {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

class Text : public WithFolder {};

std::string string_of(const at::Tensor& bytes) {
  return {static_cast<const char*>(bytes.const_data_ptr()),
          static_cast<std::size_t>(bytes.numel())};
}

TEST_F(Text, comes_back_byte_for_byte_plain_and_packed) {
  const std::string content = items(3'000'000, 256);  // longer than one read
  for (const std::string& text : {content, packed(content)}) {
    const at::Tensor bytes = read_text(file("text", text));
    ASSERT_EQ(bytes.scalar_type(), at::kByte);
    EXPECT_TRUE(string_of(bytes) == content);
  }
  EXPECT_EQ(string_of(read_text(file("text", "x"))), "x");
}

TEST_F(Text, that_is_empty_missing_or_damaged_is_refused) {
  const auto expect_refused = [](const std::filesystem::path& path, const std::string& part) {
    EXPECT_THAT([&] { read_text(path); },
                ThrowsMessage<DataError>(AllOf(HasSubstr(path.string()), HasSubstr(part))));
  };
  expect_refused(file("text", ""), "at offset 0: is empty; name a text of at least one byte");
  expect_refused(file("text", packed("")), "at offset 0: is empty");
  expect_refused(folder_ / "nothing", "cannot be opened: No such file or directory");
  expect_refused(folder_, "is a folder; name the file in it");
  const std::string whole = packed(items(5000, 251));
  expect_refused(file("text", whole.substr(0, whole.size() - 9)), "fetch the file again");
}

TEST_F(Text, of_another_encoding_becomes_utf8_by_its_mark_or_its_name) {
  using namespace std::string_literals;
  EXPECT_EQ(string_of(read_text(file("text", "\xFF\xFEg\0\xFC\0"s))), "g\xC3\xBC");
  EXPECT_EQ(string_of(read_text(file("text", packed("\xEF\xBB\xBFg\xC3\xBC")))), "g\xC3\xBC");
  EXPECT_EQ(string_of(read_text(file("text", "g\xFC"), "ISO-8859-1")), "g\xC3\xBC");
  const std::string path = file("text", "\xEF\xBB\xBFok \xFC").string();
  EXPECT_THAT([&] { read_text(path); },
              ThrowsMessage<DataError>(
                  path + ": at offset 6: cut short in a character: expected UTF-8, which its byte "
                         "order mark names; mend the text, or name its encoding, as "
                         "text:FILE:ISO-8859-1"));
  EXPECT_THAT([&] { read_text(path, "nonsense"); },
              ThrowsMessage<InvalidArgument>(HasSubstr("iconv knows no encoding 'nonsense'")));
  EXPECT_THAT([&] { read_text(file("text", "\xEF\xBB\xBF")); },
              ThrowsMessage<DataError>(HasSubstr("is empty")));
}

TEST_F(Text, is_opened_with_an_encoding_behind_its_name_which_may_have_colons) {
  const std::string text(2000, '\xFC');
  const auto first = [](const Splits& splits) {
    return splits.training->get(0)[0][0].item<std::int64_t>();
  };
  const std::string spec = "text:" + file("a:text", text).string();
  EXPECT_EQ(first(open(spec)), 0xFC);
  EXPECT_EQ(first(open(spec + ":latin1")), 0xC3);
  EXPECT_EQ(open(spec + ":latin1").training->size(), (3600 - 1) / 256);
  EXPECT_THAT([&] { open(spec + ":UTF-8"); },
              ThrowsMessage<DataError>(HasSubstr("a:text: at offset 0: no character: expected")));
  EXPECT_THAT([&] { open("text:" + (folder_ / "nothing").string() + ":UTF-8"); },
              ThrowsMessage<DataError>(HasSubstr("nothing:UTF-8: cannot be opened")));
}

// A program that opened such a pipe in the usual way would wait forever, and a device like
// /dev/zero would fill the memory.
TEST_F(Text, a_pipe_is_read_to_its_end_and_one_that_nobody_writes_into_is_empty) {
  const std::filesystem::path pipe = folder_ / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_THAT([&] { read_text(pipe); },
              ThrowsMessage<DataError>(HasSubstr(pipe.string() + ": at offset 0: is empty")));
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  ASSERT_EQ(::write(ends[1], "abc", 3), 3);
  ::close(ends[1]);
  EXPECT_EQ(string_of(read_text("/dev/fd/" + std::to_string(ends[0]))), "abc");
  ::close(ends[0]);
  EXPECT_THAT([] { read_text("/dev/zero"); },
              ThrowsMessage<DataError>("/dev/zero: is a device, and no file; name a file"));
}

TEST_F(Text, windows_lie_side_by_side_and_predict_the_next_byte) {
  const auto windows = text_windows(read_text(file("text", "abcdefghi")), 4);
  ASSERT_EQ(windows->size(), 2);
  const auto tokens = [](const char* text) {
    std::vector<std::int64_t> values(text, text + 4);
    return torch::tensor(values, torch::kLong);
  };
  for (const auto& [index, x, y] : {std::tuple(0, "abcd", "bcde"), std::tuple(1, "efgh", "fghi")}) {
    EXPECT_EQ(test::first_difference(test::bytes_of({tokens(x), tokens(y)}),
                                     test::bytes_of(windows->get(index))),
              std::nullopt);
  }
  // With one byte less, the second window has no byte after it to predict.
  EXPECT_EQ(text_windows(read_text(file("text", "abcdefgh")), 4)->size(), 1);
  EXPECT_EQ(text_windows(read_text(file("text", "abcde")), 4)->size(), 1);
}

TEST_F(Text, windows_that_cannot_be_are_refused) {
  const auto expect_refused = [](const at::Tensor& text, std::int64_t tokens,
                                 const std::string& part) {
    EXPECT_THAT([&] { text_windows(text, tokens); },
                ThrowsMessage<InvalidArgument>(HasSubstr(part)));
  };
  const at::Tensor four = torch::zeros({4}, torch::kByte);
  expect_refused(four, 4,
                 "a window of 4 tokens and the one after need 5 bytes, the text has 4; name");
  expect_refused(four, 0, "tokens is 0; name a length of at least 1");
  expect_refused(torch::zeros({4}), 2, "text must be (N,) uint8, as read_text() gives it");
  expect_refused(torch::zeros({4, 4}, torch::kByte), 2, "text must be (N,) uint8");
  expect_refused(at::Tensor(), 2, "text must be (N,) uint8");
}

TEST_F(Text, a_package_that_is_not_there_is_named) {
  EXPECT_EQ(package_folder(folder_, "some-package", "a text of your own"), folder_);
  EXPECT_THAT(
      [&] { package_folder(folder_ / "nothing", "some-package", "a text of your own"); },
      ThrowsMessage<DataError>(HasSubstr("nothing: is not there; install the Debian package "
                                         "some-package, or name a text of your own")));
}

// Tests the one of two cases that applies to this machine: the package is installed or not.
TEST_F(Text, fortunes_are_found_or_their_package_is_named) {
  std::error_code error;
  if (std::filesystem::is_directory("/usr/share/games/fortunes", error)) {
    EXPECT_EQ(fortunes_directory(), "/usr/share/games/fortunes");
  } else {
    EXPECT_THAT(
        [] { fortunes_directory(); },
        ThrowsMessage<DataError>(HasSubstr(
            "/usr/share/games/fortunes: is not there; install the Debian package fortunes")));
  }
}

}  // namespace
}  // namespace neap::data
