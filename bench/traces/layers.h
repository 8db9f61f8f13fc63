// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// traces/layers.h: layers of neural networks as operators of a StepBuilder, with counted sizes and
// times. All tensors are float32.
//
//   Layers layers(/*seed=*/1);
//   Image x = layers.picture(/*batch=*/8, /*channels=*/3, /*side=*/32);
//   x = layers.relu_in_place(layers.batch_norm(layers.convolution(x, 16, 3, 1)));
//   const Value loss = layers.cross_entropy(layers.linear(layers.mean(x), 10));
//
// Times: products take 100 flops per ns. All others take the time to read and write their bytes at
// kBytesPerNs.
#pragma once

#include "step_builder.h"

#include <cstdint>
#include <vector>

namespace neap::bench {

struct Matrix {
  Value value = {};
  std::int64_t rows = 0;
  std::int64_t columns = 0;
};

struct Image {
  Value value = {};
  std::int64_t batch = 0;
  std::int64_t channels = 0;
  std::int64_t side = 0;
};

class Layers {
 public:
  explicit Layers(std::uint64_t seed) : step_(seed) {}

  StepBuilder& step() { return step_; }
  Random& random() { return step_.random(); }
  [[nodiscard]] std::int64_t operators() const { return step_.operators(); }

  Image picture(std::int64_t batch, std::int64_t channels, std::int64_t side);
  Matrix rows(std::int64_t rows, std::int64_t columns);  // input data
  Matrix embedding(std::int64_t words, std::int64_t rows, std::int64_t columns);

  Image convolution(const Image& x, std::int64_t channels, std::int64_t kernel,
                    std::int64_t stride);
  // A kernel of 2 x 2, which doubles the side.
  Image transposed_convolution(const Image& x, std::int64_t channels);
  Image batch_norm(const Image& x);  // updates running statistics and the count of batches
  Image max_pool(const Image& x);
  Image concatenate(const std::vector<Image>& parts);
  Matrix mean(const Image& x);  // over each channel's plane

  Matrix linear(const Matrix& x, std::int64_t columns);  // with bias
  // Without bias. The weight can be used several times.
  Matrix product(const Matrix& x, Value weight, std::int64_t columns);
  Value weight(std::int64_t rows, std::int64_t columns);
  Matrix layer_norm(const Matrix& x);
  // Multiplies `heads` matrices (rows, inner) by (inner, columns). Both operands need gradients.
  Value batched_product(Value left, Value right, std::int64_t heads, std::int64_t rows,
                        std::int64_t inner, std::int64_t columns);
  Value cross_entropy(const Matrix& logits);

  // Pointwise, on tensors of any shape.
  Value relu_in_place(Value x);
  Value gelu(Value x);
  Value sigmoid(Value x);
  Value tanh(Value x);
  Value softmax(Value x);
  Value scale(Value x);
  Value masked_fill(Value x, Value mask);
  Value dropout(Value x);
  Value add(Value x, Value y);
  Value multiply(Value x, Value y);
  Value concatenate(const std::vector<Value>& parts);

  Image relu_in_place(const Image& x) { return with(x, relu_in_place(x.value)); }
  Image dropout(const Image& x) { return with(x, dropout(x.value)); }
  Image add(const Image& x, const Image& y) { return with(x, add(x.value, y.value)); }
  Image gelu(const Image& x) { return with(x, gelu(x.value)); }
  Matrix gelu(const Matrix& x) { return with(x, gelu(x.value)); }
  Matrix dropout(const Matrix& x) { return with(x, dropout(x.value)); }
  Matrix add(const Matrix& x, const Matrix& y) { return with(x, add(x.value, y.value)); }

 private:
  template <class Shaped>
  static Shaped with(Shaped shaped, Value value) {
    shaped.value = value;
    return shaped;
  }
  Value activation(const char* name, const char* backward, Value x, bool saves_output);

  StepBuilder step_;
};

}  // namespace neap::bench
