// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Data that a trained model is to predict: the scale and the classes of its training, and all
// samples instead of a part.
#include "data/files.h"
#include "support/bytes.h"
#include "support/message_of.h"
#include "support/pictures.h"

#include <neap/data.h>

#include <gmock/gmock.h>
#include <torch/torch.h>

#include <filesystem>
#include <string>
#include <vector>

namespace neap::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class OtherData : public WithFolder {
 protected:
  std::filesystem::path picture(const std::string& name) {
    std::filesystem::create_directories((folder_ / name).parent_path());
    const auto bytes = test::as_png(3, 4, 5, test::gradient(3, 4, 5));
    return file(name, {bytes.begin(), bytes.end()});
  }
  [[nodiscard]] std::string folder(const std::string& name) const {
    return "pictures:" + (folder_ / name).string();
  }
  std::string table(const std::string& name, const std::string& text) {
    return "csv:" + file(name, text).string();
  }
  static std::vector<std::int64_t> labels_of(const Dataset& set) {
    std::vector<std::int64_t> labels;
    for (std::int64_t i = 0; i < set.size(); ++i) {
      labels.push_back(set.get(i)[1].item<std::int64_t>());
    }
    return labels;
  }
};

TEST_F(OtherData, each_sample_of_a_test_set_has_its_row_and_its_file) {
  std::string rows;
  for (int i = 0; i < 20; ++i) rows += std::to_string(i) + (i % 2 == 0 ? ",even\n" : ",odd\n");
  const Splits of_table = open(table("rows.csv", rows), {.test_percent = 20});
  EXPECT_THAT(of_table.test_rows, ElementsAre(8, 9, 18, 19));
  EXPECT_THAT(of_table.class_names, ElementsAre("even", "odd"));
  EXPECT_THAT(of_table.test_files, IsEmpty());
  for (int i = 0; i < 4; ++i) {
    picture("set/b/" + std::to_string(i) + ".png");
    picture("set/a/" + std::to_string(i) + ".png");
  }
  const Splits of_pictures = open(folder("set"), {.test_percent = 25});
  EXPECT_THAT(of_pictures.class_names, ElementsAre("a", "b"));
  EXPECT_THAT(of_pictures.test_files,
              ElementsAre(folder_ / "set/a/3.png", folder_ / "set/b/3.png"));
  EXPECT_THAT(open("synthetic:1x8x8:4:64").test_rows, IsEmpty());
}

TEST_F(OtherData, whole_data_are_not_split_and_stay_in_their_order) {
  const std::string spec = table("rows.csv", "1,0\n3,1\n5,0\n");
  const Splits splits = open(spec, {.whole = true});
  EXPECT_THAT(splits.test_rows, ElementsAre(0, 1, 2));
  EXPECT_EQ(test::bytes_of(splits.test->get(2)), test::bytes_of(splits.training->get(2)));
  EXPECT_THAT(labels_of(*splits.test), ElementsAre(0, 1, 0));
  EXPECT_THAT(test::message_of<DataError>([&] { open(spec); }), HasSubstr("too few"));
  EXPECT_EQ(open("synthetic:1x8x8:4:64", {.whole = true}).test->size(), 6) << "it has a test set";
}

TEST_F(OtherData, a_table_gets_the_scale_of_another_one) {
  std::string rows;
  for (int i = 0; i < 30; ++i) {
    rows += std::to_string(i * i) + "," + std::to_string(1.0 / (i + 1)) + "," +
            std::to_string(i % 3) + "\n";
  }
  const std::string spec = table("rows.csv", rows);
  const Splits first = open(spec);
  ASSERT_TRUE(first.scale);
  const Splits again = open(spec, {.scale = first.scale});
  for (std::int64_t i = 0; i < first.test->size(); ++i) {
    EXPECT_EQ(test::bytes_of(first.test->get(i)), test::bytes_of(again.test->get(i)));
  }
  const Splits other = open(table("other.csv", "100,0.5,2\n400,0.25,0\n"),
                            {.scale = ChannelScale{{100, 0.25}, {50, 0.5}}, .whole = true});
  EXPECT_TRUE(at::equal(other.test->get(0)[0], torch::tensor({0.0F, 0.5F})));
  EXPECT_TRUE(at::equal(other.test->get(1)[0], torch::tensor({6.0F, 0.0F})));
}

TEST_F(OtherData, classes_of_other_data_are_those_of_the_training) {
  const std::vector<std::string> names{"cat", "dog", "owl"};
  const std::string spec = table("some.csv", "1,owl\n2,cat\n3,owl\n4,?\n");
  const Splits splits = open(spec, {.class_names = names, .whole = true});
  EXPECT_EQ(splits.classes, 3);
  EXPECT_EQ(splits.class_names, names);
  EXPECT_THAT(labels_of(*splits.test), ElementsAre(2, 0, 2, -1));
  EXPECT_THAT(test::message_of<DataError>([&] { open(spec, {.class_names = names}); }),
              HasSubstr("some.csv: label 3 is '?', and no class of the training has this name"));
  // Numbers are not taken for classes that have names, and count up to all of those that have none.
  EXPECT_THAT(
      labels_of(
          *open(table("numbers.csv", "1,0\n2,1\n"), {.class_names = names, .whole = true}).test),
      ElementsAre(-1, -1));
  const Splits numbers =
      open(table("numbers.csv", "1,0\n2,1\n"), {.class_names = {"0", "1", "2"}, .whole = true});
  EXPECT_THAT(labels_of(*numbers.test), ElementsAre(0, 1));
  EXPECT_EQ(numbers.classes, 3);
}

TEST_F(OtherData, pictures_without_a_class_are_taken_where_all_are) {
  const std::filesystem::path first = picture("new/1.png"), second = picture("new/2.png");
  const std::filesystem::path owl = picture("new/owl/9.png");
  picture("new/.hidden.png");
  const OpenOptions options{.class_names = {"cat", "owl"}, .whole = true};
  const Splits splits = open(folder("new"), options);
  EXPECT_THAT(splits.test_files, ElementsAre(owl, first, second));
  EXPECT_THAT(labels_of(*splits.test), ElementsAre(1, -1, -1));
  EXPECT_EQ(splits.classes, 2);
  picture("new/yak/1.png");
  EXPECT_THAT(test::message_of<DataError>([&] { open(folder("new"), options); }),
              HasSubstr("yak: no class of the training set has this name"));
}

}  // namespace
}  // namespace neap::data
