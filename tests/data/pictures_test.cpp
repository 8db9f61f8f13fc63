// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Pictures that are scaled, and changed at random while they are loaded.
#include "data/augment.h"
#include "data/loading.h"
#include "data/scale.h"
#include "support/message_of.h"

#include <gmock/gmock.h>

#include <cmath>
#include <set>

namespace neap::data {
namespace {

using testing::HasSubstr;

// Sample i: x (2, 5, 7), each element with a number of its own, none 0; y is i.
std::shared_ptr<Dataset> pictures(std::int64_t count) {
  return from_tensors({torch::arange(1, count * 70 + 1, torch::kFloat).view({count, 2, 5, 7}),
                       torch::arange(count, torch::kLong)});
}

std::vector<Seen> epochs(const LoaderOptions& options, int count) {
  MemoryEfficientDataLoader loader(pictures(23), 4, options);
  std::vector<Seen> all;
  for (int epoch = 0; epoch < count; ++epoch) {
    for (Seen& one : epoch_of(loader)) all.push_back(std::move(one));
  }
  return all;
}

at::Tensor changed(const at::Tensor& x, const Augmentation& how, const Draw& draw) {
  Sample sample{x};
  augment(sample, how, draw);
  return sample[0].contiguous();
}

// One of the places that the crop can take, written as torchvision does it: pad, cut, turn.
at::Tensor expected(const at::Tensor& x, std::int64_t crop, std::int64_t row, std::int64_t column,
                    bool turned) {
  const at::Tensor padded = torch::constant_pad_nd(x, {crop, crop, crop, crop});
  const at::Tensor cut = padded.slice(1, row, row + x.size(1)).slice(2, column, column + x.size(2));
  return (turned ? cut.flip({2}) : cut).contiguous();
}

TEST(Pictures, each_change_is_one_of_the_places_of_the_padded_picture_and_all_places_come) {
  const at::Tensor x = pictures(1)->get(0)[0];
  std::set<std::tuple<std::int64_t, std::int64_t, bool>> seen;
  for (std::int64_t sample = 0; sample < 300; ++sample) {
    const at::Tensor found = changed(x, {.crop = 1, .flip = true}, {9, 0, sample});
    int matches = 0;
    for (std::int64_t row = 0; row < 3; ++row) {
      for (std::int64_t column = 0; column < 3; ++column) {
        for (const bool turned : {false, true}) {
          if (test::bytes_of({found}) != test::bytes_of({expected(x, 1, row, column, turned)})) {
            continue;
          }
          ++matches;
          seen.emplace(row, column, turned);
        }
      }
    }
    EXPECT_EQ(matches, 1) << sample;
  }
  EXPECT_EQ(seen.size(), 18U);
}

// The same numbers with every LibTorch and on every machine: a training that goes on elsewhere has
// the same batches. The numbers are those of Philox4x32-10 for key (7, 0), counter (2, 0, 3, 0).
TEST(Pictures, changes_stay_as_they_are_for_ever) {
  const at::Tensor x = pictures(1)->get(0)[0];
  const Draw draw{.seed = 7, .epoch = 2, .sample = 3};
  EXPECT_EQ(test::bytes_of({changed(x, {.crop = 4, .flip = true}, draw)}),
            test::bytes_of({expected(x, 4, 3, 8, false)}));
  EXPECT_EQ(test::bytes_of({changed(x, {.flip = true}, draw)}),
            test::bytes_of({expected(x, 0, 0, 0, false)}))
      << "a flip is the same with a crop and without";
}

TEST(Pictures, changes_depend_on_seed_epoch_and_sample) {
  const at::Tensor x = pictures(1)->get(0)[0];
  const auto of = [&](std::uint64_t seed, std::int64_t epoch, std::int64_t first) {
    test::ByteLists all;
    for (std::int64_t i = first; i < first + 20; ++i) {
      all.push_back(test::bytes_of({changed(x, {.crop = 2}, {seed, epoch, i})}).front());
    }
    return all;
  };
  EXPECT_EQ(of(1, 0, 0), of(1, 0, 0));
  EXPECT_NE(of(1, 0, 0), of(2, 0, 0));
  EXPECT_NE(of(1, 0, 0), of(std::uint64_t{1} << 40 | 1, 0, 0));
  EXPECT_NE(of(1, 0, 0), of(1, 1, 0));
  EXPECT_NE(of(1, 0, 0), of(1, 0, 20));
}

TEST(Pictures, batches_are_the_same_bits_for_any_number_of_workers) {
  for (const Augmentation how : {Augmentation{.crop = 2}, {.flip = true}, {2, true}}) {
    LoaderOptions options{.workers = 0, .shuffle = true, .seed = 5, .augmentation = how};
    const std::vector<Seen> expected = epochs(options, 3);
    LoaderOptions plain = options;
    plain.augmentation = {};
    EXPECT_NE(epochs(plain, 3), expected);
    EXPECT_EQ(samples_of(epochs(plain, 3)), samples_of(expected)) << "the order stays";
    for (const std::int64_t workers : {1, 3}) {
      options.workers = workers;
      EXPECT_EQ(epochs(options, 3), expected) << workers;
    }
  }
}

TEST(Pictures, a_restored_loader_goes_on_with_the_same_bits_in_the_middle_of_an_epoch) {
  const LoaderOptions options{
      .workers = 0, .shuffle = true, .seed = 5, .augmentation = {.crop = 2, .flip = true}};
  const std::vector<Seen> expected = epochs(options, 2);  // 6 batches each
  for (const std::int64_t workers : {0, 1, 3}) {
    LoaderOptions other = options;
    other.workers = workers;
    other.seed = 99;  // the restored seed is the one that counts
    MemoryEfficientDataLoader loader(pictures(23), 4, other);
    loader.restore({.seed = 5, .epoch = 1, .position = 8});
    EXPECT_EQ(epoch_of(loader), std::vector<Seen>(expected.begin() + 8, expected.end())) << workers;
  }
}

TEST(Pictures, what_is_no_picture_or_smaller_than_the_crop_is_refused) {
  const auto why = [](std::shared_ptr<Dataset> set, const Augmentation& how) {
    return test::message_of<Error>([&] {
      MemoryEfficientDataLoader(std::move(set), 2, {.workers = 0, .augmentation = how}).next();
    });
  };
  EXPECT_THAT(why(numbers(4), {.flip = true}),
              HasSubstr("sample 0 cannot be loaded: tensor 0 is [3], and augmentation needs "
                        "pictures (C, H, W)"));
  EXPECT_THAT(why(pictures(4), {.crop = 5}),
              HasSubstr("tensor 0 is [2, 5, 7], and augmentation needs pictures (C, H, W) with "
                        "more than 5 rows and columns"));
  EXPECT_EQ(why(pictures(4), {.crop = 4}), "nothing was thrown");
  EXPECT_THAT(why(pictures(4), {.crop = -1}), HasSubstr("augmentation.crop is -1; expected 0"));
}

TEST(Pictures, a_scale_that_was_found_gives_mean_0_and_deviation_1) {
  // Far from 0: a sum of squares would have lost the deviation.
  const at::Tensor x = torch::stack(
      {torch::arange(12, torch::kFloat).view({3, 2, 2}).add(1e6), torch::full({3, 2, 2}, 5.0F)}, 1);
  const auto set = from_tensors({x, torch::zeros({3}, torch::kLong)});
  const ChannelScale scale = ChannelScale::of(*set);
  EXPECT_EQ(scale.mean, (std::vector<double>{1e6 + 5.5, 5}));
  EXPECT_EQ(scale.deviation, (std::vector<double>{std::sqrt(143.0 / 12), 1}))
      << "a constant channel has deviation 1";
  const auto scaled_set = scaled(set, scale);
  ASSERT_EQ(scaled_set->size(), 3);
  for (std::int64_t i = 0; i < 3; ++i) {
    const at::Tensor mean = torch::tensor({1e6F + 5.5F, 5.0F}).view({2, 1, 1});
    const at::Tensor deviation =
        torch::tensor({static_cast<float>(std::sqrt(143.0 / 12)), 1.0F}).view({2, 1, 1});
    EXPECT_EQ(test::bytes_of({scaled_set->get(i)[0]}),
              test::bytes_of({x[i].sub(mean).div(deviation)}));
  }
}

TEST(Pictures, a_scale_in_shares_of_white_is_the_same_in_bytes_and_comes_back_exactly) {
  Normalization found{.mean = {}, .deviation = {}};
  for (int i = 1; i < 2000; ++i) {
    found.mean.push_back(static_cast<float>(i) / 7.8F);
    found.deviation.push_back(static_cast<float>(i) / 13.1F);
  }
  const Normalization again = for_bytes(of_bytes(found), 1999);
  EXPECT_EQ(again.mean, found.mean);
  EXPECT_EQ(again.deviation, found.deviation);
  EXPECT_EQ(for_bytes({.mean = {0.5}, .deviation = {0.5}}, 3).mean,
            (std::vector<float>{127.5F, 127.5F, 127.5F}));
}

TEST(Pictures, scales_that_cannot_be_are_refused) {
  const auto why = [](const ChannelScale& scale) {
    return test::message_of<InvalidArgument>([&] { (void)scaled(pictures(2), scale); });
  };
  EXPECT_THAT(why({{0, 0, 0}, {1, 1, 1}}),
              HasSubstr("has 3 means and 3 deviations, and the pictures have 2 channels"));
  EXPECT_THAT(why({{0, 0}, {1}}), HasSubstr("has 2 means and 1 deviations"));
  EXPECT_THAT(why({{}, {}}), HasSubstr("has 0 means"));
  EXPECT_THAT(why({{0}, {0}}), HasSubstr("mean 0 and deviation 0; give numbers of float"));
  EXPECT_THAT(why({{0}, {1e-60}}), HasSubstr("a deviation above 0"));
  EXPECT_THAT(why({{NAN}, {1}}), HasSubstr("give numbers of float"));
  EXPECT_THAT(test::message_of<InvalidArgument>([] {
                (void)scaled(numbers(3), {{0}, {1}});
              }),
              HasSubstr("a scale is for pictures, (C, H, W) float; tensor 0 is Float [3]"));
  EXPECT_THAT(test::message_of<InvalidArgument>([] { (void)ChannelScale::of(*numbers(3)); }),
              HasSubstr("a scale is for pictures"));
  EXPECT_THAT(test::message_of<InvalidArgument>([] {
                (void)scaled(nullptr, {{0}, {1}});
              }),
              HasSubstr("null or empty"));
}

}  // namespace
}  // namespace neap::data
