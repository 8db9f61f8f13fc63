// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// CheckpointedModel: which layers form a segment, what a step keeps, and that only memory changes.
// The inputs need no gradient here. With such inputs, Python's reentrant checkpoint computes no
// gradients for captured weights.
#include "models/training.h"

#include <type_traits>

namespace neap::test {
namespace {

using Ends = std::vector<std::int64_t>;

constexpr std::int64_t kWidth = 16, kRows = 256;
const std::int64_t kOutput = memory::footprint(kRows * kWidth * 4);  // of a layer
const std::int64_t kLoss = memory::footprint(4);

nn::MLP plain_model(std::int64_t layers) {
  const Ends widths(static_cast<std::size_t>(layers), kWidth);
  return nn::MLP(kWidth, widths, nn::Activation::ReLU, /*activate_last=*/true);
}

CheckpointedModel model_of(std::int64_t layers, const Segmentation& segmentation) {
  return CheckpointedModel(CheckpointedModelOptions{
      .num_layers = layers, .width = kWidth, .segmentation = segmentation});
}

template <class Make>
Training train_on_rows(const Make& make) {
  torch::manual_seed(kSeed);
  const at::Tensor x = torch::randn({kRows, kWidth}), y = torch::randn({kRows, kWidth});
  return train(make, [=](auto& model) { return (model->forward(x) * y).mean(); });
}

TEST_F(Models, of_linear_layers_have_the_bits_of_the_plain_one_in_each_segmentation) {
  const Training plain = train_on_rows([] { return plain_model(10); });
  for (std::int64_t number = 1; number <= 10; ++number) {
    SCOPED_TRACE(number);
    expect_same_states(plain,
                       train_on_rows([&] { return model_of(10, Segmentation::by_size(number)); }));
    expect_same_states(plain,
                       train_on_rows([&] { return model_of(10, Segmentation::by_count(number)); }));
  }
  expect_same_states(plain,
                     train_on_rows([] { return model_of(10, Segmentation::square_root()); }));
}

TEST_F(Models, of_ten_layers_by_three_have_a_last_segment_of_one) {
  const CheckpointedModel model;
  EXPECT_EQ(model->segments(), (std::vector<Segment>{{0, 3}, {3, 6}, {6, 9}, {9, 10}}));
  const std::vector<at::Tensor> parameters = model->parameters();
  ASSERT_EQ(parameters.size(), 20u);
  for (std::size_t i = 0; i < 20; i += 2) {
    EXPECT_EQ(parameters[i].sizes(), at::IntArrayRef({512, 512}));
  }
  EXPECT_EQ(CheckpointedModel(4, 2)->segments(), (std::vector<Segment>{{0, 2}, {2, 4}}));
  EXPECT_EQ(CheckpointedModel(2)->segments(), (std::vector<Segment>{{0, 2}}));
}

TEST_F(Models, cut_their_layers_as_the_segmentation_says) {
  EXPECT_EQ(Segmentation::by_size(3).ends(10), (Ends{3, 6, 9, 10}));
  EXPECT_EQ(Segmentation::by_size(5).ends(10), (Ends{5, 10}));
  EXPECT_EQ(Segmentation::by_size(11).ends(10), (Ends{10}));
  EXPECT_EQ(Segmentation::by_count(4).ends(10), (Ends{3, 6, 8, 10}));
  EXPECT_EQ(Segmentation::by_count(10).ends(10), (Ends{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}));
  EXPECT_EQ(Segmentation::square_root().ends(10), (Ends{4, 7, 10}));
  EXPECT_EQ(Segmentation::square_root().ends(16), (Ends{4, 8, 12, 16}));
  EXPECT_EQ(Segmentation::square_root().ends(1), (Ends{1}));
  EXPECT_EQ(Segmentation::square_root().ends(2), (Ends{2}));
  EXPECT_EQ(Segmentation::square_root().ends(3), (Ends{2, 3}));
}

// A segment keeps what its last layer makes. So the matrix product and the ReLU of each layer
// before that one run again.
TEST_F(Models, run_each_operator_inside_of_a_checkpointed_segment_once_more) {
  const auto replays_by = [](const Segmentation& segmentation) {
    return train_on_rows([&] { return model_of(10, segmentation); }).replays;
  };
  EXPECT_EQ(replays_by(Segmentation::by_size(3)), 3 * 2 * 2);  // the segment of one is the last
  EXPECT_EQ(replays_by(Segmentation::by_size(4)), 2 * 3 * 2);
  EXPECT_EQ(replays_by(Segmentation::by_count(4)), (2 + 2 + 1) * 2);
  EXPECT_EQ(replays_by(Segmentation::square_root()), (3 + 2) * 2);
  EXPECT_EQ(replays_by(Segmentation::by_size(1)), 0) << "one layer has nothing inside";
  EXPECT_EQ(replays_by(Segmentation::by_count(1)), 0) << "the last segment is not checkpointed";
}

TEST_F(Models, keep_an_output_a_segment_and_the_inside_of_the_last) {
  const Training plain = train_on_rows([] { return plain_model(16); });
  EXPECT_EQ(plain.kept, 16 * kOutput + kLoss);
  const Training by_root = train_on_rows([] { return model_of(16, Segmentation::square_root()); });
  EXPECT_EQ(by_root.kept, (3 + 4) * kOutput + kLoss);
  const Training by_three = train_on_rows([] { return model_of(16, Segmentation::by_size(3)); });
  EXPECT_EQ(by_three.kept, (5 + 1) * kOutput + kLoss);
  // Both peaks are at the beginning of the backward, so the rest of the two peaks is the same.
  EXPECT_EQ(plain.peak - by_root.peak, (16 - 7) * kOutput);
}

TEST_F(Models, keep_inside_of_a_segment_what_the_options_say) {
  const Training plain = train_on_rows([] { return plain_model(10); });
  const auto keeping = [](const CheckpointOptions& options) {
    return train_on_rows([&] {
      CheckpointedModel model = model_of(10, Segmentation::by_size(3));
      model->checkpoint_options = options;
      return model;
    });
  };
  // The backward reads only outputs of ReLUs. In a segment of three layers, two of them are inside
  // and the third is the segment's output.
  const Training activations = keeping({.rules = {{.op = "aten::relu"}}});
  EXPECT_EQ(activations.replays, 0);
  EXPECT_EQ(activations.kept, plain.kept);
  const Training one_a_segment = keeping({.keep_at_most = Bytes(kOutput)});
  EXPECT_EQ(one_a_segment.replays, 3 * 2) << "of one layer the product and the ReLU";
  EXPECT_EQ(one_a_segment.kept, (3 * 2 + 1) * kOutput + kLoss);
  expect_same_states(plain, activations);
  expect_same_states(plain, one_a_segment);
}

TEST_F(Models, without_use_checkpoint_run_as_the_plain_one) {
  const Training plain = train_on_rows([] { return plain_model(10); });
  const Training off = train_on_rows([] {
    return CheckpointedModel(
        CheckpointedModelOptions{.num_layers = 10, .width = kWidth, .use_checkpoint = false});
  });
  expect_same_states(plain, off);
  EXPECT_EQ(off.replays, 0);
  EXPECT_EQ(off.kept, plain.kept);
  EXPECT_EQ(off.peak, plain.peak);

  // use_checkpoint may change from step to step.
  torch::manual_seed(kSeed);
  const at::Tensor x = torch::randn({kRows, kWidth}), y = torch::randn({kRows, kWidth});
  expect_same_states(plain, train([] { return model_of(10, Segmentation::by_size(3)); },
                                  [=](CheckpointedModel& model) {
                                    model->use_checkpoint = !model->use_checkpoint;
                                    return (model->forward(x) * y).mean();
                                  }));
}

// The backward of a Linear reads its input and its output. The layers beside it keep both, so a
// segment of one Linear has nothing inside.
TEST_F(Models, with_one_small_layer_under_a_checkpoint_need_as_much_as_without) {
  torch::manual_seed(kSeed);
  const at::Tensor x = torch::randn({32, 784});
  const auto make = [] {
    return torch::nn::Sequential(torch::nn::Linear(784, 512), torch::nn::Linear(512, 256),
                                 torch::nn::Linear(256, 10));
  };
  const Training plain =
      train(make, [=](auto& model) { return model->forward(x).square().mean(); });
  const Training found = train(make, [=](auto& model) {
    auto& layers = *model;
    const at::Tensor in = layers[0]->template as<torch::nn::Linear>()->forward(x);
    const auto middle = [&](const at::Tensor& value) {
      return layers[1]->template as<torch::nn::Linear>()->forward(value);
    };
    return layers[2]
        ->template as<torch::nn::Linear>()
        ->forward(checkpoint(middle, in))
        .square()
        .mean();
  });
  expect_same_states(plain, found);
  EXPECT_EQ(found.peak, plain.peak);
  EXPECT_EQ(found.kept, plain.kept);
}

TEST_F(Models, under_no_grad_leave_nothing_but_the_output) {
  torch::manual_seed(kSeed);
  const at::Tensor x = torch::randn({kRows, kWidth});
  CheckpointedModel model = model_of(10, Segmentation::by_size(3));
  const torch::NoGradGuard no_grad;
  const std::int64_t before = live();
  const at::Tensor found = model->forward(x);
  EXPECT_EQ(live() - before, kOutput);
  model->use_checkpoint = false;
  EXPECT_EQ(first_difference(bytes_of({model->forward(x)}), bytes_of({found})), std::nullopt);
}

// ---- Any list of layers ----

// Layers with BatchNorm, dropout and names chosen by the user.
torch::nn::Sequential mixed_layers() {
  torch::nn::Sequential layers;
  layers->push_back("first", torch::nn::Linear(kWidth, 24));
  layers->push_back("norm", torch::nn::BatchNorm1d(24));
  layers->push_back("act", torch::nn::GELU());
  layers->push_back("drop", torch::nn::Dropout(0.2));
  layers->push_back("second", torch::nn::Linear(24, kWidth));
  layers->push_back("tanh", torch::nn::Tanh());
  layers->push_back("third", torch::nn::Linear(kWidth, kWidth));
  return layers;
}

TEST_F(Models, take_a_sequential_and_keep_its_bits_names_and_parameters) {
  const Training plain = train_on_rows([] { return mixed_layers(); });
  for (std::int64_t count = 1; count <= 7; ++count) {
    SCOPED_TRACE(count);
    const Training found = train_on_rows(
        [&] { return CheckpointedModel(mixed_layers(), Segmentation::by_count(count)); });
    expect_same_states(plain, found);
    EXPECT_EQ(found.replays > 0, count > 1);
  }
  const torch::nn::Sequential layers = mixed_layers();
  const CheckpointedModel model(layers);
  EXPECT_EQ(model->segments(), (std::vector<Segment>{{0, 3}, {3, 5}, {5, 7}}));
  EXPECT_EQ(parameter_names(*model), parameter_names(*layers));
  EXPECT_TRUE(model->parameters()[0].is_same(layers->parameters()[0]));
}

std::vector<torch::nn::AnyModule> any_layers() {
  std::vector<torch::nn::AnyModule> layers;
  layers.emplace_back(torch::nn::Linear(kWidth, 24));
  layers.emplace_back(torch::nn::BatchNorm1d(24));
  layers.emplace_back(torch::nn::ReLU());
  layers.emplace_back(torch::nn::Dropout(0.2));
  layers.emplace_back(torch::nn::Linear(24, kWidth));
  return layers;
}

TEST_F(Models, take_any_modules_and_module_lists) {
  const auto as_sequential = [] {
    torch::nn::Sequential layers;
    for (torch::nn::AnyModule& layer : any_layers()) layers->push_back(layer);
    return layers;
  };
  const auto as_list = [] {
    torch::nn::ModuleList layers;
    for (torch::nn::AnyModule& layer : any_layers()) layers->push_back(layer.ptr());
    return layers;
  };
  const Training plain = train_on_rows(as_sequential);
  const Segmentation pairs = Segmentation::by_size(2);
  const Training any = train_on_rows([&] { return CheckpointedModel(any_layers(), pairs); });
  const Training list = train_on_rows([&] { return CheckpointedModel(as_list(), pairs); });
  expect_same_states(plain, any);
  expect_same_states(plain, list);
  EXPECT_EQ(any.replays, list.replays);
  EXPECT_GT(list.replays, 0);
  const std::vector<std::string> names{"0.weight", "0.bias",   "1.weight",
                                       "1.bias",   "4.weight", "4.bias"};
  EXPECT_EQ(parameter_names(*CheckpointedModel(any_layers())), names);
  EXPECT_EQ(parameter_names(*CheckpointedModel(as_list())), names);
}

TEST_F(Models, take_the_blocks_of_a_model) {
  torch::manual_seed(kSeed);
  const at::Tensor x = torch::randn({4, 6, kWidth});
  const auto blocks = [] {
    std::vector<nn::TransformerBlock> made;
    for (int i = 0; i < 4; ++i) made.emplace_back(kWidth, 2, 0.1, /*causal=*/true);
    return made;
  };
  const auto loss = [=](auto& model) { return model->forward(x).square().mean(); };
  const Training plain = train(
      [&] {
        torch::nn::Sequential model;
        for (const nn::TransformerBlock& block : blocks()) model->push_back(block);
        return model;
      },
      loss);
  const Training found = train([&] { return CheckpointedModel(blocks()); }, loss);
  expect_same_states(plain, found);
  EXPECT_GT(found.replays, 0);
}

TEST_F(Models, pass_train_and_eval_on_to_the_layers) {
  torch::manual_seed(kSeed);
  const at::Tensor x = torch::randn({kRows, kWidth});
  torch::nn::Sequential layers = mixed_layers();
  CheckpointedModel model(layers);
  model->eval();
  EXPECT_EQ(first_difference(bytes_of({layers->forward(x)}), bytes_of({model->forward(x)})),
            std::nullopt);
  EXPECT_FALSE(layers[3]->is_training()) << "dropout";
}

// ---- Wrong use ----

// The benchmark on the slides asks a factory for CheckpointedModel(use_checkpoint). Read as a
// number, true would mean one layer and false none.
TEST_F(Models, take_a_flag_for_use_checkpoint_and_for_no_number) {
  for (const bool flag : {false, true}) {
    const CheckpointedModel model(flag);
    EXPECT_EQ(model->use_checkpoint, flag);
    EXPECT_EQ(model->segments().size(), 4U);
    const CheckpointedResNet resnet(flag);
    EXPECT_EQ(resnet->use_checkpoint, flag);
    EXPECT_EQ(resnet->segments().size(), 50U);
  }
  using Dims = std::vector<std::int64_t>;
  static_assert(!std::is_constructible_v<CheckpointedModelImpl, int, bool>);
  static_assert(!std::is_constructible_v<CheckpointedModelImpl, bool, int>);
  static_assert(!std::is_constructible_v<CheckpointedResNetImpl, bool, Segmentation>);
  static_assert(!std::is_constructible_v<CheckpointedResNetImpl, int, bool>);
  static_assert(!std::is_constructible_v<SegmentedNetworkImpl, int, Dims, bool>);
  static_assert(!std::is_constructible_v<CheckpointedTransformerLayerImpl, int, int, bool>);
  static_assert(!std::is_constructible_v<CheckpointedTransformerEncoderImpl, int, int, bool>);
  static_assert(std::is_constructible_v<CheckpointedModelImpl, int, int>);
  static_assert(std::is_constructible_v<CheckpointedTransformerEncoderImpl, int, int, int,
                                        nn::TransformerLayerOptions, bool>,
                "final_norm is a flag");
}

struct MyLinearImpl : torch::nn::LinearImpl {
  using LinearImpl::LinearImpl;
  at::Tensor forward(const at::Tensor& x) { return LinearImpl::forward(x).relu(); }
};
TORCH_MODULE(MyLinear);

TEST_F(Models, refuse_impossible_options_by_name) {
  expect_refused("CheckpointedModel: num_layers is 0; expected 1 or more",
                 [] { CheckpointedModel(0, 3); });
  expect_refused("Segmentation::by_size: layers is 0; expected 1 or more",
                 [] { CheckpointedModel(10, 0); });
  expect_refused("Segmentation::by_count: segments is -1; expected 1 or more",
                 [] { return Segmentation::by_count(-1); });
  expect_refused("CheckpointedModel: width is -4; expected 1 or more",
                 [] { CheckpointedModel(CheckpointedModelOptions{.width = -4}); });
  expect_refused("Segmentation: 11 segments of 10 layers; expected 1 to the number of layers", [] {
    CheckpointedModel(CheckpointedModelOptions{.segmentation = Segmentation::by_count(11)});
  });
}

TEST_F(Models, refuse_lists_that_cannot_be_run) {
  const std::string empty = "CheckpointedModel: the list has no layers; expected 1 or more";
  expect_refused(empty, [] { return CheckpointedModel(torch::nn::Sequential()); });
  expect_refused(empty, [] { return CheckpointedModel(torch::nn::ModuleList()); });
  expect_refused(empty, [] { CheckpointedModel(std::vector<torch::nn::AnyModule>()); });
  expect_refused("CheckpointedModel: layer 1 is empty; expected a module", [] {
    std::vector<torch::nn::AnyModule> layers = any_layers();
    layers[1] = torch::nn::AnyModule();
    return CheckpointedModel(layers);
  });
  expect_refused("CheckpointedModel: layer 0 is empty; expected a module",
                 [] { return CheckpointedModel(std::vector<torch::nn::Linear>{nullptr}); });
  expect_refused(
      "CheckpointedModel: layer 1 of the ModuleList is a torch::nn::LSTMImpl, whose forward() "
      "cannot be called without its type; put the layers into a torch::nn::Sequential or a "
      "std::vector<torch::nn::AnyModule>",
      [] {
        return CheckpointedModel(
            torch::nn::ModuleList(torch::nn::Linear(2, 2), torch::nn::LSTM(2, 2)));
      });
}

// Its forward() is not virtual. Called as a Linear, it would run without its ReLU.
TEST_F(Models, take_no_class_for_the_one_that_it_derives_from) {
  try {
    const CheckpointedModel model(torch::nn::ModuleList(MyLinear(2, 2)));
    ADD_FAILURE() << "accepted";
  } catch (const InvalidArgument& error) {
    EXPECT_NE(std::string(error.what()).find("MyLinear"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace neap::test
