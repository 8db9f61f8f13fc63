// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The user's own data: pictures in folders, tables, arrays.
#include "support/message_of.h"
#include "support/pictures.h"
#include "support/scratch_folder.h"

#include <neap/data.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <string>

namespace neap::data {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

class OwnFiles : public testing::Test, protected test::ScratchFolder {
 protected:
  fs::path write(const std::string& name, const std::string& bytes) const {
    fs::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
    return folder_ / name;
  }
  void write_picture(const std::string& name, int channels, int height, int width) const {
    const auto rows = test::gradient(channels, height, width);
    const auto file = name.ends_with(".png") ? test::as_png(channels, height, width, rows)
                                             : test::as_jpeg(channels, height, width, rows);
    write(name, {file.begin(), file.end()});
  }
  [[nodiscard]] std::string path(const std::string& name = "") const {
    return (folder_ / name).string();
  }
  static std::string why(const std::string& spec) {
    return test::message_of<std::exception>([&] {
      const Splits splits = open(spec);
      for (std::int64_t i = 0; i < splits.training->size(); ++i) (void)splits.training->get(i);
    });
  }
};

TEST_F(OwnFiles, pictures_of_two_classes_are_split_and_labeled_by_their_folders) {
  for (int i = 0; i < 10; ++i) {
    write_picture("set/cat/" + std::to_string(i) + ".png", 3, 4, 6);
    write_picture("set/dog/deep/" + std::to_string(i) + ".JPG", 3, 4, 6);
  }
  write("set/cat/Thumbs.db", "x");
  write("set/.hidden/1.png", "x");
  const Splits splits = open("pictures:" + path("set"));
  EXPECT_EQ(splits.classes, 2);
  EXPECT_THAT(splits.sample_shape, ElementsAre(3, 4, 6));
  EXPECT_EQ(splits.training->size(), 18);
  EXPECT_EQ(splits.test->size(), 2);
  const Sample first = splits.training->get(0), last = splits.training->get(17);
  EXPECT_EQ(first[1].dim(), 0);
  EXPECT_EQ(first[1].item<std::int64_t>(), 0);
  EXPECT_EQ(last[1].item<std::int64_t>(), 1);
  EXPECT_EQ(first[0][2][1][3].item<float>(), (10 + 9 + 100 - 127.5F) / 127.5F);
}

TEST_F(OwnFiles, pictures_take_a_shape_and_a_test_set_of_their_own) {
  write_picture("set/train/a/1.png", 3, 8, 8);
  write_picture("set/train/b/1.png", 1, 5, 9);
  write_picture("set/val/b/1.png", 3, 20, 4);
  const Splits splits = open("pictures:" + path("set") + ":1x6x7");
  EXPECT_THAT(splits.sample_shape, ElementsAre(1, 6, 7));
  EXPECT_EQ(splits.training->size(), 2);
  EXPECT_EQ(splits.test->get(0)[1].item<std::int64_t>(), 1);
  EXPECT_EQ(splits.training->get(1)[0].sizes(), (std::vector<std::int64_t>{1, 6, 7}));
}

TEST_F(OwnFiles, pictures_that_cannot_be_used_are_named) {
  write_picture("set/train/a/1.png", 3, 8, 8);
  write_picture("set/train/a/2.png", 3, 8, 9);
  write_picture("set/train/b/1.png", 3, 8, 8);
  write_picture("set/test/a/1.png", 3, 8, 8);
  EXPECT_THAT(why("pictures:" + path("set")),
              HasSubstr("2.png: is 3x8x9, and the first picture is 3x8x8; name a shape"));
  write("set/train/a/2.png", "\x89PNGx");
  EXPECT_THAT(why("pictures:" + path("set")), HasSubstr("2.png: a damaged PNG"));
  EXPECT_THAT(why("pictures:" + path("set") + ":2x8x8"),
              HasSubstr("expected a shape such as 3x64x64"));
  EXPECT_THAT(why("pictures:" + path("set") + ":3x8"),
              HasSubstr("expected a shape such as 3x64x64"));
  EXPECT_THAT(why("pictures:" + path("nowhere")), HasSubstr("nowhere"));
  write_picture("set/test/new/1.png", 3, 8, 8);
  EXPECT_THAT(why("pictures:" + path("set")),
              HasSubstr("no class of the training set has this name"));
  write("few/a/1.txt", "x");
  EXPECT_THAT(why("pictures:" + path("few")),
              HasSubstr("has no .png, .jpg or .jpeg in folders for two classes"));
  write_picture("few/a/1.png", 1, 2, 2);
  write_picture("few/b/1.png", 1, 2, 2);
  EXPECT_THAT(why("pictures:" + path("few")), HasSubstr("at least 10 are needed"));
}

TEST_F(OwnFiles, pictures_without_a_test_folder_and_beside_hidden_files_are_split) {
  for (int i = 0; i < 10; ++i) {
    write_picture("set/training/a/" + std::to_string(i) + ".png", 1, 2, 2);
    write_picture("set/training/b/" + std::to_string(i) + ".png", 1, 2, 2);
  }
  write("set/training/a/._1.png", "x");
  write("set/training/a/.checkpoints/1.png", "x");
  const Splits splits = open("pictures:" + path("set"));
  EXPECT_EQ(splits.classes, 2);
  EXPECT_EQ(splits.training->size(), 18);
  EXPECT_EQ(splits.test->size(), 2);
}

TEST_F(OwnFiles, a_folder_of_pictures_may_have_a_colon_and_must_be_readable) {
  for (const char* const name : {"co:lon/a/", "co:lon/b/"}) {
    for (int i = 0; i < 10; ++i) write_picture(name + std::to_string(i) + ".png", 1, 2, 2);
  }
  EXPECT_EQ(open("pictures:" + path("co:lon")).classes, 2);
  EXPECT_EQ(open("pictures:" + path("co:lon") + ":3x4x4").sample_shape.front(), 3);
  fs::create_symlink("loop", path("loop"));
  EXPECT_THAT(why("pictures:" + path("loop")), HasSubstr("loop"));
  fs::create_directories(path("inside/a"));
  fs::create_symlink("x", path("inside/x"));
  EXPECT_THAT(why("pictures:" + path("inside")),
              HasSubstr("must be readable, and have no link to itself"));
}

TEST_F(OwnFiles, no_class_of_the_test_is_unknown_to_the_training_whatever_the_order) {
  std::string cycle;
  for (int i = 0; i < 200; ++i)
    cycle += std::to_string(i % 10) + "," + std::to_string(i % 10) + "\n";
  const Splits splits = open("csv:" + write("cycle.csv", cycle).string());
  std::set<std::int64_t> learned, tested;
  for (std::int64_t i = 0; i < splits.training->size(); ++i)
    learned.insert(splits.training->get(i)[1].item<std::int64_t>());
  for (std::int64_t i = 0; i < splits.test->size(); ++i)
    tested.insert(splits.test->get(i)[1].item<std::int64_t>());
  EXPECT_EQ(learned.size(), 10U);
  EXPECT_EQ(tested.size(), 10U);
}

TEST_F(OwnFiles, a_column_of_measurements_is_no_column_of_classes) {
  std::string text;
  for (int i = 0; i < 300; ++i) text += "1," + std::to_string(i) + ".5\n";
  EXPECT_THAT(why("csv:" + write("floats.csv", text).string()),
              HasSubstr("300 different labels in 300 rows"));
}

TEST_F(OwnFiles, a_table_is_standardized_by_its_training_rows) {
  std::string text = "width,constant,kind\n";
  for (int i = 0; i < 20; ++i)
    text += std::to_string(i) + ",7," + (i % 2 == 0 ? "even" : "odd") + "\n";
  const Splits splits = open("csv:" + write("table.csv", text).string());
  EXPECT_THAT(splits.sample_shape, ElementsAre(2));
  EXPECT_EQ(splits.classes, 2);
  EXPECT_EQ(splits.training->size(), 18);
  EXPECT_EQ(splits.test->size(), 2);
  double sum = 0, squares = 0;
  for (int i = 0; i < 18; ++i) {
    const Sample sample = splits.training->get(i);
    sum += sample[0][0].item<float>();
    squares += sample[0][0].item<float>() * sample[0][0].item<float>();
    EXPECT_EQ(sample[0][1].item<float>(), 0);
  }
  EXPECT_NEAR(sum, 0, 1e-5);
  EXPECT_NEAR(squares, 18, 1e-4);
  EXPECT_EQ(splits.training->get(1)[1].item<std::int64_t>(), 1);
  std::string numbers;
  for (int i = 0; i < 20; ++i) numbers += std::to_string(i % 4) + ",7\n";
  const Splits by_column = open("csv:" + write("numbers.csv", numbers).string() + ":1");
  EXPECT_EQ(by_column.classes, 4);
}

TEST_F(OwnFiles, a_table_of_utf16_is_read_by_its_mark) {
  std::string text = "\xFF\xFE";
  for (int i = 0; i < 20; ++i) {
    for (const char one : std::to_string(i) + (i % 2 == 0 ? ",b\n" : ",a\n")) text += {one, '\0'};
  }
  const Splits splits = open("csv:" + write("wide.csv", text).string());
  EXPECT_EQ(splits.classes, 2);
  EXPECT_EQ(splits.training->size(), 18);
  EXPECT_THAT(why("csv:" + write("wide.csv", text + "\1").string()),
              HasSubstr("wide.csv: at offset 182: cut short in a character: expected UTF-16LE, "
                        "which its byte order mark names; save the table as UTF-8"));
}

TEST_F(OwnFiles, a_table_that_cannot_be_used_is_named) {
  EXPECT_THAT(why("csv:" + path("nowhere.csv")), HasSubstr("nowhere.csv"));
  EXPECT_THAT(why("csv:" + write("bad.csv", "1,2\n1,2\nx,3\n").string()),
              HasSubstr("bad.csv: line 3"));
  EXPECT_THAT(why("csv:" + write("few.csv", "1,2\n").string()),
              HasSubstr("at least 10 are needed"));
  EXPECT_THAT(why("csv:" + path("few.csv") + ":kind"), HasSubstr("no column has the name kind"));
}

std::string npy(const std::string& type, const std::string& shape, const std::string& items) {
  const std::string header =
      "{'descr': '" + type + "', 'fortran_order': False, 'shape': " + shape + "}";
  return std::string("\x93NUMPY\x01\x00", 8) + static_cast<char>(header.size()) + '\0' + header +
         items;
}

TEST_F(OwnFiles, arrays_of_numbers_and_of_pictures_are_read) {
  std::string labels;
  for (char i = 0; i < 10; ++i) labels += static_cast<char>(i % 3);
  write("y.npy", npy("|u1", "(10,)", labels));
  write("x.npy", npy("<f4", "(10, 2)", std::string(80, '\0')));
  const Splits numbers = open("npy:" + path("x.npy") + "," + path("y.npy"));
  EXPECT_THAT(numbers.sample_shape, ElementsAre(2));
  EXPECT_EQ(numbers.classes, 3);
  EXPECT_EQ(numbers.training->size(), 9);
  EXPECT_EQ(numbers.test->get(0)[1].item<std::int64_t>(), 0);
  write("p.npy", npy("|u1", "(10, 2, 2)", std::string(40, '\5')));
  const Splits pictures = open("npy:" + path("p.npy") + "," + path("y.npy"));
  EXPECT_THAT(pictures.sample_shape, ElementsAre(1, 2, 2));
  EXPECT_EQ(pictures.training->get(0)[0].scalar_type(), at::kFloat);
}

TEST_F(OwnFiles, arrays_with_the_channels_last_or_without_numbers_are_refused) {
  write("y.npy", npy("|u1", "(20,)", std::string(20, '\0')));
  const auto both = [&] { return "npy:" + path("x.npy") + "," + path("y.npy"); };
  write("x.npy", npy("|u1", "(20, 2, 2, 3)", std::string(240, '\0')));
  EXPECT_THAT(why(both()), HasSubstr("x.transpose(0, 3, 1, 2)"));
  write("x.npy", npy("|u1", "(20, 0, 2)", ""));
  EXPECT_THAT(why(both()), HasSubstr("x.npy: has no numbers"));
  write("x.npy", npy("<f4", "(20, 1)", std::string(76, '\0') + std::string("\0\0\xC0\x7F", 4)));
  EXPECT_THAT(why(both()), HasSubstr("sample 19 has a number that is not finite"));
}

TEST_F(OwnFiles, arrays_that_cannot_be_used_are_named) {
  write("x.npy", npy("|u1", "(10, 1)", std::string(10, '\0')));
  write("y.npy", npy("|i1", "(10,)", std::string(9, '\0') + "\xFF"));
  const std::string both = "npy:" + path("x.npy") + "," + path("y.npy");
  EXPECT_THAT(why(both), HasSubstr("label 9 is -1"));
  write("y.npy", npy("|u1", "(9,)", std::string(9, '\0')));
  EXPECT_THAT(why(both), HasSubstr("has 10 samples of 1 dimensions, and"));
  write("y.npy", npy("<f4", "(1,)", std::string(4, '\0')));
  EXPECT_THAT(why(both), HasSubstr("labels are one whole number a sample"));
  write("y.npy", "text");
  EXPECT_THAT(why(both), HasSubstr("y.npy: at byte 0: no array of numpy.save"));
  EXPECT_THAT(why("npy:" + path("x.npy")), HasSubstr("expected two files"));
}

}  // namespace
}  // namespace neap::data
