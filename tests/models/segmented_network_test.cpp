// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// SegmentedNetwork: as many segments as were asked for, as even as can be, and logits that no ReLU has cut.
#include "models/balanced.h"
#include "models/training.h"

#include <rapidcheck.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>
#include <utility>

namespace neap::test {
namespace {

using Numbers = std::vector<std::int64_t>;

const Numbers kDims{512, 256, 128, 64, 32, 10};

// The largest sum of a run, and the sum of the squares: what balanced_ends() makes small, in this order.
std::pair<std::int64_t, std::int64_t> unevenness(const Numbers& costs, const Numbers& ends) {
  std::int64_t largest = 0, squares = 0, begin = 0;
  for (const std::int64_t end : ends) {
    const std::int64_t sum =
        std::accumulate(costs.begin() + begin, costs.begin() + end, std::int64_t{0});
    largest = std::max(largest, sum);
    squares += sum * sum;
    begin = end;
  }
  return {largest, squares};
}

// Of all cuts, one after the other.
std::pair<std::int64_t, std::int64_t> best_unevenness(const Numbers& costs, std::int64_t segments,
                                                      Numbers ends = {}) {
  const auto count = static_cast<std::int64_t>(costs.size());
  if (segments == 1) {
    ends.push_back(count);
    return unevenness(costs, ends);
  }
  auto best = std::pair(std::numeric_limits<std::int64_t>::max(), std::int64_t{0});
  const std::int64_t begin = ends.empty() ? 0 : ends.back();
  for (std::int64_t end = begin + 1; end <= count - (segments - 1); ++end) {
    Numbers more = ends;
    more.push_back(end);
    best = std::min(best, best_unevenness(costs, segments - 1, more));
  }
  return best;
}

bool rises_to(const Numbers& ends, std::int64_t last) {
  return ends.front() > 0 && ends.back() == last &&
         std::ranges::adjacent_find(ends, std::greater_equal()) == ends.end();
}

TEST(Balance, is_the_best_of_all_cuts) {
  EXPECT_TRUE(rc::check([] {
    const auto count = *rc::gen::inRange<std::size_t>(1, 9);
    const auto costs = *rc::gen::container<Numbers>(count, rc::gen::inRange<std::int64_t>(0, 1000));
    const auto segments = *rc::gen::inRange<std::int64_t>(1, static_cast<std::int64_t>(count) + 1);
    const Numbers ends = models::balanced_ends(costs, segments);
    RC_ASSERT(ends.size() == static_cast<std::size_t>(segments));
    RC_ASSERT(rises_to(ends, static_cast<std::int64_t>(count)));
    RC_ASSERT(unevenness(costs, ends) == best_unevenness(costs, segments));
  }));
}

TEST(Balance, of_equal_layers_differs_by_one_at_most_longer_ones_first) {
  for (std::int64_t count = 1; count <= 24; ++count) {
    const Numbers costs(static_cast<std::size_t>(count), 512);
    for (std::int64_t segments = 1; segments <= count; ++segments) {
      EXPECT_EQ(models::balanced_ends(costs, segments),
                Segmentation::by_count(segments).ends(count))
          << segments << " segments of " << count;
    }
  }
}

// Sums of 6, 2, 3 have the smaller squares, 49 against 51, and the larger largest.
TEST(Balance, looks_at_the_largest_segment_first) {
  EXPECT_EQ(models::balanced_ends({1, 5, 2, 3}, 3), (Numbers{1, 2, 4}));
}

// Widths whose squares add up to more than an integer holds.
TEST(Balance, takes_costs_of_any_size) {
  const std::int64_t large = std::int64_t{1} << 40;
  EXPECT_EQ(models::balanced_ends({large, large, 2 * large, large}, 3), (Numbers{2, 3, 4}));
}

TEST_F(Models, of_uneven_layers_are_cut_by_bytes) {
  const SegmentedNetwork model(784, {512, 256, 128, 64, 32, 10});
  EXPECT_EQ(model->segments(), (std::vector<Segment>{{0, 1}, {1, 2}, {2, 6}}));
}

// Python's short version cuts 6 layers into 6 segments when asked for 4 or 5.
TEST_F(Models, have_exactly_the_segments_that_were_asked_for) {
  for (std::int64_t segments = 1; segments <= 6; ++segments) {
    const std::vector<Segment> found = SegmentedNetwork(784, kDims, segments)->segments();
    EXPECT_EQ(found.size(), static_cast<std::size_t>(segments));
    EXPECT_EQ(found.back().end, 6);
  }
  EXPECT_EQ(SegmentedNetwork(8, Numbers{4}, 1)->segments(), (std::vector<Segment>{{0, 1}}));
}

template <class Make>
Training train_on_digits(const Make& make) {
  torch::manual_seed(kSeed);
  const at::Tensor x = torch::randn({32, 784}), y = torch::randint(10, {32});
  return train(make, [=](auto& model) { return torch::cross_entropy_loss(model->forward(x), y); });
}

TEST_F(Models, in_any_number_of_segments_have_the_bits_of_the_plain_one) {
  const Training plain = train_on_digits(
      [] { return nn::MLP(784, kDims, nn::Activation::ReLU, /*activate_last=*/false); });
  for (std::int64_t segments = 1; segments <= 6; ++segments) {
    SCOPED_TRACE(segments);
    const auto make = [&] { return SegmentedNetwork(784, kDims, segments); };
    expect_same_states(plain, train_on_digits(make));
  }
  expect_same_states(plain, train_on_digits([] {
                       SegmentedNetwork model(784, kDims);
                       model->use_checkpoint = false;
                       return model;
                     }));
}

// A ReLU on the logits would make every second one zero, for ever.
TEST_F(Models, end_with_logits_that_no_activation_has_changed) {
  torch::manual_seed(kSeed);
  const at::Tensor x = torch::randn({64, 784});
  SegmentedNetwork model(784, kDims);
  at::Tensor expected = x;
  const std::vector<at::Tensor> parameters = model->parameters();
  for (std::size_t i = 0; i < parameters.size(); i += 2) {
    if (i > 0) expected = torch::relu(expected);
    expected = torch::nn::functional::linear(expected, parameters[i], parameters[i + 1]);
  }
  const at::Tensor logits = model->forward(x);
  EXPECT_EQ(first_difference(bytes_of({expected}), bytes_of({logits})), std::nullopt);
  EXPECT_TRUE(logits.lt(0).any().item<bool>());
}

// Of [0, 3) and [3, 5) all but the last layer's product and ReLU run again; [5, 6) is the last.
TEST_F(Models, of_equal_layers_keep_an_output_a_segment_and_replay_the_rest) {
  constexpr std::int64_t kWide = 64;
  const Numbers dims(6, kWide);
  torch::manual_seed(kSeed);
  const at::Tensor x = torch::randn({64, kWide}), y = torch::randn({64, kWide});
  const auto loss = [=](auto& model) { return (model->forward(x) * y).mean(); };
  const std::int64_t output = memory::footprint(64 * kWide * 4);
  const Training plain =
      train([&] { return nn::MLP(kWide, dims, nn::Activation::ReLU, false); }, loss);
  // The product that makes the loss reads y only: the logits themselves go.
  EXPECT_EQ(plain.kept, 5 * output + memory::footprint(4));
  const Training found = train([&] { return SegmentedNetwork(kWide, dims, 3); }, loss);
  expect_same_states(plain, found);
  EXPECT_EQ(found.kept, (2 + 1) * output + memory::footprint(4));
  EXPECT_EQ(found.replays, 2 * 2);
}

TEST_F(Models, of_rows_flatten_pictures) {
  torch::manual_seed(kSeed);
  const at::Tensor pictures = torch::randn({3, 1, 28, 28});
  SegmentedNetwork model(784, kDims);
  EXPECT_EQ(first_difference(bytes_of({model->forward(pictures.view({3, 784}))}),
                             bytes_of({model->forward(pictures)})),
            std::nullopt);
}

TEST_F(Models, of_segments_refuse_what_does_not_fit_with_the_numbers) {
  expect_refused("SegmentedNetwork: num_segments is 0; expected 1 to 6, the number of layers",
                 [] { SegmentedNetwork(784, kDims, 0); });
  expect_refused("SegmentedNetwork: num_segments is 7; expected 1 to 6, the number of layers",
                 [] { SegmentedNetwork(784, kDims, 7); });
  expect_refused("SegmentedNetwork: layers (the number of hidden_dims) is 0; expected 1 or more",
                 [] { SegmentedNetwork(784, Numbers{}); });
  expect_refused("SegmentedNetwork: input_dim is 0; expected 1 or more",
                 [] { SegmentedNetwork(0, kDims); });
  expect_refused("SegmentedNetwork: one of hidden_dims is -2; expected 1 or more", [] {
    SegmentedNetwork(784, Numbers{4, -2}, 1);
  });
  expect_refused(
      "SegmentedNetwork: x of (32, 100); expected (B, 784), or anything whose rows flatten to that",
      [] {
        SegmentedNetwork(784, kDims)->forward(torch::zeros({32, 100}));
      });
  expect_refused(
      "SegmentedNetwork: x of (784); expected (B, 784), or anything whose rows flatten to that",
      [] { SegmentedNetwork(784, kDims)->forward(torch::zeros({784})); });
}

}  // namespace
}  // namespace neap::test
