// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// CIFAR's files have no header. Only sizes and labels tell a whole file from a damaged one, so the
// reader is strict about these. Long files are packed here, because the reader takes packed files
// too.
#include "data/files.h"
#include "memory/allocator.h"

#include <gmock/gmock.h>
#include <neap/data.h>
#include <torch/torch.h>

#include <cstring>

namespace neap::data {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr std::size_t kPixels = 3072;

// Picture i has label i modulo `classes`, and pixels that depend on i and on their place.
std::string pictures(std::size_t count, std::size_t label_bytes, std::size_t classes) {
  std::string content;
  content.reserve(count * (label_bytes + kPixels));
  for (std::size_t i = 0; i < count; ++i) {
    if (label_bytes == 2) content += static_cast<char>(i % 20);
    content += static_cast<char>(i % classes);
    for (std::size_t pixel = 0; pixel < kPixels; ++pixel) {
      content += static_cast<char>((i + pixel / 7) % 251);
    }
  }
  return content;
}

const std::string& file_of_cifar10() {
  static const std::string content = pictures(10000, 1, 10);
  return content;
}

class Cifar : public WithFolder {};

void expect_pictures(const Labeled& labeled, std::int64_t count, std::int64_t in_a_file,
                     std::int64_t classes) {
  ASSERT_EQ(labeled.images.sizes(), (std::vector<std::int64_t>{count, 3, 32, 32}));
  ASSERT_EQ(labeled.labels.sizes(), (std::vector<std::int64_t>{count}));
  ASSERT_EQ(labeled.images.scalar_type(), at::kByte);
  ASSERT_EQ(labeled.labels.scalar_type(), at::kLong);
  const auto* const images = labeled.images.const_data_ptr<unsigned char>();
  const auto* const labels = labeled.labels.const_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < count; i += 997) {
    const std::int64_t number = i % in_a_file;
    EXPECT_EQ(labels[i], number % classes);
    for (std::int64_t pixel = 0; pixel < 3072; ++pixel) {
      ASSERT_EQ(images[i * 3072 + pixel], (number + pixel / 7) % 251) << i << ' ' << pixel;
    }
  }
}

TEST_F(Cifar, ten_classes_come_back_from_six_files_byte_for_byte) {
  const std::string content = packed(file_of_cifar10());
  for (int i = 1; i <= 5; ++i) file("data_batch_" + std::to_string(i) + ".bin", content);
  file("test_batch.bin", file_of_cifar10());
  expect_pictures(read_cifar10(folder_, Split::Train), 50000, 10000, 10);
  expect_pictures(read_cifar10(folder_, Split::Test), 10000, 10000, 10);
}

TEST_F(Cifar, of_a_hundred_classes_the_fine_labels_come_back) {
  file("train.bin", packed(pictures(50000, 2, 100)));
  file("test.bin", packed(pictures(10000, 2, 100)));
  expect_pictures(read_cifar100(folder_, Split::Train), 50000, 50000, 100);
  expect_pictures(read_cifar100(folder_, Split::Test), 10000, 10000, 100);
}

TEST_F(Cifar, files_of_another_size_are_refused_with_path_and_offset) {
  const auto expect_refused = [&](const std::string& content, const std::string& part) {
    const std::filesystem::path path = file("test_batch.bin", content);
    EXPECT_THAT([&] { read_cifar10(folder_, Split::Test); },
                ThrowsMessage<DataError>(AllOf(HasSubstr(path.string()), HasSubstr(part))));
  };
  memory::reset_peak();
  const std::int64_t before = memory::usage().peak;
  expect_refused("",
                 "cut short: 10000 pictures of 3073 bytes need 30730000 bytes from offset 0 "
                 "on, found 0; fetch the file again");
  expect_refused(pictures(3, 1, 10), "found 9219");
  expect_refused(packed(file_of_cifar10().substr(0, 30729999)), "found 30729999");
  expect_refused(packed(file_of_cifar10() + "x"),
                 "at offset 30730000: too long: 10000 pictures of 3073 bytes end here");
  EXPECT_EQ(memory::usage().peak, before) << "memory for content that is not there";
  std::string damaged = packed(file_of_cifar10());
  damaged[damaged.size() / 2] = static_cast<char>(damaged[damaged.size() / 2] ^ 0x55);
  expect_refused(damaged, "fetch the file again");
  // A file of the other data set.
  file("test.bin", packed(file_of_cifar10()));
  EXPECT_THAT(
      [&] { read_cifar100(folder_, Split::Test); },
      ThrowsMessage<DataError>(HasSubstr("need 30740000 bytes from offset 0 on, found 30730000")));
}

TEST_F(Cifar, labels_out_of_range_are_refused_with_their_number_and_offset) {
  std::string content = file_of_cifar10();
  content[7 * 3073] = 10;
  file("test_batch.bin", packed(content));
  EXPECT_THAT([&] { read_cifar10(folder_, Split::Test); },
              ThrowsMessage<DataError>(
                  HasSubstr("at offset 21511: label 7 is 10; expected 0 to 9; fetch the file")));
  std::string fine = pictures(10000, 2, 100);
  std::string coarse = fine;
  fine[2 * 3074 + 1] = 100;
  file("test.bin", packed(fine));
  EXPECT_THAT(
      [&] { read_cifar100(folder_, Split::Test); },
      ThrowsMessage<DataError>(HasSubstr("at offset 6149: label 2 is 100; expected 0 to 99")));
  coarse[2 * 3074] = static_cast<char>(200);
  file("test.bin", packed(coarse));
  EXPECT_THAT([&] { read_cifar100(folder_, Split::Test); },
              ThrowsMessage<DataError>(
                  HasSubstr("at offset 6148: coarse label 2 is 200; expected 0 to 19")));
}

TEST_F(Cifar, a_part_of_the_files_is_enough_and_what_is_missing_is_told) {
  const std::string content = packed(file_of_cifar10());
  for (const int i : {2, 4}) file("data_batch_" + std::to_string(i) + ".bin", content);
  const Splits no_test = open("cifar10:" + folder_.string());
  EXPECT_EQ(no_test.training->size(), 18000);
  EXPECT_EQ(no_test.test->size(), 2000);
  EXPECT_EQ(no_test.classes, 10);
  EXPECT_THAT(
      no_test.notes,
      testing::ElementsAre(
          folder_.string() +
          " lacks data_batch_1.bin, data_batch_3.bin, data_batch_5.bin, test_batch.bin of "
          "CIFAR-10: "
          "the training has 20000 of 50000 pictures, and 10 % of each class are the test set"));
  EXPECT_EQ(open("cifar10:" + folder_.string(), {.test_percent = 50}).test->size(), 10000);
  file("test_batch.bin", content);
  const Splits some = open("cifar10:" + folder_.string());
  EXPECT_EQ(some.training->size(), 20000);
  EXPECT_EQ(some.test->size(), 10000);
  EXPECT_THAT(some.notes, testing::ElementsAre(HasSubstr(
                              "data_batch_5.bin of CIFAR-10: the training has 20000 of 50000")));
  EXPECT_THAT([&] { open("cifar10:" + folder_.string(), {.test_percent = 50}); },
              ThrowsMessage<InvalidArgument>(HasSubstr("test_batch.bin is a test set already")));
  // A file that is there is still whole or refused.
  file("data_batch_4.bin", "damaged");
  EXPECT_THAT([&] { open("cifar10:" + folder_.string()); },
              ThrowsMessage<DataError>(HasSubstr("data_batch_4.bin: cut short")));
}

TEST_F(Cifar, the_folder_around_the_archive_s_own_is_as_good) {
  std::filesystem::create_directory(folder_ / "cifar-10-batches-bin");
  file("cifar-10-batches-bin/test_batch.bin", packed(file_of_cifar10()));
  expect_pictures(read_cifar10(folder_, Split::Test), 10000, 10000, 10);
  std::filesystem::create_directory(folder_ / "cifar-100-binary");
  file("cifar-100-binary/test.bin", packed(pictures(10000, 2, 100)));
  expect_pictures(read_cifar100(folder_, Split::Test), 10000, 10000, 100);
}

TEST_F(Cifar, the_version_for_python_is_refused_with_that_reason) {
  std::filesystem::create_directory(folder_ / "cifar-10-batches-py");
  EXPECT_THAT([&] { read_cifar10(folder_, Split::Train); },
              ThrowsMessage<DataError>(HasSubstr(
                  "has no data_batch_1.bin: this is the version for Python; put the binary")));
  file("meta", "");
  EXPECT_THAT([&] { read_cifar100(folder_, Split::Train); },
              ThrowsMessage<DataError>(
                  HasSubstr("has no train.bin: this is the version for Python; put the binary")));
}

TEST_F(Cifar, files_that_are_missing_are_named_and_nothing_is_read) {
  EXPECT_THAT([&] { read_cifar10(folder_ / "nothing", Split::Train); },
              ThrowsMessage<DataError>(
                  HasSubstr("nothing: is not a folder; name one with the .bin files of CIFAR-10")));
  for (const int i : {1, 2, 3, 5}) file("data_batch_" + std::to_string(i) + ".bin", "damaged");
  memory::reset_peak();
  const std::int64_t before = memory::usage().peak;
  EXPECT_THAT([&] { read_cifar10(folder_, Split::Train); },
              ThrowsMessage<DataError>(HasSubstr(
                  folder_.string() + ": has no data_batch_4.bin; put the binary version of "
                                     "CIFAR-10 there, or name another folder")));
  EXPECT_EQ(memory::usage().peak, before);
  EXPECT_THAT([&] { read_cifar100(folder_, Split::Train); },
              ThrowsMessage<DataError>(HasSubstr("has no train.bin")));
}

}  // namespace
}  // namespace neap::data
