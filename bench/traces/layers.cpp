// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "layers.h"

#include <string>
#include <utility>

namespace neap::bench {
namespace {

constexpr std::int64_t kItem = 4;  // bytes of a float
constexpr std::int64_t kIndex = 8;
constexpr std::int64_t kFlopsPerNs = 100;

std::int64_t moving(std::int64_t bytes) { return bytes / kBytesPerNs; }
std::int64_t multiplying(std::int64_t flops) { return flops / kFlopsPerNs; }

std::int64_t bytes_of(const Image& x) { return kItem * x.batch * x.channels * x.side * x.side; }
std::int64_t bytes_of(const Matrix& x) { return kItem * x.rows * x.columns; }

}  // namespace

Image Layers::picture(std::int64_t batch, std::int64_t channels, std::int64_t side) {
  Image x{.batch = batch, .channels = channels, .side = side};
  x.value = step_.given(bytes_of(x), graph::StorageKind::Input);
  return x;
}

Matrix Layers::rows(std::int64_t rows, std::int64_t columns) {
  Matrix x{.rows = rows, .columns = columns};
  x.value = step_.given(bytes_of(x), graph::StorageKind::Input);
  return x;
}

Matrix Layers::embedding(std::int64_t words, std::int64_t rows, std::int64_t columns) {
  Matrix y{.rows = rows, .columns = columns};
  const Value indices = step_.given(kIndex * rows, graph::StorageKind::Input);
  const Value table = weight(words, columns);
  const std::int64_t ns = moving(2 * bytes_of(y));
  y.value = step_.run({.name = "aten::embedding",
                       .reads = {table, indices},
                       .makes = {bytes_of(y)},
                       .ns = ns,
                       .backward = {{.name = "aten::embedding_dense_backward",
                                     .of = {table},
                                     .saved = {indices},
                                     .ns = ns}}})[0];
  return y;
}

Image Layers::convolution(const Image& x, std::int64_t channels, std::int64_t kernel,
                          std::int64_t stride) {
  Image y{.batch = x.batch, .channels = channels, .side = x.side / stride};
  const Value weight = step_.parameter(kItem * channels * x.channels * kernel * kernel);
  const std::int64_t ns = multiplying(2 * bytes_of(y) / kItem * x.channels * kernel * kernel);
  // Blocked copies of operands that are not blocked yet.
  const std::int64_t workspace = kernel > 1 ? bytes_of(x) / 2 : 0;
  y.value = step_.run({.name = "aten::convolution",
                       .reads = {x.value, weight},
                       .makes = {bytes_of(y)},
                       .ns = ns,
                       .workspace = workspace,
                       .backward = {{.name = "aten::convolution_backward",
                                     .of = {x.value, weight},
                                     .saved = {x.value, weight},
                                     .ns = 2 * ns,
                                     .workspace = workspace}}})[0];
  return y;
}

Image Layers::transposed_convolution(const Image& x, std::int64_t channels) {
  Image y{.batch = x.batch, .channels = channels, .side = 2 * x.side};
  const Value weight = step_.parameter(kItem * channels * x.channels * 4);
  const std::int64_t ns = multiplying(2 * bytes_of(x) / kItem * channels * 4);
  y.value = step_.run({.name = "aten::convolution",
                       .reads = {x.value, weight},
                       .makes = {bytes_of(y)},
                       .ns = ns,
                       .workspace = bytes_of(x),
                       .backward = {{.name = "aten::convolution_backward",
                                     .of = {x.value, weight},
                                     .saved = {x.value, weight},
                                     .ns = 2 * ns,
                                     .workspace = bytes_of(x)}}})[0];
  return y;
}

Image Layers::batch_norm(const Image& x) {
  const std::int64_t channel_bytes = kItem * x.channels;
  const Value weight = step_.parameter(channel_bytes);
  const Value bias = step_.parameter(channel_bytes);
  const Value mean = step_.given(channel_bytes, graph::StorageKind::Buffer);
  const Value variance = step_.given(channel_bytes, graph::StorageKind::Buffer);
  const Value batches = step_.given(kIndex, graph::StorageKind::Buffer);
  step_.run({.name = "aten::add_", .overwrites = batches});
  const Value y = step_.run({.name = "aten::native_batch_norm",
                             .reads = {x.value, weight, bias},
                             .mutates_once = {mean, variance},
                             .makes = {bytes_of(x), channel_bytes, channel_bytes},
                             .ns = moving(3 * bytes_of(x)),
                             .backward = {{.name = "aten::native_batch_norm_backward",
                                           .of = {x.value, weight, bias},
                                           .saved = {x.value, weight},
                                           .saved_outputs = {1, 2},
                                           .ns = moving(5 * bytes_of(x))}}})[0];
  return with(x, y);
}

Image Layers::max_pool(const Image& x) {
  Image y{.batch = x.batch, .channels = x.channels, .side = x.side / 2};
  y.value = step_.run({.name = "aten::max_pool2d_with_indices",
                       .reads = {x.value},
                       .makes = {bytes_of(y), bytes_of(y) / kItem * kIndex},
                       .ns = moving(2 * bytes_of(x)),
                       .backward = {{.name = "aten::max_pool2d_with_indices_backward",
                                     .of = {x.value},
                                     .saved = {x.value},
                                     .saved_outputs = {1},
                                     .ns = moving(2 * bytes_of(x))}}})[0];
  return y;
}

Image Layers::concatenate(const std::vector<Image>& parts) {
  Image y = parts.front();
  std::vector<Value> values;
  y.channels = 0;
  for (const Image& part : parts) {
    y.channels += part.channels;
    values.push_back(part.value);
  }
  return with(y, concatenate(values));
}

Value Layers::concatenate(const std::vector<Value>& parts) {
  std::int64_t bytes = 0;
  for (const Value part : parts) bytes += step_.bytes(part);
  // The gradients of the parts are views of the gradient of the whole.
  return step_.run({.name = "aten::cat",
                    .reads = parts,
                    .makes = {bytes},
                    .ns = moving(2 * bytes),
                    .backward = {{.of = parts}}})[0];
}

Matrix Layers::mean(const Image& x) {
  Matrix y{.rows = x.batch, .columns = x.channels};
  y.value = step_.run(
      {.name = "aten::mean",
       .reads = {x.value},
       .makes = {bytes_of(y)},
       .ns = moving(bytes_of(x)),
       .backward = {{.name = "aten::div", .of = {x.value}, .ns = moving(bytes_of(x))}}})[0];
  return y;
}

Value Layers::weight(std::int64_t rows, std::int64_t columns) {
  return step_.parameter(kItem * rows * columns);
}

Matrix Layers::linear(const Matrix& x, std::int64_t columns) {
  Matrix y{.rows = x.rows, .columns = columns};
  const Value weight = this->weight(columns, x.columns);
  const Value bias = this->weight(1, columns);
  const std::int64_t ns = multiplying(2 * x.rows * x.columns * columns);
  y.value = step_.run({.name = "aten::addmm",
                       .reads = {x.value, weight, bias},
                       .makes = {bytes_of(y)},
                       .ns = ns,
                       .backward = {
                           {.name = "aten::mm", .of = {x.value}, .saved = {weight}, .ns = ns},
                           {.name = "aten::mm", .of = {weight}, .saved = {x.value}, .ns = ns},
                           {.name = "aten::sum", .of = {bias}, .ns = moving(bytes_of(y))},
                       }})[0];
  return y;
}

Matrix Layers::product(const Matrix& x, Value weight, std::int64_t columns) {
  Matrix y{.rows = x.rows, .columns = columns};
  const std::int64_t ns = multiplying(2 * x.rows * x.columns * columns);
  y.value = step_.run({.name = "aten::mm",
                       .reads = {x.value, weight},
                       .makes = {bytes_of(y)},
                       .ns = ns,
                       .backward = {
                           {.name = "aten::mm", .of = {x.value}, .saved = {weight}, .ns = ns},
                           {.name = "aten::mm", .of = {weight}, .saved = {x.value}, .ns = ns},
                       }})[0];
  return y;
}

Value Layers::batched_product(Value left, Value right, std::int64_t heads, std::int64_t rows,
                              std::int64_t inner, std::int64_t columns) {
  const std::int64_t bytes = kItem * heads * rows * columns;
  const std::int64_t ns = multiplying(2 * heads * rows * inner * columns);
  // A packed copy of the right operand.
  const std::int64_t workspace = kItem * heads * inner * columns;
  return step_.run(
      {.name = "aten::bmm",
       .reads = {left, right},
       .makes = {bytes},
       .ns = ns,
       .workspace = workspace,
       .backward = {
           {.name = "aten::bmm", .of = {right}, .saved = {left}, .ns = ns, .workspace = workspace},
           {.name = "aten::bmm", .of = {left}, .saved = {right}, .ns = ns, .workspace = workspace},
       }})[0];
}

Matrix Layers::layer_norm(const Matrix& x) {
  const Value weight = this->weight(1, x.columns);
  const Value bias = this->weight(1, x.columns);
  const std::int64_t row_bytes = kItem * x.rows;
  const Value y = step_.run({.name = "aten::native_layer_norm",
                             .reads = {x.value, weight, bias},
                             .makes = {bytes_of(x), row_bytes, row_bytes},
                             .ns = moving(3 * bytes_of(x)),
                             .backward = {{.name = "aten::native_layer_norm_backward",
                                           .of = {x.value, weight, bias},
                                           .saved = {x.value, weight},
                                           .saved_outputs = {1, 2},
                                           .ns = moving(5 * bytes_of(x))}}})[0];
  return with(x, y);
}

Value Layers::cross_entropy(const Matrix& logits) {
  const std::int64_t bytes = bytes_of(logits);
  const Value target = step_.given(kIndex * logits.rows, graph::StorageKind::Input);
  const Value log_softmax = step_.run({.name = "aten::_log_softmax",
                                       .reads = {logits.value},
                                       .makes = {bytes},
                                       .ns = moving(4 * bytes),
                                       .backward = {{.name = "aten::_log_softmax_backward_data",
                                                     .of = {logits.value},
                                                     .saved_outputs = {0},
                                                     .ns = moving(4 * bytes)}}})[0];
  return step_.run({.name = "aten::nll_loss_forward",
                    .reads = {log_softmax, target},
                    .makes = {kItem, kItem},
                    .ns = moving(kIndex * logits.rows),
                    .backward = {{.name = "aten::nll_loss_backward",
                                  .of = {log_softmax},
                                  .saved = {log_softmax, target},
                                  .saved_outputs = {1},
                                  .ns = moving(bytes)}}})[0];
}

Value Layers::relu_in_place(Value x) {
  const std::int64_t bytes = step_.bytes(x);
  return step_.run({.name = "aten::relu_",
                    .overwrites = x,
                    .ns = moving(2 * bytes),
                    .backward = {{.name = "aten::threshold_backward",
                                  .of = {x},
                                  .saved_outputs = {0},
                                  .ns = moving(3 * bytes)}}})[0];
}

Value Layers::activation(const char* name, const char* backward, Value x, bool saves_output) {
  const std::int64_t bytes = step_.bytes(x);
  BackwardOperator back{.name = backward, .of = {x}, .ns = moving(3 * bytes)};
  if (saves_output) {
    back.saved_outputs = {0};
  } else {
    back.saved = {x};
  }
  return step_.run({.name = name,
                    .reads = {x},
                    .makes = {bytes},
                    .ns = moving(2 * bytes),
                    .backward = {std::move(back)}})[0];
}

Value Layers::gelu(Value x) { return activation("aten::gelu", "aten::gelu_backward", x, false); }
Value Layers::sigmoid(Value x) {
  return activation("aten::sigmoid", "aten::sigmoid_backward", x, true);
}
Value Layers::tanh(Value x) { return activation("aten::tanh", "aten::tanh_backward", x, true); }
Value Layers::softmax(Value x) {
  return activation("aten::_softmax", "aten::_softmax_backward_data", x, true);
}

Value Layers::scale(Value x) {
  const std::int64_t bytes = step_.bytes(x);
  return step_.run({.name = "aten::mul",
                    .reads = {x},
                    .makes = {bytes},
                    .ns = moving(2 * bytes),
                    .backward = {{.name = "aten::mul", .of = {x}, .ns = moving(2 * bytes)}}})[0];
}

Value Layers::masked_fill(Value x, Value mask) {
  const std::int64_t bytes = step_.bytes(x);
  return step_.run(
      {.name = "aten::masked_fill",
       .reads = {x, mask},
       .makes = {bytes},
       .ns = moving(2 * bytes),
       .backward = {
           {.name = "aten::masked_fill", .of = {x}, .saved = {mask}, .ns = moving(2 * bytes)}}})[0];
}

Value Layers::dropout(Value x) {
  const std::int64_t bytes = step_.bytes(x);
  return step_.run({.name = "aten::native_dropout",
                    .reads = {x},
                    .makes = {bytes, bytes / kItem},  // the result and the mask
                    .ns = moving(5 * bytes),
                    .random = true,
                    .backward = {{.name = "aten::native_dropout_backward",
                                  .of = {x},
                                  .saved_outputs = {1},
                                  .ns = moving(2 * bytes)}}})[0];
}

Value Layers::add(Value x, Value y) {
  const std::int64_t bytes = step_.bytes(x);
  return step_.run({.name = "aten::add",
                    .reads = {x, y},
                    .makes = {bytes},
                    .ns = moving(3 * bytes),
                    .backward = {{.of = {x, y}}}})[0];
}

Value Layers::multiply(Value x, Value y) {
  const std::int64_t bytes = step_.bytes(x);
  return step_.run({.name = "aten::mul",
                    .reads = {x, y},
                    .makes = {bytes},
                    .ns = moving(3 * bytes),
                    .backward = {
                        {.name = "aten::mul", .of = {x}, .saved = {y}, .ns = moving(3 * bytes)},
                        {.name = "aten::mul", .of = {y}, .saved = {x}, .ns = moving(3 * bytes)},
                    }})[0];
}

}  // namespace neap::bench
