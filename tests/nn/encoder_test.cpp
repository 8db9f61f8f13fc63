// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap's transformer layer where LibTorch has none (norm first, batch first), compared with the
// same layer written with LibTorch's modules. tests/models/transformer_test.cpp compares the rest
// with LibTorch's layer.
#include <neap/nn.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cstring>
#include <string>
#include <vector>

namespace neap::nn {
namespace {

constexpr std::int64_t kWidth = 16, kHeads = 2, kTokens = 6, kBatch = 3;

void expect_same_bits(const at::Tensor& expected, const at::Tensor& found) {
  ASSERT_EQ(expected.sizes(), found.sizes());
  const at::Tensor a = expected.contiguous(), b = found.contiguous();
  EXPECT_EQ(std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()), 0);
}

// The same computation written with the children of `layer`: y = x + attention(norm1(x)), then y +
// feed-forward(norm2(y)).
at::Tensor written(const TransformerEncoderLayer& layer, const TransformerLayerOptions& options,
                   const at::Tensor& x, const at::Tensor& mask, const at::Tensor& padding) {
  const auto children = layer->named_children();
  const auto child = [&]<class Kind>(const char* name, Kind* /*type*/) {
    return children[name]->as<Kind>();
  };
  auto* const attention = child("self_attn", static_cast<torch::nn::MultiheadAttention*>(nullptr));
  torch::nn::Linear* const linear = nullptr;
  torch::nn::LayerNorm* const norm = nullptr;
  torch::nn::Dropout* const dropout = nullptr;
  const auto attend = [&](const at::Tensor& value) {
    const at::Tensor in = options.batch_first ? value.transpose(0, 1) : value;
    const at::Tensor out = std::get<0>(attention->forward(in, in, in, padding, true, mask));
    return child("dropout1", dropout)->forward(options.batch_first ? out.transpose(0, 1) : out);
  };
  const auto feed_forward = [&](const at::Tensor& value) {
    at::Tensor wide = child("linear1", linear)->forward(value);
    wide = options.activation == Activation::GELU ? torch::gelu(wide) : torch::relu(wide);
    wide = child("dropout", dropout)->forward(wide);
    return child("dropout2", dropout)->forward(child("linear2", linear)->forward(wide));
  };
  if (options.norm_first) {
    const at::Tensor y = x + attend(child("norm1", norm)->forward(x));
    return y + feed_forward(child("norm2", norm)->forward(y));
  }
  const at::Tensor y = child("norm1", norm)->forward(x + attend(x));
  return child("norm2", norm)->forward(y + feed_forward(y));
}

TEST(TransformerEncoderLayerModel, computes_its_formula_in_each_form) {
  for (const bool norm_first : {false, true}) {
    for (const bool batch_first : {false, true}) {
      for (const Activation activation : {Activation::GELU, Activation::ReLU}) {
        SCOPED_TRACE(testing::Message()
                     << norm_first << batch_first << static_cast<int>(activation));
        const TransformerLayerOptions options{.dim_feedforward = 24,
                                              .dropout = 0.2,
                                              .activation = activation,
                                              .norm_first = norm_first,
                                              .batch_first = batch_first};
        torch::manual_seed(5);
        TransformerEncoderLayer layer(kWidth, kHeads, options);
        // Norms that start as the identity would hide a swap of the two.
        const torch::NoGradGuard no_grad;
        for (const at::Tensor& parameter : layer->parameters()) parameter.normal_(0, 0.3);
        const at::Tensor x = batch_first ? torch::randn({kBatch, kTokens, kWidth})
                                         : torch::randn({kTokens, kBatch, kWidth});
        const at::Tensor mask = torch::randn({kTokens, kTokens});
        at::Tensor padding = torch::zeros({kBatch, kTokens}, torch::kBool);
        padding[1].slice(0, 4).fill_(true);
        torch::manual_seed(6);
        const at::Tensor expected = written(layer, options, x, mask, padding);
        torch::manual_seed(6);
        expect_same_bits(expected, layer->forward(x, mask, padding));
      }
    }
  }
}

TEST(TransformerEncoderModel, is_its_layers_in_a_row_and_the_final_norm) {
  const TransformerLayerOptions options{.dim_feedforward = 24, .dropout = 0};
  TransformerEncoder encoder(3, kWidth, kHeads, options, /*final_norm=*/true);
  const at::Tensor x = torch::randn({kTokens, kBatch, kWidth});
  const at::Tensor mask = torch::randn({kTokens, kTokens});
  at::Tensor expected = x;
  for (TransformerEncoderLayer& layer : encoder->layers) expected = layer->forward(expected, mask);
  expected = torch::layer_norm(expected, {kWidth}, encoder->named_parameters()["norm.weight"],
                               encoder->named_parameters()["norm.bias"]);
  expect_same_bits(expected, encoder->forward(x, mask));
  EXPECT_EQ(encoder->layers.size(), 3u);
  TransformerEncoder without(1, kWidth, kHeads, options);
  EXPECT_FALSE(without->named_parameters().contains("norm.weight"));
  expect_same_bits(without->layers[0]->forward(x), without->forward(x));
}

}  // namespace
}  // namespace neap::nn
