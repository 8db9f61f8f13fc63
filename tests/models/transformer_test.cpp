// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The checkpointed transformer layer and encoder, compared with LibTorch's own where LibTorch has
// the same, and with neap's plain layer otherwise. The bits must be equal with dropout, whose
// random numbers a replay must draw again, and with masks, which it must apply again.
#include "models/training.h"

#include <algorithm>
#include <limits>

namespace neap::test {
namespace {

constexpr std::int64_t kTokens = 12, kBatch = 4, kWidth = 32, kHeads = 4, kWide = 64;
const std::int64_t kOutput = memory::footprint(kTokens * kBatch * kWidth * 4);

nn::TransformerLayerOptions small(double dropout) {
  return {.dim_feedforward = kWide, .dropout = dropout};
}

struct Masks {
  at::Tensor src, padding;
};

// No mask, a mask that hides later tokens, one that hides padding, and both.
std::vector<Masks> all_masks() {
  const at::Tensor later = torch::ones({kTokens, kTokens}, torch::kBool).triu(1);
  const at::Tensor added =
      torch::zeros({kTokens, kTokens}).masked_fill(later, -std::numeric_limits<float>::infinity());
  at::Tensor padding = torch::zeros({kBatch, kTokens}, torch::kBool);
  padding[0].slice(0, 9).fill_(true);
  padding[2].slice(0, 4).fill_(true);
  return {{}, {added, {}}, {{}, padding}, {added, padding}};
}

template <class Make>
Training train_on_tokens(const Make& make, const Masks& masks, bool batch_first = false) {
  torch::manual_seed(kSeed);
  const at::Tensor x = batch_first ? torch::randn({kBatch, kTokens, kWidth})
                                   : torch::randn({kTokens, kBatch, kWidth});
  const at::Tensor y = torch::randn_like(x);
  return train(
      make, [=](auto& model) { return (model->forward(x, masks.src, masks.padding) * y).mean(); });
}

// A model that was made of other random numbers and then got the weights of `theirs`. So both must
// have the same names.
template <class Theirs, class Make>
auto loaded_from(const Theirs& theirs, const Make& make) {
  at::Generator generator = at::globalContext().defaultGenerator(at::kCPU);
  const at::Tensor state = generator.get_state();
  torch::manual_seed(kSeed + 1);
  auto model = make();
  load(*theirs, *model);
  generator.set_state(state);
  return model;
}

TEST_F(Models, of_transformers_load_libtorchs_weights_and_have_its_bits) {
  for (const bool gelu : {false, true}) {
    for (const Masks& masks : all_masks()) {
      SCOPED_TRACE(testing::Message() << "gelu " << gelu << ", src_mask " << masks.src.defined()
                                      << ", padding " << masks.padding.defined());
      const auto theirs = [&] {
        auto options = torch::nn::TransformerEncoderLayerOptions(kWidth, kHeads)
                           .dim_feedforward(kWide)
                           .dropout(0.2);
        if (gelu) options.activation(torch::kGELU);
        return torch::nn::TransformerEncoderLayer(options);
      };
      const auto ours = [&] {
        return loaded_from(theirs(), [&] {
          nn::TransformerLayerOptions options = small(0.2);
          options.activation = gelu ? nn::Activation::GELU : nn::Activation::ReLU;
          return CheckpointedTransformerLayer(kWidth, kHeads, options);
        });
      };
      const Training expected = train_on_tokens(theirs, masks);
      const Training found = train_on_tokens(ours, masks);
      expect_same_states(expected, found);
      EXPECT_GT(found.replays, 0);
    }
  }
}

TEST_F(Models, of_encoders_load_libtorchs_weights_and_have_its_bits) {
  for (const bool final_norm : {false, true}) {
    SCOPED_TRACE(final_norm);
    const auto theirs = [&] {
      torch::nn::TransformerEncoderOptions options(
          torch::nn::TransformerEncoderLayerOptions(kWidth, kHeads).dim_feedforward(kWide), 3);
      if (final_norm) {
        options.norm(
            torch::nn::AnyModule(torch::nn::LayerNorm(torch::nn::LayerNormOptions({kWidth}))));
      }
      return torch::nn::TransformerEncoder(options);
    };
    const auto ours = [&] {
      return loaded_from(theirs(), [&] {
        return CheckpointedTransformerEncoder(3, kWidth, kHeads, small(0.1), final_norm);
      });
    };
    const Masks masks = all_masks().back();
    expect_same_states(train_on_tokens(theirs, masks), train_on_tokens(ours, masks));
  }
}

// The default constructor also draws random numbers in LibTorch's order.
TEST_F(Models, of_transformers_start_with_libtorchs_weights_for_the_same_seed) {
  torch::manual_seed(kSeed);
  const torch::nn::TransformerEncoderLayer theirs(
      torch::nn::TransformerEncoderLayerOptions(kWidth, kHeads));
  torch::manual_seed(kSeed);
  const CheckpointedTransformerLayer ours(kWidth, kHeads);
  EXPECT_EQ(parameter_names(*theirs), parameter_names(*ours));
  EXPECT_EQ(first_difference(bytes_of(theirs->parameters()), bytes_of(ours->parameters())),
            std::nullopt);
}

TEST_F(Models, of_transformers_have_the_bits_of_the_plain_layer_in_each_form) {
  for (const bool norm_first : {false, true}) {
    for (const bool batch_first : {false, true}) {
      for (const Masks& masks : all_masks()) {
        SCOPED_TRACE(testing::Message() << "norm_first " << norm_first << ", batch_first "
                                        << batch_first << ", src_mask " << masks.src.defined()
                                        << ", padding " << masks.padding.defined());
        nn::TransformerLayerOptions options = small(0.2);
        options.norm_first = norm_first;
        options.batch_first = batch_first;
        const Training plain =
            train_on_tokens([&] { return nn::TransformerEncoderLayer(kWidth, kHeads, options); },
                            masks, batch_first);
        const Training found =
            train_on_tokens([&] { return CheckpointedTransformerLayer(kWidth, kHeads, options); },
                            masks, batch_first);
        expect_same_states(plain, found);
        EXPECT_GT(found.replays, 0);
      }
    }
  }
}

// Each half of a layer keeps only its output. Its norm also keeps a mean and a deviation per token,
// which are too small to be worth a replay.
TEST_F(Models, of_encoders_keep_two_outputs_a_layer) {
  constexpr std::int64_t kLayers = 6;
  const std::int64_t statistics = 2 * memory::footprint(kTokens * kBatch * 4);
  const auto kept = [](std::int64_t layers, bool use_checkpoint) {
    return train_on_tokens(
        [=] {
          CheckpointedTransformerEncoder model(layers, kWidth, kHeads, small(0.1));
          model->use_checkpoint = use_checkpoint;
          return model;
        },
        Masks{});
  };
  const Training found = kept(kLayers, true), plain = kept(kLayers, false);
  expect_same_states(plain, found);
  // The product that makes the loss does not read the last output. The last norm saves it inside.
  EXPECT_EQ(found.kept - kept(kLayers - 1, true).kept, 2 * (kOutput + statistics));
  EXPECT_LT(found.peak, plain.peak);
  EXPECT_EQ(plain.replays, 0);
}

// Depending on LibTorch's version, a Linear with bias on three dimensions is one operator or two.
std::int64_t operators_of_a_linear() {
  torch::nn::Linear linear(kWidth, kWidth);
  const at::Tensor x = torch::randn({kTokens, kBatch, kWidth});
  const at::Tensor y = checkpoint([&] { return linear->forward(x).tanh().exp(); });
  const std::int64_t before = replays();
  y.sum().backward();
  return replays() - before - 1;  // tanh
}

TEST_F(Models, of_transformers_run_each_operator_that_the_backward_needs_once_more) {
  const std::int64_t linear = operators_of_a_linear();
  const auto replays_of = [](bool norm_first) {
    return train_on_tokens(
               [=] {
                 nn::TransformerLayerOptions options = small(0.1);
                 options.norm_first = norm_first;
                 return CheckpointedTransformerLayer(kWidth, kHeads, options);
               },
               Masks{})
        .replays;
  };
  // Attention runs scaled q, copies of k and v, scores, softmax, product with the values, and one
  // copy. A dropout runs three operators: random numbers, division and product.
  constexpr std::int64_t kAttention = 1 + 2 + 1 + 1 + 3 + 1 + 1;
  // The norm after a sum reads the sum, so everything before it comes back. The norm's own result
  // is the output and stays.
  EXPECT_EQ(replays_of(false), 4 * linear + kAttention + (3 + 1) + /*relu*/ 1 + 3 + (3 + 1));
  // Nothing reads the sum inside. So of the last Linear and dropout, only the dropout's random
  // numbers and division run again. The norm runs again too.
  EXPECT_EQ(replays_of(true), 2 * linear + kAttention + (1 + 2) + /*relu*/ 1 + 3 + (1 + 2));
}

TEST_F(Models, of_encoders_keep_inside_of_their_layers_what_the_options_say) {
  constexpr std::int64_t kLayers = 2;
  const auto train_with = [&](const CheckpointOptions& options) {
    return train_on_tokens(
        [&] {
          CheckpointedTransformerEncoder model(kLayers, kWidth, kHeads, small(0.1));
          model->checkpoint_options = options;
          return model;
        },
        Masks{});
  };
  const Training nothing = train_with({});
  const Training weights = train_with({.rules = {{.op = "aten::_softmax"}}});
  expect_same_states(nothing, weights);
  EXPECT_EQ(nothing.replays - weights.replays, kLayers * 2) << "softmax, and the scores below it";
  EXPECT_EQ(weights.kept - nothing.kept,
            kLayers * memory::footprint(kBatch * kHeads * kTokens * kTokens * 4));
}

TEST_F(Models, of_encoders_have_the_bits_of_the_plain_one_inside_budgets) {
  const Masks masks = all_masks().back();
  const auto make = [](bool use_checkpoint) {
    return [=] {
      CheckpointedTransformerEncoder model(4, kWidth, kHeads, small(0.1), /*final_norm=*/true);
      model->use_checkpoint = use_checkpoint;
      return model;
    };
  };
  const Training plain = train_on_tokens(make(false), masks);
  torch::manual_seed(kSeed);
  const at::Tensor x = torch::randn({kTokens, kBatch, kWidth}), y = torch::randn_like(x);
  const auto loss = [=](auto& model) {
    return (model->forward(x, masks.src, masks.padding) * y).mean();
  };
  for (const std::int64_t percent : {95, 85}) {
    SCOPED_TRACE(percent);
    expect_same_states(plain, train_in_budget(make(false), loss, plain.peak * percent / 100));
    expect_same_states(plain, train_in_budget(make(true), loss, plain.peak * percent / 100));
  }
}

// LibTorch would add a bool mask as 0 and 1.
TEST_F(Models, of_transformers_take_bool_masks_as_what_a_token_may_not_see) {
  const Masks masks = all_masks()[1];
  const auto make = [] { return CheckpointedTransformerLayer(kWidth, kHeads, small(0.1)); };
  expect_same_states(train_on_tokens(make, masks),
                     train_on_tokens(make, {masks.src.isinf(), masks.padding}));
}

// Adds 1 to the tokens from `first` on. Returns for each token of row 2 whether its output stayed
// the same.
std::vector<bool> unchanged(const Masks& masks, std::int64_t first) {
  torch::manual_seed(kSeed);
  CheckpointedTransformerLayer layer(kWidth, kHeads, small(0.1));
  layer->eval();
  const at::Tensor x = torch::randn({kTokens, kBatch, kWidth});
  at::Tensor other = x.clone();
  other.slice(0, first).add_(1);
  const at::Tensor a = layer->forward(x, masks.src, masks.padding);
  const at::Tensor b = layer->forward(other, masks.src, masks.padding);
  std::vector<bool> same;
  for (std::int64_t token = 0; token < kTokens; ++token) {
    same.push_back(bytes_of({a[token][2]}) == bytes_of({b[token][2]}));
  }
  return same;
}

TEST_F(Models, of_transformers_see_no_later_and_no_padded_token) {
  std::vector<bool> first_four(kTokens, false);
  std::fill_n(first_four.begin(), 4, true);
  const std::vector<Masks> masks = all_masks();
  EXPECT_EQ(unchanged(masks[0], 4), std::vector<bool>(kTokens, false)) << "each sees all";
  EXPECT_EQ(unchanged(masks[1], 4), first_four) << "a later token was seen";
  EXPECT_EQ(unchanged(masks[2], 4), first_four) << "a padded token was seen";
}

TEST_F(Models, of_transformers_share_the_layer_that_they_wrap) {
  const nn::TransformerEncoderLayer plain(kWidth, kHeads, small(0.1));
  const CheckpointedTransformerLayer layer(plain);
  EXPECT_EQ(parameter_names(*layer), parameter_names(*plain));
  EXPECT_TRUE(layer->parameters()[0].is_same(plain->parameters()[0]));

  const nn::TransformerEncoder plain_encoder(2, kWidth, kHeads, small(0.1), /*final_norm=*/true);
  const CheckpointedTransformerEncoder encoder(plain_encoder);
  EXPECT_EQ(parameter_names(*encoder), parameter_names(*plain_encoder));
  EXPECT_TRUE(encoder->parameters()[0].is_same(plain_encoder->parameters()[0]));
}

// With one argument, the masks are left out.
TEST_F(Models, of_transformers_stand_in_a_sequential) {
  torch::manual_seed(kSeed);
  const at::Tensor x = torch::randn({kTokens, kBatch, kWidth});
  CheckpointedTransformerLayer layer(kWidth, kHeads, small(0));
  torch::nn::Sequential model(layer, torch::nn::Linear(kWidth, 2));
  const at::Tensor expected = model[1]->as<torch::nn::Linear>()->forward(layer->forward(x));
  EXPECT_EQ(first_difference(bytes_of({expected}), bytes_of({model->forward(x)})), std::nullopt);
}

TEST_F(Models, of_transformers_refuse_impossible_options_by_name) {
  const std::string name = "TransformerEncoderLayer: ";
  expect_refused(name + "d_model is 0; expected 1 or more",
                 [] { CheckpointedTransformerLayer(0, 1); });
  expect_refused(name + "nhead is -1; expected 1 or more",
                 [] { CheckpointedTransformerLayer(8, -1); });
  expect_refused(name + "nhead is 3, which does not divide d_model (8)",
                 [] { CheckpointedTransformerLayer(8, 3); });
  expect_refused(name + "dim_feedforward is 0; expected 1 or more",
                 [] { CheckpointedTransformerLayer(8, 2, 0); });
  expect_refused(name + "dropout is 1.500000; expected 0 or more and less than 1",
                 [] { CheckpointedTransformerLayer(8, 2, small(1.5)); });
  expect_refused("TransformerEncoder: num_layers is 0; expected 1 or more",
                 [] { CheckpointedTransformerEncoder(0, 8, 2); });
}

TEST_F(Models, of_transformers_refuse_tokens_and_masks_that_do_not_fit) {
  const std::string name = "TransformerEncoderLayer: ";
  CheckpointedTransformerLayer layer(8, 2);
  nn::TransformerLayerOptions batch_first;
  batch_first.batch_first = true;
  CheckpointedTransformerLayer by_batch(8, 2, batch_first);
  const at::Tensor x = torch::zeros({5, 3, 8});
  expect_refused(name + "src of (5, 3, 7); expected (T, B, 8)", [&] {
    layer->forward(torch::zeros({5, 3, 7}));
  });
  expect_refused(name + "src of (5, 8); expected (B, T, 8)", [&] {
    by_batch->forward(torch::zeros({5, 8}));
  });
  expect_refused(name + "src_mask of (3, 3); expected (T, T), here (5, 5)", [&] {
    layer->forward(x, torch::zeros({3, 3}));
  });
  expect_refused(name + "src_mask of (5, 5); expected (T, T), here (3, 3)", [&] {
    by_batch->forward(x, torch::zeros({5, 5}));
  });
  expect_refused(name + "src_mask of type Long; expected Bool, or Float as src is", [&] {
    layer->forward(x, torch::zeros({5, 5}, torch::kLong));
  });
  expect_refused(name + "src_key_padding_mask of (5, 3); expected (B, T), here (3, 5)", [&] {
    layer->forward(x, {}, torch::zeros({5, 3}, torch::kBool));
  });
  expect_refused(name +
                     "src_key_padding_mask of type Float; expected Bool, true for tokens that "
                     "nobody may see",
                 [&] {
                   layer->forward(x, {}, torch::zeros({3, 5}));
                 });
}

}  // namespace
}  // namespace neap::test
