// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Which samples become the test set, and the scale that both sets get.
#include "data/files.h"
#include "data/own_files.h"
#include "support/bytes.h"
#include "support/message_of.h"
#include "support/pictures.h"

#include <gmock/gmock.h>
#include <torch/torch.h>

#include <cmath>
#include <map>
#include <set>

namespace neap::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Optional;

TEST(Share, takes_exactly_its_part_and_never_the_first) {
  for (const double percent : {0.0001, 0.3, 10.0, 12.5, 20.0, 33.3, 50.0, 75.0, 99.9999}) {
    const TestShare share(percent);
    std::int64_t taken = 0;
    EXPECT_FALSE(share.takes(1));
    for (std::int64_t i = 1; i <= 2000; ++i) {
      taken += share.takes(i) ? 1 : 0;
      ASSERT_EQ(taken, share.of(i)) << percent << ' ' << i;
    }
    EXPECT_EQ(taken, static_cast<std::int64_t>(std::floor(percent * 20 + 1e-9))) << percent;
    EXPECT_TRUE(share.takes(share.smallest())) << percent;
    EXPECT_EQ(share.of(share.smallest() - 1), 0) << percent;
  }
  const TestShare tenth(std::nullopt);
  for (std::int64_t i = 1; i <= 100; ++i) EXPECT_EQ(tenth.takes(i), i % 10 == 0);
  EXPECT_EQ(TestShare(99.9999).of(std::int64_t{1} << 36), 68'719'408'016);
}

TEST(Share, that_is_none_is_refused) {
  for (const double percent : {0.0, 100.0, -1.0, 101.0, std::nan(""), HUGE_VAL}) {
    EXPECT_THAT(test::message_of<InvalidArgument>([&] { (void)TestShare(percent); }),
                HasSubstr("; expected more than 0 % and less than 100 %"))
        << percent;
  }
  EXPECT_THAT(test::message_of<InvalidArgument>(
                  [] { (void)open("synthetic:3x4x4:2", {.test_percent = 20}); }),
              HasSubstr("a test share of 20 %: the noise of another seed is a test set already; "
                        "leave the share out"));
}

class Splitting : public WithFolder {
 protected:
  // `count` rows, of which row i is of class i % classes.
  [[nodiscard]] std::string rows(int count, int classes) {
    std::string text;
    for (int i = 0; i < count; ++i) {
      text += std::to_string(i) + "," + std::to_string(i % classes) + "\n";
    }
    return "csv:" + file("rows.csv", text).string();
  }
  void picture(const std::string& name) {
    std::filesystem::create_directories((folder_ / name).parent_path());
    const auto bytes = test::as_png(3, 4, 5, test::gradient(3, 4, 5));
    file(name, {bytes.begin(), bytes.end()});
  }
};

TEST_F(Splitting, each_class_gives_its_share_and_keeps_samples_for_the_training) {
  for (const double percent : {20.0, 50.0, 90.0, 99.9}) {
    const Splits splits = open(rows(60, 3), {.test_percent = percent});
    std::map<std::int64_t, std::int64_t> training, test;
    for (std::int64_t i = 0; i < splits.training->size(); ++i) {
      ++training[splits.training->get(i)[1].item<std::int64_t>()];
    }
    for (std::int64_t i = 0; i < splits.test->size(); ++i) {
      ++test[splits.test->get(i)[1].item<std::int64_t>()];
    }
    for (std::int64_t label = 0; label < 3; ++label) {
      EXPECT_EQ(test[label], static_cast<std::int64_t>(percent * 20 / 100)) << percent;
      EXPECT_EQ(training[label], 20 - test[label]);
      EXPECT_GE(training[label], 1);
    }
  }
  EXPECT_THAT(test::message_of<DataError>([&] { open(rows(30, 3), {.test_percent = 1}); }),
              HasSubstr("rows.csv: has 30 samples, too few to keep 1 % for the test; at least 100 "
                        "are needed, and two of a class"));
}

TEST_F(Splitting, of_a_text_keeps_a_window_on_both_sides) {
  const std::string path = "text:" + file("text", items(2570, 256)).string();
  EXPECT_EQ(open(path, {.test_percent = 50}).test->size(), (1285 - 1) / 256);
  EXPECT_EQ(open(path, {.test_percent = 1}).test->size(), 1);
  EXPECT_EQ(open(path, {.test_percent = 99.9}).training->size(), 1);
}

TEST_F(Splitting, pictures_with_a_test_folder_need_no_share) {
  for (const char* const split : {"train", "val"}) {
    for (const char* const name : {"a", "b"}) {
      for (int i = 0; i < 4; ++i) {
        picture(std::string("set/") + split + '/' + name + '/' + std::to_string(i) + ".png");
      }
    }
  }
  const std::string set = "pictures:" + (folder_ / "set").string();
  EXPECT_EQ(open(set).test->size(), 8);
  EXPECT_THAT(test::message_of<InvalidArgument>([&] { open(set, {.test_percent = 20}); }),
              HasSubstr((folder_ / "set/val").string() + " is a test set already"));
  std::filesystem::remove_all(folder_ / "set/val");
  EXPECT_EQ(open(set, {.test_percent = 25}).test->size(), 2);
}

// ---- Scales ----

TEST_F(Splitting, pictures_get_the_scale_that_is_given_or_found_in_the_training_set) {
  for (int i = 0; i < 10; ++i) {
    picture("set/a/" + std::to_string(i) + ".png");
    picture("set/b/" + std::to_string(i) + ".png");
  }
  const std::string set = "pictures:" + (folder_ / "set").string();
  const Splits plain = open(set);
  EXPECT_THAT(plain.scale, Optional(ChannelScale{{0.5}, {0.5}}));
  const at::Tensor pixels = plain.training->get(0)[0].mul(127.5).add(127.5).round();
  const Splits given = open(set, {.scale = ChannelScale{{0, 0.2, 0}, {1, 0.4, 1.0 / 255}}});
  const at::Tensor mean = torch::tensor({0.0F, 51.0F, 0.0F}).view({3, 1, 1});
  const at::Tensor deviation = torch::tensor({255.0F, 102.0F, 1.0F}).view({3, 1, 1});
  EXPECT_EQ(test::bytes_of({given.training->get(0)[0]}),
            test::bytes_of({pixels.sub(mean).div(deviation)}));
  EXPECT_EQ(test::bytes_of({given.test->get(0)[0]}),
            test::bytes_of({pixels.sub(mean).div(deviation)}));

  const Splits found = open(set, {.find_scale = true});
  at::Tensor sum = torch::zeros({3}, torch::kDouble), squares = torch::zeros({3}, torch::kDouble);
  for (std::int64_t i = 0; i < found.training->size(); ++i) {
    const at::Tensor x = found.training->get(i)[0].to(torch::kDouble);
    sum += x.mean({1, 2});
    squares += x.square().mean({1, 2});
  }
  EXPECT_LT(sum.abs().max().item<double>(), 1e-4);
  EXPECT_LT((squares / 18 - 1).abs().max().item<double>(), 1e-4);
  // The numbers that it has found, given again, make the same bits.
  const Splits again = open(set, {.scale = found.scale});
  EXPECT_EQ(test::bytes_of(again.test->get(1)), test::bytes_of(found.test->get(1)));
}

TEST_F(Splitting, floats_of_pictures_are_scaled_when_asked_for) {
  const Splits plain = open("synthetic:2x3x4:5:20");
  EXPECT_EQ(plain.scale, std::nullopt);
  const Splits found = open("synthetic:2x3x4:5:20", {.find_scale = true});
  ASSERT_EQ(found.scale, ChannelScale::of(*plain.training));
  EXPECT_EQ(test::bytes_of(found.test->get(1)),
            test::bytes_of(scaled(plain.test, *found.scale)->get(1)));
}

TEST_F(Splitting, scales_that_do_not_fit_are_refused) {
  const auto why = [](const std::string& spec, const OpenOptions& options) {
    return test::message_of<InvalidArgument>([&] { open(spec, options); });
  };
  const std::string text = "text:" + file("text", items(2570, 256)).string();
  EXPECT_THAT(why(text, {.find_scale = true}),
              HasSubstr("a scale is for pictures, and these samples are texts; leave it out"));
  EXPECT_THAT(why("synthetic:6:5:20", {.scale = ChannelScale{{0}, {1}}}),
              HasSubstr("a scale is for pictures, and these samples are no (C, H, W)"));
  EXPECT_THAT(why(rows(30, 3), {.scale = ChannelScale{{0, 0}, {1, 1}}}),
              HasSubstr("a scale has 2 means and 2 deviations, and "));
  EXPECT_THAT(why("synthetic:2x3x4:5:20", {.scale = ChannelScale{{0, 0, 0}, {1, 1, 1}}}),
              HasSubstr("has 3 means and 3 deviations, and the pictures have 2 channels"));
  EXPECT_THAT(why("synthetic:2x3x4:5", {.scale = ChannelScale{{0}, {1}}, .find_scale = true}),
              HasSubstr("take one of the two"));
}

}  // namespace
}  // namespace neap::data
