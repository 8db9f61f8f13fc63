// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// CheckpointedResNet. BatchNorm writes running statistics in its forward. A checkpoint that runs
// the forward twice updates them twice, which only evaluation shows. So all buffers are compared
// here after each step.
#include "models/training.h"

namespace neap::test {
namespace {

constexpr std::int64_t kBlocks = 8, kBatch = 4, kChannels = 8, kSide = 16;
const std::int64_t kOutput =
    memory::footprint(kBatch * kChannels * kSide * kSide * 4);  // a block's

nn::ResNetOptions small(double dropout) {
  return {.channels = kChannels,
          .blocks = kBlocks,
          .classes = 10,
          .dropout = dropout,
          .stem_kernel = 7,
          .stem_stride = 2};
}

template <class Make>
Training train_on_pictures(const Make& make, std::int64_t batch = kBatch,
                           std::int64_t side = 2 * kSide) {
  torch::manual_seed(kSeed);
  const at::Tensor x = torch::randn({batch, 3, side, side}), y = torch::randint(10, {batch});
  return train(make, [=](auto& model) { return torch::cross_entropy_loss(model->forward(x), y); });
}

auto checkpointed(double dropout, const Segmentation& segmentation) {
  return [=] { return CheckpointedResNet(nn::ResNet(small(dropout)), segmentation); };
}

TEST_F(Models, of_residual_blocks_have_the_bits_of_the_plain_one_in_each_segmentation) {
  for (const double dropout : {0.0, 0.1}) {
    const Training plain = train_on_pictures([=] { return nn::ResNet(small(dropout)); });
    for (std::int64_t count = 1; count <= kBlocks; ++count) {
      SCOPED_TRACE(count);
      expect_same_states(plain,
                         train_on_pictures(checkpointed(dropout, Segmentation::by_count(count))));
    }
    expect_same_states(plain, train_on_pictures(checkpointed(dropout, Segmentation::by_size(3))));
  }
}

TEST_F(Models, of_residual_blocks_count_each_batch_once) {
  constexpr int kForwards = 3;
  torch::manual_seed(kSeed);
  const at::Tensor x = torch::randn({kBatch, 3, kSide, kSide});
  CheckpointedResNet model(/*num_blocks=*/4);
  for (int i = 0; i < kForwards; ++i) {
    const std::int64_t before = replays();
    model->forward(x).sum().backward();
    EXPECT_GT(replays(), before) << "nothing ran again, so nothing was tested";
  }
  int norms = 0;
  for (const auto& buffer : model->named_buffers()) {
    if (buffer.key().find("num_batches_tracked") == std::string::npos) continue;
    EXPECT_EQ(buffer.value().item<std::int64_t>(), kForwards) << buffer.key();
    ++norms;
  }
  EXPECT_EQ(norms, 1 + 2 * 4);
}

// The network of the slides, line by line.
struct SlideNetImpl : torch::nn::Module {
  explicit SlideNetImpl(int num_blocks) {
    register_module("conv1", conv1);
    register_module("bn1", bn1);
    for (int i = 0; i < num_blocks; ++i) layer1->push_back(block());
    register_module("layer1", layer1);
    register_module("avgpool", avgpool);
    fc = register_module("fc", torch::nn::Linear(64, 1000));
  }
  static torch::nn::Conv2d convolution() {
    return torch::nn::Conv2d(torch::nn::Conv2dOptions(64, 64, 3).padding(1));
  }
  static torch::nn::Sequential block() {
    const torch::nn::Conv2d first = convolution(), second = convolution();
    return torch::nn::Sequential(first, torch::nn::BatchNorm2d(64), torch::nn::ReLU(), second,
                                 torch::nn::BatchNorm2d(64));
  }
  at::Tensor forward(at::Tensor x) {
    x = torch::relu(bn1->forward(conv1->forward(x)));
    for (std::size_t i = 0; i < layer1->size(); ++i) {
      const at::Tensor identity = x;
      x = layer1->at<torch::nn::SequentialImpl>(i).forward(x) + identity;
    }
    return fc->forward(torch::flatten(avgpool->forward(x), 1));
  }
  torch::nn::Conv2d conv1{torch::nn::Conv2dOptions(3, 64, 7).stride(2).padding(3)};
  torch::nn::BatchNorm2d bn1{64};
  torch::nn::ModuleList layer1;
  torch::nn::AdaptiveAvgPool2d avgpool{torch::nn::AdaptiveAvgPool2dOptions({1, 1})};
  torch::nn::Linear fc{nullptr};
};
TORCH_MODULE(SlideNet);

TEST_F(Models, of_a_number_of_blocks_are_the_net_of_the_slides_with_its_names_and_bits) {
  constexpr int kFew = 12;
  const SlideNet plain(kFew);
  const CheckpointedResNet model(kFew);
  const std::vector<std::string> names = parameter_names(*model);
  EXPECT_EQ(names, parameter_names(*plain));
  EXPECT_EQ(names.size(), 102U);
  EXPECT_EQ(names[4], "layer1.0.0.weight");
  EXPECT_EQ(model->named_buffers().keys(), plain->named_buffers().keys());
  for (const bool use_checkpoint : {true, false}) {
    const Training expected = train_on_pictures([] { return SlideNet(4); }, 2, 32);
    const Training found = train_on_pictures(
        [=] {
          CheckpointedResNet made(4);
          made->use_checkpoint = use_checkpoint;
          return made;
        },
        2, 32);
    expect_same_states(expected, found);
    EXPECT_EQ(found.replays > 0, use_checkpoint);
  }
  EXPECT_EQ(CheckpointedResNet()->segments().size(), 50u);
  EXPECT_EQ(CheckpointedResNet(20, Segmentation::by_count(3))->segments(),
            (std::vector<Segment>{{0, 7}, {7, 14}, {14, 20}}));
}

// A block's output and small statistics stay. The backward reads what each convolution and each
// ReLU inside made. A BatchNorm runs again for the ReLU after it.
TEST_F(Models, of_residual_blocks_run_each_operator_that_the_backward_needs_once_more) {
  constexpr std::int64_t kStem = 3;   // conv, norm, ReLU
  constexpr std::int64_t kBlock = 4;  // conv, norm, ReLU, conv
  constexpr std::int64_t kBlockEnd =
      3;  // norm, sum, ReLU: when the output is inside of the segment
  const auto replays_by = [](const Segmentation& segmentation) {
    return train_on_pictures(checkpointed(0, segmentation)).replays;
  };
  EXPECT_EQ(replays_by(Segmentation::by_size(1)), kStem + (kBlocks - 1) * kBlock);
  EXPECT_EQ(replays_by(Segmentation::by_count(4)), kStem + 3 * (2 * kBlock + kBlockEnd));
  EXPECT_EQ(replays_by(Segmentation::by_count(1)), 0);
}

TEST_F(Models, of_residual_blocks_keep_an_output_a_segment_and_the_inside_of_the_last) {
  const std::int64_t statistics = (1 + 2 * kBlocks) * 2 * memory::footprint(kChannels * 4);
  const std::int64_t head = memory::footprint(kBatch * kChannels * 4) +  // means
                            memory::footprint(kBatch * 10 * 4) +         // logarithms of softmax
                            2 * memory::footprint(4);                    // loss, its weight
  const Training plain = train_on_pictures([] { return nn::ResNet(small(0)); });
  // The stem keeps the results of conv and ReLU. A block keeps those of conv, ReLU, conv and ReLU.
  EXPECT_EQ(plain.kept, (2 + kBlocks * 4) * kOutput + statistics + head);
  const Training by_block = train_on_pictures(checkpointed(0, Segmentation::by_size(1)));
  EXPECT_EQ(by_block.kept, (kBlocks - 1 + 4) * kOutput + statistics + head);
  const Training by_two = train_on_pictures(checkpointed(0, Segmentation::by_size(2)));
  EXPECT_EQ(by_two.kept, (kBlocks / 2 - 1 + 2 * 4) * kOutput + statistics + head);
  EXPECT_LT(by_block.peak, plain.peak);
  EXPECT_LT(by_two.peak, plain.peak);
}

TEST_F(Models, without_checkpoints_are_left_to_a_budget) {
  const Training plain = train_on_pictures([] { return nn::ResNet(small(0.1)); });
  torch::manual_seed(kSeed);
  const at::Tensor x = torch::randn({kBatch, 3, 2 * kSide, 2 * kSide}),
                   y = torch::randint(10, {kBatch});
  const auto loss = [=](auto& model) { return torch::cross_entropy_loss(model->forward(x), y); };
  for (const bool use_checkpoint : {false, true}) {
    SCOPED_TRACE(use_checkpoint);
    const auto make = [=] {
      CheckpointedResNet model(nn::ResNet(small(0.1)));
      model->use_checkpoint = use_checkpoint;
      return model;
    };
    expect_same_states(plain, train_in_budget(make, loss, plain.peak / 2));
  }
}

nn::ImageNetResNet imagenet(std::int64_t depth) {
  return nn::ImageNetResNet(nn::ImageNetResNetOptions{.depth = depth, .classes = 10});
}

TEST_F(Models, of_imagenet_have_the_bits_of_the_plain_one) {
  for (const std::int64_t depth : {18, 50}) {
    SCOPED_TRACE(depth);
    const Training plain = train_on_pictures([=] { return imagenet(depth); }, 2, 48);
    const Training found =
        train_on_pictures([=] { return CheckpointedResNet(imagenet(depth)); }, 2, 48);
    expect_same_states(plain, found);
    EXPECT_LT(found.kept, plain.kept);
    EXPECT_GT(found.replays, 0);
  }
}

TEST_F(Models, of_imagenet_without_use_checkpoint_run_as_the_plain_one) {
  const Training plain = train_on_pictures([] { return imagenet(18); }, 2, 48);
  const Training off = train_on_pictures(
      [] {
        CheckpointedResNet model(imagenet(18));
        model->use_checkpoint = false;
        return model;
      },
      2, 48);
  expect_same_states(plain, off);
  EXPECT_EQ(off.kept, plain.kept);
  EXPECT_EQ(off.replays, 0);
}

TEST_F(Models, of_imagenet_are_left_to_a_budget) {
  constexpr std::int64_t kPictures = 64, kPixels = 64;
  const auto make = [] { return imagenet(18); };
  const Training plain = train_on_pictures(make, kPictures, kPixels);
  torch::manual_seed(kSeed);
  const at::Tensor x = torch::randn({kPictures, 3, kPixels, kPixels}),
                   y = torch::randint(10, {kPictures});
  const auto loss = [=](auto& model) { return torch::cross_entropy_loss(model->forward(x), y); };
  expect_same_states(plain, train_in_budget(make, loss, plain.peak * 3 / 4));
}

TEST_F(Models, of_imagenet_share_the_model_that_they_wrap) {
  const nn::ImageNetResNet plain(nn::ImageNetResNetOptions{.depth = 18});
  const CheckpointedResNet model(plain);
  EXPECT_EQ(parameter_names(*model), parameter_names(*plain));
  EXPECT_TRUE(model->parameters()[0].is_same(plain->parameters()[0]));
  EXPECT_EQ(model->segments().size(), 8u);
}

TEST_F(Models, of_residual_blocks_refuse_what_does_not_fit_with_the_numbers) {
  expect_refused("CheckpointedResNet: num_blocks is 0; expected 1 or more",
                 [] { CheckpointedResNet(0); });
  expect_refused("Segmentation: 3 segments of 2 layers; expected 1 to the number of layers",
                 [] { CheckpointedResNet(2, Segmentation::by_count(3)); });
  expect_refused("CheckpointedResNet: pictures of (2, 1, 8, 8); expected (B, 3, H, W)", [] {
    CheckpointedResNet(1)->forward(torch::zeros({2, 1, 8, 8}));
  });
  expect_refused("CheckpointedResNet: pictures of (3, 8, 8); expected (B, 3, H, W)", [] {
    CheckpointedResNet(1)->forward(torch::zeros({3, 8, 8}));
  });
  expect_refused("ResNet: pictures of (3, 8, 8); expected (B, 3, H, W)", [] {
    CheckpointedResNet(nn::ResNet(small(0)))->forward(torch::zeros({3, 8, 8}));
  });
}

}  // namespace
}  // namespace neap::test
