// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The data that a command line can name.
#include "data/files.h"
#include "support/bytes.h"

#include <gmock/gmock.h>
#include <neap/data.h>
#include <torch/torch.h>

#include <limits>

namespace neap::data {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

class Open : public WithFolder {
 protected:
  void expect_refused(const std::string& spec, std::size_t position, const std::string& part) {
    EXPECT_THAT(
        [&] { open(spec); },
        ThrowsMessage<InvalidArgument>(AllOf(
            HasSubstr("data \"" + spec + "\": at position " + std::to_string(position) + ": "),
            HasSubstr(part),
            HasSubstr("; accepted are fashion-mnist | DIR or idx:DIR[:CLASSES] (IDX files) | "
                      "pictures:DIR[:3x64x64] | csv:FILE[:COLUMN] | npy:X,Y | "
                      "safetensors:FILE[:X:Y] | cifar10:DIR | cifar100:DIR | "
                      "text:FILE[:ENCODING] | synthetic:3x224x224:1000[:COUNT]"))))
        << spec;
  }

  void write_idx(std::uint32_t test_side) {
    file("train-images-idx3-ubyte", header({5, 4, 3}) + items(60, 251));
    file("train-labels-idx1-ubyte", header({5}) + items(5, 10));
    file("t10k-images-idx3-ubyte", header({2, test_side, 3}) + items(2 * test_side * 3, 251));
    file("t10k-labels-idx1-ubyte", header({2}) + items(2, 10));
  }
};

TEST_F(Open, a_folder_of_idx_files_gives_both_splits_normalized_by_the_training_set) {
  write_idx(4);
  const Splits splits = open(folder_.string());
  EXPECT_EQ(splits.training->size(), 5);
  EXPECT_EQ(splits.test->size(), 2);
  EXPECT_EQ(splits.sample_shape, (std::vector<std::int64_t>{1, 4, 3}));
  EXPECT_EQ(splits.classes, 10);
  EXPECT_EQ(splits.vocabulary, 0);
  const Normalization normalization = Normalization::of(read_labeled(folder_, Split::Train).images);
  const auto test = from_labeled(read_labeled(folder_, Split::Test), normalization);
  EXPECT_EQ(
      test::first_difference(test::bytes_of(test->get(1)), test::bytes_of(splits.test->get(1))),
      std::nullopt);
}

TEST_F(Open, splits_of_different_sizes_are_refused) {
  write_idx(5);
  EXPECT_THAT([&] { open(folder_.string()); },
              ThrowsMessage<DataError>(
                  HasSubstr("the training pictures are 4 x 3 and the test pictures 5 x 3; they "
                            "belong to different sets: fetch both again")));
}

TEST_F(Open, cifar_is_ten_or_a_hundred_classes_of_color_pictures) {
  const std::string ten = packed(std::string(std::size_t{10000} * 3073, '\3'));
  for (int i = 1; i <= 5; ++i) file("data_batch_" + std::to_string(i) + ".bin", ten);
  file("test_batch.bin", ten);
  const Splits splits = open("cifar10:" + folder_.string());
  EXPECT_EQ(splits.training->size(), 50000);
  EXPECT_EQ(splits.test->size(), 10000);
  EXPECT_EQ(splits.sample_shape, (std::vector<std::int64_t>{3, 32, 32}));
  EXPECT_EQ(splits.classes, 10);
  file("train.bin", packed(std::string(std::size_t{50000} * 3074, '\3')));
  file("test.bin", packed(std::string(std::size_t{10000} * 3074, '\3')));
  const Splits hundred = open("cifar100:" + folder_.string());
  EXPECT_EQ(hundred.training->size(), 50000);
  EXPECT_EQ(hundred.classes, 100);
  EXPECT_EQ(hundred.training->get(0)[1].item<std::int64_t>(), 3);
}

TEST_F(Open, a_text_gives_windows_of_which_the_last_tenth_is_for_tests) {
  const std::string path = file("text", items(25'700, 256)).string();
  const Splits splits = open("text:" + path);
  EXPECT_EQ(splits.sample_shape, (std::vector<std::int64_t>{256}));
  EXPECT_EQ(splits.classes, 256);
  EXPECT_EQ(splits.vocabulary, 256);
  EXPECT_EQ(splits.training->size(), (25'700 - 2570 - 1) / 256);
  EXPECT_EQ(splits.test->size(), (2570 - 1) / 256);
  const at::Tensor text = read_text(path).to(torch::kLong);
  EXPECT_EQ(
      test::first_difference(test::bytes_of({text.slice(0, 256, 512), text.slice(0, 257, 513)}),
                             test::bytes_of(splits.training->get(1))),
      std::nullopt);
  EXPECT_EQ(test::first_difference(test::bytes_of({text.slice(0, 25'700 - 2570, 25'700 - 2314)}),
                                   test::bytes_of({splits.test->get(0)[0]})),
            std::nullopt);
  // The shortest text: training and test each need a window and the byte after it.
  const Splits least = open("text:" + file("text", items(514, 256)).string());
  EXPECT_EQ(least.training->size(), 1);
  EXPECT_EQ(least.test->size(), 1);
  EXPECT_THAT([&] { open("text:" + file("text", items(513, 256)).string()); },
              ThrowsMessage<DataError>(
                  HasSubstr("has 513 bytes; training and test need a window of 256 bytes and the "
                            "one after each, so at least 514: name a longer text")));
}

TEST_F(Open, a_text_gives_windows_of_the_length_that_is_named) {
  const std::string path = "text:" + file("text", items(1000, 256)).string();
  const Splits splits = open(path, {.window = 7});
  EXPECT_EQ(splits.sample_shape, (std::vector<std::int64_t>{7}));
  EXPECT_EQ(splits.training->size(), (900 - 1) / 7);
  EXPECT_EQ(splits.test->size(), (100 - 1) / 7);
  const at::Tensor text = read_text(folder_ / "text").to(torch::kLong);
  EXPECT_EQ(test::first_difference(test::bytes_of({text.slice(0, 14, 21), text.slice(0, 15, 22)}),
                                   test::bytes_of(splits.training->get(2))),
            std::nullopt);
  EXPECT_EQ(open(path, {.window = 499}).training->size(), 1);
  EXPECT_THAT([&] { open(path, {.window = 500}); },
              ThrowsMessage<DataError>(HasSubstr("has 1000 bytes; training and test need a window "
                                                 "of 500 bytes and the one after each, so at least "
                                                 "1002: name a longer text, or a shorter window")));
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  for (const std::int64_t window : {std::int64_t{0}, std::int64_t{-1}, kMost}) {
    EXPECT_THAT([&] { open(path, {.window = window}); },
                ThrowsMessage<InvalidArgument>(HasSubstr("name 1 to 2^40")));
  }
  EXPECT_THAT([&] { open("synthetic:3x4x4:10:50", {.window = 7}); },
              ThrowsMessage<InvalidArgument>(HasSubstr("a window is for texts")));
}

TEST_F(Open, noise_has_the_shape_classes_and_number_that_were_named) {
  const Splits splits = open("synthetic:3x32x16:100:50");
  EXPECT_EQ(splits.sample_shape, (std::vector<std::int64_t>{3, 32, 16}));
  EXPECT_EQ(splits.classes, 100);
  EXPECT_EQ(splits.vocabulary, 0);
  EXPECT_EQ(splits.training->size(), 50);
  EXPECT_EQ(splits.test->size(), 5);
  EXPECT_EQ(splits.training->get(0)[0].sizes(), splits.sample_shape);
  EXPECT_NE(test::bytes_of(splits.training->get(0)), test::bytes_of(splits.test->get(0)));
  const Splits short_form = open("synthetic:8:2");
  EXPECT_EQ(short_form.sample_shape, (std::vector<std::int64_t>{8}));
  EXPECT_EQ(short_form.training->size(), 1024);
  EXPECT_EQ(open("synthetic:8:2:1").test->size(), 1);
}

TEST_F(Open, wrong_texts_are_refused_with_the_place_and_what_is_accepted) {
  expect_refused("", 0, "neither a folder nor a kind of data");
  expect_refused("fashion_mnist", 0, "neither a folder nor a kind of data");
  expect_refused("fashion-mnist ", 0, "neither a folder");
  expect_refused("cifar:" + folder_.string(), 0, "neither a folder");
  expect_refused((folder_ / "nothing").string(), 0, "neither a folder");
  expect_refused("cifar10:", 8, "expected a folder");
  expect_refused("cifar100:", 9, "expected a folder");
  expect_refused("text:", 5, "expected a file");
  expect_refused("idx:", 4, "expected a folder");
  const std::string folder = "idx:" + folder_.string();
  for (const char* const classes : {":0", ":257", ":x", ":", ":2x", ":-1"}) {
    expect_refused(folder + classes, 4,
                   "expected the number of classes, 1 to 256, after the last colon");
  }
  const std::string text = "text:" + file("text", "x").string() + ":";
  for (const char* const encoding : {"", "nonsense-8", "utf-16//IGNORE"}) {
    expect_refused(text + encoding, 5,
                   "expected an encoding that iconv knows, as ISO-8859-1, after the last colon");
  }
  expect_refused("safetensors:", 12, "expected a file");
  expect_refused("safetensors:a:b", 12, "expected the names of two tensors behind the file");
  expect_refused("safetensors:a:b:", 12, "expected the names of two tensors behind the file");
  expect_refused("synthetic:", 10, "expected an extent of the shape, 1 to 17179869184");
  expect_refused("synthetic:3x", 12, "expected an extent");
  expect_refused("synthetic:3x0x2:10", 12, "expected an extent");
  expect_refused("synthetic:3x-1:10", 12, "expected an extent");
  expect_refused("synthetic:3xa:10", 12, "expected an extent");
  expect_refused("synthetic:99999999999999999999:10", 10, "expected an extent");
  expect_refused("synthetic:1000000x1000000:10", 18, "expected an extent of the shape, 1 to 17179");
  expect_refused("synthetic:3x4", 13, "expected x and an extent, or : and the number of classes");
  expect_refused("synthetic:3x4;10", 13, "expected x and an extent");
  expect_refused("synthetic:3x4:", 14, "expected the number of classes, 1 to 2147483648");
  expect_refused("synthetic:3x4:0", 14, "expected the number of classes");
  expect_refused("synthetic:3x4:10:", 17, "expected the number of samples, 1 to 2147483648");
  expect_refused("synthetic:3x4:10:5x", 18, "expected the end");
}

TEST_F(Open, what_is_wrong_with_a_file_is_told_by_its_reader) {
  EXPECT_THAT([&] { open("text:" + (folder_ / "nothing").string()); },
              ThrowsMessage<DataError>(HasSubstr("cannot be opened")));
  EXPECT_THAT([&] { open("cifar10:" + folder_.string()); },
              ThrowsMessage<DataError>(HasSubstr("has no data_batch_1.bin")));
  EXPECT_THAT([&] { open(folder_.string()); },
              ThrowsMessage<DataError>(HasSubstr("has neither train-images-idx3-ubyte nor")));
}

// Tests the one of two cases that applies to this machine: the package is installed or not.
TEST_F(Open, fashion_mnist_is_the_debian_packages) {
  std::error_code error;
  if (!std::filesystem::is_directory("/usr/share/datasets/fashion-mnist", error)) {
    EXPECT_THAT([] { open("fashion-mnist"); },
                ThrowsMessage<DataError>(HasSubstr("install the Debian package")));
    return;
  }
  const Splits splits = open("fashion-mnist");
  EXPECT_EQ(splits.training->size(), 60000);
  EXPECT_EQ(splits.test->size(), 10000);
  EXPECT_EQ(splits.sample_shape, (std::vector<std::int64_t>{1, 28, 28}));
}

}  // namespace
}  // namespace neap::data
