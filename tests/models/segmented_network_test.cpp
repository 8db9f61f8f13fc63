// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// SegmentedNetwork: it has as many segments as requested, cut as evenly as possible, and no ReLU on
// the logits.
#include "models/cut.h"
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

// What a step holds at its peak, and what it keeps between forward and backward, counted moment by
// moment.
std::pair<std::int64_t, std::int64_t> rank(const Numbers& outputs, const Numbers& ends) {
  std::int64_t peak = 0, held = 0;
  std::size_t begin = 0;
  const auto meet = [&](std::int64_t bytes) { peak = std::max(peak, held + bytes); };
  for (const std::int64_t one : ends) {
    const auto end = static_cast<std::size_t>(one);
    const bool last = end == outputs.size();
    std::int64_t made = 0;
    for (std::size_t i = begin; i < end; ++i) {
      made += outputs[i];
      meet(made + 2 * outputs[i]);
      // This is met once more, before the backward of the last but one layer.
      if (!last && i + 1 < end) meet(made + outputs[i] + outputs[end - 1] + outputs[end - 2]);
    }
    held += last ? made : outputs[end - 1];
    begin = end;
  }
  return {peak, held};
}

// Tries all cuts, one after the other.
std::pair<std::int64_t, std::int64_t> best_rank(const Numbers& outputs, std::int64_t segments,
                                                Numbers ends = {}) {
  const auto count = static_cast<std::int64_t>(outputs.size());
  if (segments == 1) {
    ends.push_back(count);
    return rank(outputs, ends);
  }
  auto best = std::pair(std::numeric_limits<std::int64_t>::max(), std::int64_t{0});
  const std::int64_t begin = ends.empty() ? 0 : ends.back();
  for (std::int64_t end = begin + 1; end <= count - (segments - 1); ++end) {
    Numbers more = ends;
    more.push_back(end);
    best = std::min(best, best_rank(outputs, segments - 1, more));
  }
  return best;
}

bool rises_to(const Numbers& ends, std::int64_t last) {
  return ends.front() > 0 && ends.back() == last &&
         std::ranges::adjacent_find(ends, std::greater_equal()) == ends.end();
}

TEST(Cut, is_the_best_of_all_cuts) {
  EXPECT_TRUE(rc::check([] {
    const auto count = *rc::gen::inRange<std::size_t>(1, 9);
    const auto outputs = *rc::gen::container<Numbers>(count, rc::gen::inRange<std::int64_t>(0, 20));
    const auto segments = *rc::gen::inRange<std::int64_t>(1, static_cast<std::int64_t>(count) + 1);
    const Numbers ends = models::ends_of_lowest_peak(outputs, segments);
    RC_ASSERT(ends.size() == static_cast<std::size_t>(segments));
    RC_ASSERT(rises_to(ends, static_cast<std::int64_t>(count)));
    RC_ASSERT(rank(outputs, ends) == best_rank(outputs, segments));
  }));
}

// While a segment is recomputed, one more segment end is held than for the segment before it. So it
// must be shorter.
TEST(Cut, of_equal_layers_has_segments_that_grow_shorter) {
  EXPECT_EQ(models::ends_of_lowest_peak(Numbers(6, 512), 3), (Numbers{3, 5, 6}));
  EXPECT_EQ(models::ends_of_lowest_peak(Numbers(10, 512), 4), (Numbers{4, 7, 9, 10}));
}

// These widths have squares whose sum exceeds an integer.
TEST(Cut, takes_outputs_of_any_size) {
  const std::int64_t large = std::int64_t{1} << 40;
  EXPECT_EQ(models::ends_of_lowest_peak(Numbers(6, large), 3), (Numbers{3, 5, 6}));
}

// The step peaks at the first layer's backward, wherever it is cut. All recomputation happens
// before that, when gradients are still small.
TEST_F(Models, of_falling_widths_have_the_wide_layers_inside_of_a_segment) {
  const SegmentedNetwork model(784, {512, 256, 128, 64, 32, 10});
  EXPECT_EQ(model->segments(), (std::vector<Segment>{{0, 4}, {4, 5}, {5, 6}}));
}

// Python's short version makes 6 segments of 6 layers when asked for 4 or 5.
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

// A ReLU on the logits would make every second logit zero for good.
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

// In [0, 3) and [3, 5), everything except the last layer's product and ReLU runs again. [5, 6) is
// the last segment.
TEST_F(Models, of_equal_layers_keep_an_output_a_segment_and_replay_the_rest) {
  constexpr std::int64_t kWide = 64;
  const Numbers dims(6, kWide);
  torch::manual_seed(kSeed);
  const at::Tensor x = torch::randn({64, kWide}), y = torch::randn({64, kWide});
  const auto loss = [=](auto& model) { return (model->forward(x) * y).mean(); };
  const std::int64_t output = memory::footprint(64 * kWide * 4);
  const Training plain =
      train([&] { return nn::MLP(kWide, dims, nn::Activation::ReLU, false); }, loss);
  // The product that makes the loss reads only y, so the logits themselves are not kept.
  EXPECT_EQ(plain.kept, 5 * output + memory::footprint(4));
  const Training found = train([&] { return SegmentedNetwork(kWide, dims, 3); }, loss);
  expect_same_states(plain, found);
  EXPECT_EQ(found.kept, 2 * output + memory::footprint(4));
  EXPECT_EQ(found.replays, (2 + 1) * 2);
}

// A cut that makes the largest segment as small as possible would evict nothing here, for any
// number of segments.
TEST_F(Models, of_the_documented_widths_keep_less_than_the_plain_one_and_peak_no_higher) {
  constexpr std::int64_t kRows = 1024;  // activations weigh more than weights
  torch::manual_seed(kSeed);
  const at::Tensor x = torch::randn({kRows, 784}), y = torch::randint(10, {kRows});
  const auto loss = [=](auto& model) { return torch::cross_entropy_loss(model->forward(x), y); };
  const Training plain = train(
      [] { return nn::MLP(784, kDims, nn::Activation::ReLU, /*activate_last=*/false); }, loss);
  const auto output = [](std::int64_t width) { return memory::footprint(kRows * width * 4); };
  const auto expect = [&](std::int64_t segments, std::int64_t freed, std::int64_t layers) {
    SCOPED_TRACE(segments);
    const Training found = train([&] { return SegmentedNetwork(784, kDims, segments); }, loss);
    EXPECT_EQ(found.kept, plain.kept - freed);
    EXPECT_EQ(found.replays, 2 * layers) << "of each layer inside the product and the ReLU";
    EXPECT_LE(found.peak, plain.peak);
    EXPECT_EQ(SegmentedNetwork(784, kDims, segments)->note(), "");
  };
  expect(2, output(512) + output(256) + output(128) + output(64), 4);
  expect(3, output(512) + output(256) + output(128), 3);
  expect(4, output(512) + output(256), 2);
  expect(5, output(256), 1);
}

// Collects LibTorch's warnings.
class Warnings : public c10::WarningHandler {
 public:
  void process(const c10::Warning& warning) override { texts.push_back(warning.msg()); }
  std::vector<std::string> texts;
};

TEST_F(Models, that_free_nothing_say_so_once) {
  const std::string begin = "neap::SegmentedNetworkImpl: ";
  const std::string singles =
      "checkpoints free nothing in this model: each checkpointed segment is one Linear and its "
      "ReLU, and the backward reads only what comes out of it; take another number of segments";
  const std::string one =
      "checkpoints free nothing in this model: its one segment is the last, whose inside the "
      "backward needs at once; take more segments";
  Warnings warnings;
  const c10::WarningUtils::WarningHandlerGuard guard(&warnings);
  const at::Tensor x = torch::ones({2, 784});
  const auto run = [&](SegmentedNetwork model) {
    for (int i = 0; i < 2; ++i) model->forward(x);
    return model->note();
  };
  EXPECT_EQ(run(SegmentedNetwork(784, kDims, 6)), singles);
  EXPECT_EQ(run(SegmentedNetwork(784, kDims, 1)), one);
  EXPECT_EQ(run(SegmentedNetwork(784, kDims, 3)), "");
  EXPECT_EQ(warnings.texts, (std::vector<std::string>{begin + singles, begin + one}));

  warnings.texts.clear();
  SegmentedNetwork off(784, kDims, 6);
  off->use_checkpoint = false;
  off->forward(x);
  {
    const torch::NoGradGuard no_grad;
    SegmentedNetwork(784, kDims, 6)->forward(x);
  }
  EXPECT_TRUE(warnings.texts.empty()) << "nothing is to be freed here";

  const std::string few = "no cut of so few layers does, so set use_checkpoint to false";
  EXPECT_TRUE(SegmentedNetwork(8, Numbers{4, 2}, 2)->note().ends_with(few));
  EXPECT_TRUE(
      CheckpointedModel(torch::nn::Sequential(torch::nn::Linear(2, 2)))->note().ends_with(few));
  EXPECT_EQ(CheckpointedModel(10, 1)->note(), singles);
  EXPECT_EQ(CheckpointedModel(10, 10)->note(), one);
  EXPECT_EQ(CheckpointedModel()->note(), "");
  // An unknown layer may have something inside.
  EXPECT_EQ(CheckpointedModel(torch::nn::Sequential(torch::nn::Linear(2, 2), torch::nn::GELU()),
                              Segmentation::by_size(1))
                ->note(),
            "");
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
