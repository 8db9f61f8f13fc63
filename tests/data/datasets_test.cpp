// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Data sets made of tensors, pictures, functions and noise.
#include "support/bytes.h"

#include <gmock/gmock.h>
#include <neap/data.h>
#include <torch/torch.h>

#include <cmath>
#include <set>

namespace neap::data {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

void expect_bytes(const std::vector<at::Tensor>& expected, const Sample& actual) {
  EXPECT_EQ(test::first_difference(test::bytes_of(expected), test::bytes_of(actual)), std::nullopt);
}

template <class Make>
void expect_refused(Make make, const std::string& part) {
  EXPECT_THAT([&] { make(); }, ThrowsMessage<InvalidArgument>(HasSubstr(part)));
}

TEST(Datasets, of_tensors_give_rows_as_views) {
  const at::Tensor x = torch::arange(12, torch::kFloat).view({4, 3}).requires_grad_();
  const at::Tensor y = torch::arange(4, torch::kLong);
  const auto dataset = from_tensors({x, y});
  EXPECT_EQ(dataset->size(), 4);
  const Sample sample = dataset->get(2);
  expect_bytes({x[2], y[2]}, sample);
  EXPECT_TRUE(sample[0].is_alias_of(x));
  EXPECT_FALSE(sample[0].requires_grad());
}

TEST(Datasets, of_tensors_that_do_not_fit_together_are_refused) {
  const at::Tensor four = torch::zeros({4, 2});
  expect_refused([] { from_tensors({}); }, "no tensor is given; name one or more");
  expect_refused(
      [&] {
        from_tensors({four, torch::zeros({5})});
      },
      "tensor 0 has 4 rows and tensor 1 has 5; give one row a sample to each");
  expect_refused(
      [&] {
        from_tensors({four, at::Tensor()});
      },
      "tensor 1 is an undefined tensor; expected one row a sample");
  expect_refused([&] { from_tensors({torch::zeros({})}); }, "tensor 0 is Float []");
  expect_refused([&] { from_tensors({torch::zeros({0, 3})}); }, "tensor 0 is Float [0, 3]");
}

TEST(Datasets, of_a_function_call_it_and_refuse_none) {
  const auto dataset =
      from_function(7, [](std::int64_t index) -> Sample { return {torch::full({2}, index * 10)}; });
  EXPECT_EQ(dataset->size(), 7);
  expect_bytes({torch::full({2}, 30)}, dataset->get(3));
  expect_refused([] { from_function(0, [](std::int64_t) { return Sample(); }); },
                 "size is 0; a data set has at least 1 sample");
  expect_refused([] { from_function(3, nullptr); }, "the function is empty; give one that loads");
}

// The pixels are whole numbers, so their mean is exact.
TEST(Datasets, normalization_is_that_of_each_channel) {
  const at::Tensor images = torch::zeros({2, 3, 1, 2}, torch::kByte);
  images.select(1, 0).copy_(torch::tensor({0, 10, 20, 30}, torch::kByte).view({2, 1, 2}));
  images.select(1, 1).fill_(7);
  images.select(1, 2).fill_(255);
  images[0][2][0][0] = 0;
  const Normalization normalization = Normalization::of(images);
  EXPECT_EQ(normalization.mean, (std::vector<float>{15, 7, 191.25F}));
  EXPECT_EQ(normalization.deviation,
            (std::vector<float>{std::sqrt(125.0F), 1, std::sqrt(255.0F * 255.0F * 3 / 16)}));
  const Normalization gray = Normalization::of(images.select(1, 0));
  EXPECT_EQ(gray.mean, (std::vector<float>{15}));
}

TEST(Datasets, of_pictures_give_normalized_floats_with_a_channel) {
  const at::Tensor images = torch::arange(2 * 3 * 4, torch::kByte).view({2, 3, 4});
  const at::Tensor labels = torch::tensor({4, 9}, torch::kLong);
  const auto gray = from_labeled({images, labels}, {.mean = {2}, .deviation = {4}});
  EXPECT_EQ(gray->size(), 2);
  expect_bytes({images[1].to(torch::kFloat).sub(2).div(4).unsqueeze(0), labels[1]}, gray->get(1));

  const at::Tensor colors = torch::arange(2 * 3 * 4, torch::kByte).view({2, 2, 2, 3});
  const auto two = from_labeled({colors, labels}, {.mean = {1, 5}, .deviation = {2, 8}});
  const at::Tensor x = torch::stack(
      {colors[0][0].to(torch::kFloat).sub(1).div(2), colors[0][1].to(torch::kFloat).sub(5).div(8)});
  expect_bytes({x, labels[0]}, two->get(0));
  // The same pictures with their bytes in another order.
  const at::Tensor last = colors.to(torch::kByte).contiguous(at::MemoryFormat::ChannelsLast);
  expect_bytes({x, labels[0]},
               from_labeled({last, labels}, {.mean = {1, 5}, .deviation = {2, 8}})->get(0));
}

TEST(Datasets, of_pictures_that_do_not_fit_together_are_refused) {
  const at::Tensor images = torch::zeros({4, 3, 2, 2}, torch::kByte);
  const at::Tensor labels = torch::zeros({4}, torch::kLong);
  const Normalization rgb{.mean = {0, 0, 0}, .deviation = {1, 1, 1}};
  const std::string expected = "; expected (N, H, W) or (N, C, H, W) uint8 and (N,) int64";
  expect_refused(
      [&] {
        from_labeled({images.to(torch::kFloat), labels}, rgb);
      },
      "the images are Float [4, 3, 2, 2] and the labels Long [4]" + expected);
  expect_refused(
      [&] {
        from_labeled({images, labels.to(torch::kInt)}, rgb);
      },
      "the labels Int [4]" + expected);
  expect_refused(
      [&] {
        from_labeled({images, torch::zeros({5}, torch::kLong)}, rgb);
      },
      "the labels Long [5]" + expected);
  expect_refused([&] { from_labeled({images, {}}, rgb); }, "the labels an undefined tensor");
  expect_refused([&] { from_labeled({images.view({4, 12}), labels}, rgb); }, "Byte [4, 12]");
  expect_refused(
      [&] {
        from_labeled({images, labels}, {.mean = {0}, .deviation = {1}});
      },
      "the images have 3 channels, the normalization has 1 means and 1 deviations; take "
      "Normalization::of(images)");
  expect_refused(
      [&] {
        from_labeled({images, labels}, {{0, 0, 0}, {1, 0, 1}});
      },
      "a deviation is 0.000000; expected a number above 0");
  expect_refused([&] { Normalization::of(labels); },
                 "the images are Long [4]; expected (N, H, W) or (N, C, H, W) uint8");
  expect_refused([&] { Normalization::of(images.slice(0, 0, 0)); }, "Byte [0, 3, 2, 2]");
}

TEST(Datasets, of_noise_are_a_function_of_seed_and_index) {
  const auto dataset = synthetic({3, 8, 8}, 10, 100, 5);
  EXPECT_EQ(dataset->size(), 100);
  std::set<std::string> different;
  std::set<std::int64_t> labels;
  for (std::int64_t i = 0; i < 100; ++i) {
    const Sample sample = dataset->get(i);
    ASSERT_EQ(sample[0].sizes(), (std::vector<std::int64_t>{3, 8, 8}));
    ASSERT_EQ(sample[0].scalar_type(), at::kFloat);
    EXPECT_GE(sample[0].min().item<float>(), -1);
    EXPECT_LT(sample[0].max().item<float>(), 1);
    labels.insert(sample[1].item<std::int64_t>());
    different.insert(std::string(static_cast<const char*>(sample[0].const_data_ptr()), 32));
    expect_bytes(synthetic({3, 8, 8}, 10, 100, 5)->get(i), sample);
  }
  EXPECT_EQ(different.size(), 100U);
  EXPECT_EQ(labels, (std::set<std::int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
  EXPECT_NE(test::bytes_of(synthetic({3, 8, 8}, 10, 100, 6)->get(0)),
            test::bytes_of(dataset->get(0)));
}

// These data are the same on every machine and with every LibTorch, because benchmarks and proofs
// name them by their seed.
TEST(Datasets, of_noise_stay_as_they_are_for_ever) {
  const Sample sample = synthetic({3}, 1000, 4, 7)->get(2);
  EXPECT_EQ(sample[1].item<std::int64_t>(), 196);
  expect_bytes({torch::tensor({0x1.a2fd3p-2F, 0x1.29d8dp-3F, -0x1.87005p-2F})}, {sample[0]});
}

TEST(Datasets, of_noise_that_cannot_be_are_refused) {
  expect_refused(
      [] {
        synthetic({3, 0}, 10, 4);
      },
      "synthetic: an extent of the shape is 0; expected at least 1");
  expect_refused([] { synthetic({3}, 0, 4); }, "classes is 0");
  expect_refused([] { synthetic({3}, 10, -1); }, "size is -1");
}

}  // namespace
}  // namespace neap::data
