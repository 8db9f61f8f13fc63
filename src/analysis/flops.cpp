// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "analysis/flops.h"

#include <ATen/core/Tensor.h>

#include <array>
#include <cstddef>

namespace neap::analysis {
namespace {

using Inputs = c10::ArrayRef<const c10::IValue>;
using Count = std::optional<std::int64_t>;

// The sizes of a dense tensor of `dimensions` dimensions; empty: the argument is something else.
at::IntArrayRef sizes_of(Inputs inputs, std::size_t index, std::size_t dimensions) {
  if (index >= inputs.size() || !inputs[index].isTensor()) return {};
  const at::Tensor& tensor = inputs[index].toTensor();
  const bool is_plain = tensor.defined() && !tensor.is_nested() && tensor.layout() != at::kSparse &&
                        tensor.dim() == static_cast<std::int64_t>(dimensions);
  return is_plain ? tensor.sizes() : at::IntArrayRef();
}

std::int64_t product(at::IntArrayRef sizes) {
  std::int64_t count = 1;
  for (const std::int64_t extent : sizes) count *= extent;
  return count;
}

// (m, k) x (k, n). `first`: the place of the left matrix among the arguments.
Count matrices(Inputs inputs, std::size_t first) {
  const at::IntArrayRef left = sizes_of(inputs, first, 2), right = sizes_of(inputs, first + 1, 2);
  if (left.empty() || right.empty()) return {};
  return 2 * product(left) * right[1];
}

// (b, m, k) x (b, k, n).
Count batched_matrices(Inputs inputs, std::size_t first) {
  const at::IntArrayRef left = sizes_of(inputs, first, 3), right = sizes_of(inputs, first + 1, 3);
  if (left.empty() || right.empty()) return {};
  return 2 * product(left) * right[2];
}

// (m, k) x (k).
Count matrix_and_vector(Inputs inputs, std::size_t first) {
  const at::IntArrayRef matrix = sizes_of(inputs, first, 2);
  if (matrix.empty()) return {};
  return 2 * product(matrix);
}

Count vectors(Inputs inputs) {
  const at::IntArrayRef vector = sizes_of(inputs, 0, 1);
  if (vector.empty()) return {};
  return 2 * vector[0];
}

// input, weight, bias, stride, padding, dilation, transposed, output_padding, groups. The weight
// meets each place of the output, or of the input where it is transposed. Padding counts too.
Count convolution(Inputs inputs) {
  if (inputs.size() < 9 || !inputs[0].isTensor() || !inputs[1].isTensor()) return {};
  const auto dimensions = static_cast<std::size_t>(inputs[1].toTensor().dim());
  const at::IntArrayRef input = sizes_of(inputs, 0, dimensions);
  const at::IntArrayRef weight = sizes_of(inputs, 1, dimensions);
  if (input.size() < 3) return {};  // LibTorch adds the batch before it calls the operator
  std::int64_t places = input[0];
  // A list of one number stands for all dimensions.
  const auto of = [&](std::size_t argument, std::size_t dimension) {
    const auto list = inputs[argument].toIntVector();
    return list[list.size() == 1 ? 0 : dimension];
  };
  for (std::size_t i = 0; i + 2 < dimensions; ++i) {
    const std::int64_t extent = input[i + 2];
    places *= inputs[6].toBool()
                  ? extent
                  : (extent + 2 * of(4, i) - of(5, i) * (weight[i + 2] - 1) - 1) / of(3, i) + 1;
  }
  return 2 * places * product(weight);
}

// query (b, h, tokens, d), key (b, h, places, d), value (b, h, places, e): scores and their
// product with the values. What a mask leaves out counts too.
Count attention(Inputs inputs) {
  const at::IntArrayRef query = sizes_of(inputs, 0, 4), key = sizes_of(inputs, 1, 4),
                        value = sizes_of(inputs, 2, 4);
  if (query.empty() || key.empty() || value.empty()) return {};
  return 2 * query[0] * query[1] * query[2] * key[2] * (query[3] + value[3]);
}

// oneDNN's layer of an LSTM, in one direction: input (tokens, b, features), weights of the input
// and of the state, four gates in each.
Count recurrent_layer(Inputs inputs) {
  const at::IntArrayRef input = sizes_of(inputs, 0, 3), of_input = sizes_of(inputs, 1, 2),
                        of_state = sizes_of(inputs, 2, 2);
  if (input.empty() || of_input.empty() || of_state.empty()) return {};
  return 2 * input[0] * input[1] * (product(of_input) + product(of_state));
}

struct Rule {
  std::string_view name;
  Count (*count)(Inputs inputs);
};

constexpr std::array kRules{
    Rule{"aten::mm", [](Inputs inputs) { return matrices(inputs, 0); }},
    Rule{"aten::addmm", [](Inputs inputs) { return matrices(inputs, 1); }},
    Rule{"aten::_addmm_activation", [](Inputs inputs) { return matrices(inputs, 1); }},
    Rule{"aten::bmm", [](Inputs inputs) { return batched_matrices(inputs, 0); }},
    Rule{"aten::baddbmm", [](Inputs inputs) { return batched_matrices(inputs, 1); }},
    Rule{"aten::addbmm", [](Inputs inputs) { return batched_matrices(inputs, 1); }},
    Rule{"aten::mv", [](Inputs inputs) { return matrix_and_vector(inputs, 0); }},
    Rule{"aten::addmv", [](Inputs inputs) { return matrix_and_vector(inputs, 1); }},
    Rule{"aten::dot", vectors},
    Rule{"aten::convolution", convolution},
    Rule{"aten::_scaled_dot_product_flash_attention_for_cpu", attention},
    Rule{"aten::_scaled_dot_product_flash_attention", attention},
    Rule{"aten::_scaled_dot_product_efficient_attention", attention},
    Rule{"aten::_scaled_dot_product_cudnn_attention", attention},
    Rule{"aten::mkldnn_rnn_layer", recurrent_layer},
};

}  // namespace

Count flops_of(std::string_view name, Inputs inputs) {
  for (const Rule& rule : kRules) {
    if (rule.name == name) return rule.count(inputs);
  }
  return {};
}

}  // namespace neap::analysis
