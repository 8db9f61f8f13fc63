// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Files of a data set come from anywhere. They may be cut short, mixed up or damaged, or have a
// header that promises terabytes.
#include "data/files.h"
#include "memory/allocator.h"
#include "support/bytes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <neap/data.h>
#include <torch/torch.h>

#include <algorithm>
#include <filesystem>
#include <string>

namespace neap::data {
namespace {

using testing::HasSubstr;

class Idx : public WithFolder {
 protected:
  // Expects an error whose text has each of `parts` and the path.
  void expect_images_refused(const std::string& content, const std::vector<std::string>& parts) {
    const std::filesystem::path path = file("images", content);
    try {
      read_idx_images(path);
      ADD_FAILURE() << "read: " << parts[0];
    } catch (const DataError& error) {
      EXPECT_THAT(error.what(), HasSubstr(path.string()));
      for (const std::string& part : parts) EXPECT_THAT(error.what(), HasSubstr(part));
    }
  }
};

const std::string kImages = header({5, 4, 3}) + items(60, 251);
const std::string kLabels = header({5}) + items(5, 10);

TEST_F(Idx, images_come_back_byte_for_byte_plain_and_packed) {
  const std::string content = items(60, 251);
  for (const std::string& text : {kImages, packed(kImages)}) {
    const at::Tensor images = read_idx_images(file("images", text));
    EXPECT_EQ(images.sizes(), (std::vector<std::int64_t>{5, 4, 3}));
    ASSERT_EQ(images.scalar_type(), at::kByte);
    EXPECT_EQ(std::string(static_cast<const char*>(images.const_data_ptr()), 60), content);
  }
}

TEST_F(Idx, labels_come_back_as_numbers) {
  for (const std::string& text : {kLabels, packed(kLabels)}) {
    const at::Tensor labels = read_idx_labels(file("labels", text), 10);
    ASSERT_EQ(labels.scalar_type(), at::kLong);
    EXPECT_TRUE(at::equal(labels, torch::tensor({0, 7, 4, 1, 8}, torch::kLong))) << labels;
  }
}

TEST_F(Idx, a_split_is_read_from_its_folder_and_a_plain_file_comes_before_a_packed_one) {
  file("train-images-idx3-ubyte.gz", packed(kImages));
  file("train-labels-idx1-ubyte", kLabels);
  file("train-labels-idx1-ubyte.gz", "damaged");
  const Labeled labeled = read_labeled(folder_, Split::Train);
  EXPECT_EQ(labeled.images.size(0), 5);
  EXPECT_EQ(labeled.labels.size(0), 5);
  EXPECT_THAT([&] { read_labeled(folder_, Split::Test); },
              testing::ThrowsMessage<DataError>(HasSubstr("t10k-images-idx3-ubyte")));
}

TEST_F(Idx, other_magic_numbers_are_refused) {
  expect_images_refused(kLabels + items(20, 5), {"at offset 0", "00000803", "mixed up"});
  expect_images_refused(std::string("\0\0\x0d\x03", 4) + kImages.substr(4),
                        {"at offset 0", "expected the magic number 00000803, found 00000d03"});
  expect_images_refused(std::string("PNG!") + kImages.substr(4), {"at offset 0", "00000803"});
}

TEST_F(Idx, files_that_are_cut_short_are_refused_wherever_the_cut_is) {
  expect_images_refused("", {"cut short"});
  for (std::size_t length = 1; length < kImages.size(); ++length) {
    SCOPED_TRACE(length);
    if (length < 4) continue;  // shorter than a magic number: see below
    expect_images_refused(kImages.substr(0, length), {"cut short"});
  }
  expect_images_refused(kImages.substr(0, 3), {"cut short", "16 bytes, found 3"});
  expect_images_refused(kImages.substr(0, 50),
                        {"5 images of 4 x 3 need 60 bytes from offset 16 on, found 34"});
}

TEST_F(Idx, files_that_are_too_long_are_refused_with_the_place) {
  expect_images_refused(kImages + "x", {"at offset 76", "too long"});
  expect_images_refused(packed(kImages + "x"), {"at offset 76", "too long"});
}

TEST_F(Idx, headers_that_promise_too_much_take_no_memory) {
  expect_images_refused(header({0xffffffff, 0xffffffff, 0xffffffff}), {"more than can be meant"});
  expect_images_refused(header({5, 0, 3}), {"at offset 8", "extent 2 is 0"});
  // The header promises 48 GB, which must not be allocated.
  memory::reset_peak();
  const std::int64_t before = memory::usage().peak;
  expect_images_refused(header({60'000'000, 28, 28}) + "x", {"cut short", "found 1"});
  EXPECT_EQ(memory::usage().peak, before);
}

TEST_F(Idx, damaged_gzip_streams_are_refused) {
  const std::string whole = packed(kImages);
  for (std::size_t length = 11; length < whole.size(); length += 3) {
    SCOPED_TRACE(length);
    expect_images_refused(whole.substr(0, length), {"fetch the file again"});
  }
  for (std::size_t at = 12; at < whole.size() - 4; at += 5) {
    SCOPED_TRACE(at);
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x55);
    expect_images_refused(damaged, {"fetch the file again"});
  }
}

TEST_F(Idx, labels_out_of_range_are_refused_with_their_number) {
  const std::filesystem::path path =
      file("labels", header({4}) + std::string("\x00\x09\x0a\x01", 4));
  EXPECT_THAT(
      [&] { read_idx_labels(path, 10); },
      testing::ThrowsMessage<DataError>(HasSubstr("at offset 10: label 2 is 10; expected 0 to 9")));
  EXPECT_EQ(read_idx_labels(path, 11).size(0), 4);
}

TEST_F(Idx, counts_that_differ_are_refused_with_both) {
  file("train-images-idx3-ubyte", kImages);
  file("train-labels-idx1-ubyte", header({4}) + items(4, 10));
  EXPECT_THAT([&] { read_labeled(folder_, Split::Train); },
              testing::ThrowsMessage<DataError>(
                  testing::AllOf(HasSubstr("5 images"), HasSubstr("4 labels"))));
}

TEST_F(Idx, byte_swapped_files_are_refused_with_that_reason) {
  const auto swapped = [](const std::string& text, std::size_t numbers) {
    std::string out = text;
    for (std::size_t i = 0; i < numbers; ++i) {
      std::reverse(out.begin() + static_cast<std::ptrdiff_t>(4 * i),
                   out.begin() + static_cast<std::ptrdiff_t>(4 * i + 4));
    }
    return out;
  };
  const std::string images = header({60'000, 28, 28}) + items(100, 251);
  expect_images_refused(swapped(images, 4), {"at offset 0", "its numbers are byte-swapped"});
  // Here the magic number is right, and only the numbers after it are swapped.
  const std::string half = images.substr(0, 4) + swapped(images.substr(4), 3);
  expect_images_refused(half,
                        {"at offset 8: extent 2 is 469762048, and 28 when its bytes are swapped"});
  EXPECT_THAT([&] { read_idx_labels(file("labels", swapped(kLabels, 2)), 10); },
              testing::ThrowsMessage<DataError>(HasSubstr("its numbers are byte-swapped")));
}

TEST_F(Idx, names_with_a_point_are_read_too_and_folders_of_such_names_are_passed_by) {
  file("train-images.idx3-ubyte", kImages);
  file("train-labels.idx1-ubyte.gz", packed(kLabels));
  std::filesystem::create_directory(folder_ / "train-images-idx3-ubyte");
  EXPECT_EQ(read_labeled(folder_, Split::Train).images.size(0), 5);
}

TEST_F(Idx, the_sets_of_emnist_are_known_by_their_names_and_two_of_them_are_told_apart) {
  const std::string labels = header({5}) + std::string("\x01\x1a\x02\x03\x04", 5);
  for (const char* const split : {"train", "test"}) {
    const std::string begin = "emnist-letters-" + std::string(split);
    file(begin + "-images-idx3-ubyte.gz", packed(kImages));
    file(begin + "-labels-idx1-ubyte.gz", packed(labels));
  }
  const Splits splits = open(folder_.string());
  EXPECT_EQ(splits.classes, 26) << "letters are counted from 1";
  EXPECT_EQ(splits.training->get(0)[1].item<std::int64_t>(), 0);
  EXPECT_EQ(splits.training->get(1)[1].item<std::int64_t>(), 25);
  EXPECT_EQ(splits.test->size(), 5);
  EXPECT_THAT(splits.notes, testing::IsEmpty());
  file("emnist-byclass-train-images-idx3-ubyte", kImages);
  EXPECT_THAT([&] { open(folder_.string()); },
              testing::ThrowsMessage<DataError>(HasSubstr(
                  "has several sets, emnist-byclass-, emnist-letters-; put the files of one")));
}

TEST_F(Idx, half_of_a_test_set_is_refused_with_that_reason) {
  file("train-images-idx3-ubyte", kImages);
  file("train-labels-idx1-ubyte", kLabels);
  file("t10k-labels-idx1-ubyte", kLabels);
  EXPECT_THAT([&] { open(folder_.string()); },
              testing::ThrowsMessage<DataError>(
                  HasSubstr("its test set is missing: it has neither t10k-images-idx3-ubyte nor")));
}

TEST_F(Idx, without_a_test_set_a_part_of_each_class_is_it_and_that_is_told) {
  file("train-images-idx3-ubyte", header({40, 4, 3}) + items(480, 251));
  std::string labels = header({40});
  for (int i = 0; i < 40; ++i) labels += static_cast<char>(i % 2);
  file("train-labels-idx1-ubyte", labels);
  const Splits tenth = open(folder_.string());
  EXPECT_EQ(tenth.training->size(), 36);
  EXPECT_EQ(tenth.test->size(), 4);
  EXPECT_THAT(tenth.notes, testing::ElementsAre(HasSubstr(
                               "has no t10k or test files: 10 % of each class of its training")));
  const Splits fourth = open(folder_.string(), {.test_percent = 25});
  EXPECT_EQ(fourth.test->size(), 10);
  // The last of each four of a class.
  EXPECT_EQ(fourth.test->get(0)[1].item<std::int64_t>(), 0);
  const at::Tensor images = read_labeled(folder_, Split::Train).images;
  std::vector<std::int64_t> kept;
  for (std::int64_t i = 0; i < 40; ++i) {
    if (i / 2 % 4 != 3) kept.push_back(i);
  }
  const Normalization by = Normalization::of(images.index_select(0, torch::tensor(kept)));
  EXPECT_EQ(test::bytes_of({fourth.test->get(0)[0]}),
            test::bytes_of({images[6].to(torch::kFloat).sub(by.mean[0]).div(by.deviation[0])}))
      << "by the training samples that are left";
}

// A set that is not known by its name, with a picture for each label.
class IdxOfOtherClasses : public Idx {
 protected:
  void write(const std::string& training, const std::string& test) {
    for (const auto& [name, labels] : {std::pair("train", training), std::pair("t10k", test)}) {
      const auto count = static_cast<std::uint32_t>(labels.size());
      file(std::string(name) + "-images-idx3-ubyte",
           header({count, 4, 3}) + items(count * 12, 251));
      file(std::string(name) + "-labels-idx1-ubyte", header({count}) + labels);
    }
  }
  static std::string labels(int first, int last) {
    std::string all;
    for (int i = first; i <= last; ++i) all += static_cast<char>(i);
    return all;
  }
};

TEST_F(IdxOfOtherClasses, as_many_classes_are_found_as_the_labels_have) {
  write(labels(0, 46), labels(0, 5));
  const Splits many = open(folder_.string());
  EXPECT_EQ(many.classes, 47);
  EXPECT_EQ(many.training->get(46)[1].item<std::int64_t>(), 46);
  EXPECT_THAT(many.notes, testing::ElementsAre(HasSubstr("has 47 classes, with labels from 0 on")));
  write(labels(1, 26), labels(20, 26));
  const Splits letters = open(folder_.string());
  EXPECT_EQ(letters.classes, 26);
  EXPECT_EQ(letters.training->get(0)[1].item<std::int64_t>(), 0);
  EXPECT_EQ(letters.test->get(0)[1].item<std::int64_t>(), 19);
  EXPECT_THAT(letters.notes,
              testing::ElementsAre(HasSubstr("has 26 classes, with labels from 1 on")));
  write(labels(1, 4), labels(1, 2));
  const Splits few = open(folder_.string());
  EXPECT_EQ(few.classes, 10) << "a part of a set like MNIST";
  EXPECT_EQ(few.training->get(0)[1].item<std::int64_t>(), 1);
}

TEST_F(IdxOfOtherClasses, a_label_far_from_the_others_is_damage_unless_the_classes_are_named) {
  write(labels(0, 9) + "\xc8", labels(0, 9));
  EXPECT_THAT([&] { open(folder_.string()); },
              testing::ThrowsMessage<DataError>(testing::AllOf(
                  HasSubstr("train-labels-idx1-ubyte: at offset 18: label 10 is 200; expected 0 to "
                            "9; fetch the file again, or say how many classes there are, as "
                            "idx:DIR:47"))));
  EXPECT_EQ(open("idx:" + folder_.string() + ":201").classes, 201);
  write(labels(0, 9), labels(0, 9) + "\x0b");
  EXPECT_THAT([&] { open(folder_.string()); },
              testing::ThrowsMessage<DataError>(
                  HasSubstr("t10k-labels-idx1-ubyte: at offset 18: label 10 is 11")));
  write(labels(0, 9), labels(0, 9) + "\x0a");
  EXPECT_THAT([&] { open(folder_.string()); },
              testing::ThrowsMessage<DataError>(HasSubstr("label 10 is 10; expected 0 to 9")))
      << "a class that only the test has";
  write(labels(0, 3), labels(0, 3));
  EXPECT_EQ(open("idx:" + folder_.string() + ":4").classes, 4);
  EXPECT_EQ(open("idx:" + folder_.string()).classes, 10);
  EXPECT_THAT([&] { open("idx:" + folder_.string() + ":3"); },
              testing::ThrowsMessage<DataError>(HasSubstr("label 3 is 3; expected 0 to 2")));
  write(labels(1, 4), labels(1, 3));
  EXPECT_EQ(open("idx:" + folder_.string() + ":4").training->get(3)[1].item<std::int64_t>(), 3)
      << "labels that count from 1";
  write(labels(0, 255), labels(0, 255));
  EXPECT_EQ(open("idx:" + folder_.string() + ":256").classes, 256);
}

TEST_F(Idx, what_is_no_file_is_refused) {
  EXPECT_THAT([&] { read_idx_images(folder_); },
              testing::ThrowsMessage<DataError>(HasSubstr("is a folder")));
  EXPECT_THAT([&] { read_idx_images(folder_ / "nothing"); },
              testing::ThrowsMessage<DataError>(HasSubstr("cannot be opened")));
  EXPECT_THAT([&] { read_labeled(folder_ / "nothing", Split::Train); },
              testing::ThrowsMessage<DataError>(HasSubstr("is not a folder")));
}

}  // namespace
}  // namespace neap::data
