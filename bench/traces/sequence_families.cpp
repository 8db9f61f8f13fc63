// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "families.h"

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace neap::bench {
namespace {

constexpr std::int64_t kWords = 256;

// One layer of an LSTM at one moment of the sequence.
struct Cell {
  Value input_weight;
  Value hidden_weight;
  Matrix hidden;
  Value carried;  // the cell's state

  void advance(Layers& layers, const Matrix& x) {
    const std::int64_t width = hidden.columns;
    const Matrix from_input = layers.product(x, input_weight, 4 * width);
    const Matrix from_hidden = layers.product(hidden, hidden_weight, 4 * width);
    const std::vector<Value> gates =
        layers.step().views(layers.add(from_input, from_hidden).value, 4);
    const Value enter = layers.sigmoid(gates[0]);
    const Value forget = layers.sigmoid(gates[1]);
    const Value candidate = layers.tanh(gates[2]);
    const Value leave = layers.sigmoid(gates[3]);
    const Value kept = layers.multiply(forget, carried);
    const Value more = layers.multiply(enter, candidate);
    carried = layers.add(kept, more);
    hidden.value = layers.multiply(leave, layers.tanh(carried));
  }
};

Cell make_cell(Layers& layers, std::int64_t batch, std::int64_t width) {
  Cell cell{};
  cell.input_weight = layers.weight(width, 4 * width);
  cell.hidden_weight = layers.weight(width, 4 * width);
  cell.hidden = layers.rows(batch, width);
  cell.carried = layers.rows(batch, width).value;
  return cell;
}

// Causal attention over `batch` texts.
Matrix attend(Layers& layers, const Matrix& x, std::int64_t batch, std::int64_t heads, Value mask) {
  const std::int64_t length = x.rows / batch;
  const std::int64_t of_head = x.columns / heads;
  const std::vector<Value> parts = layers.step().views(layers.linear(x, 3 * x.columns).value, 3);
  Value scores = layers.batched_product(parts[0], parts[1], batch * heads, length, of_head, length);
  scores = layers.masked_fill(layers.scale(scores), mask);
  scores = layers.dropout(layers.softmax(scores));
  Matrix mixed = x;
  mixed.value = layers.batched_product(scores, parts[2], batch * heads, length, length, of_head);
  return layers.dropout(layers.linear(mixed, x.columns));
}

}  // namespace

Value record_recurrent(Layers& layers, std::int64_t operators) {
  constexpr std::int64_t kHead = 10;
  constexpr std::int64_t kEmbedding = 5;
  // Operators per step in time: for each of two cells 12 in the forward and 16 in the backward, and
  // the sums of the gradients of both weights, of the cell's state and of the hidden state.
  constexpr std::int64_t kStep = 64;
  const std::int64_t end = operators - kHead;
  const std::int64_t batch = 64 * layers.random().between(1, 3);
  const std::int64_t width = 32 * layers.random().between(1, 4);
  const std::int64_t length = (end - kEmbedding) / kStep;
  layers.step().enter("embedding");
  const Matrix embedded = layers.embedding(kWords, length * batch, width);
  std::array<Cell, 2> cells = {make_cell(layers, batch, width), make_cell(layers, batch, width)};
  std::vector<Value> left;
  for (const Value word : layers.step().views(embedded.value, length)) {
    layers.step().enter("steps." + std::to_string(left.size()));
    cells[0].advance(layers, {word, batch, width});
    cells[1].advance(layers, cells[0].hidden);
    left.push_back(cells[1].hidden.value);
  }
  layers.step().enter("head");
  const Matrix all{layers.concatenate(left), batch * length, width};
  return layers.cross_entropy(layers.linear(pad(layers, end, all), kWords));
}

Value record_transformer(Layers& layers, std::int64_t operators) {
  constexpr std::int64_t kHead = 12;
  const std::int64_t end = operators - kHead;
  const std::int64_t batch = layers.random().between(2, 8);
  const std::int64_t length = 64 * layers.random().between(1, 4);
  const std::int64_t heads = 2 * layers.random().between(1, 4);
  const std::int64_t width = 32 * heads;
  layers.step().enter("embedding");
  const Value mask = layers.step().given(length * length, graph::StorageKind::Constant);
  const Matrix words = layers.embedding(kWords, batch * length, width);
  const Matrix places = layers.embedding(length, batch * length, width);
  Matrix x = layers.dropout(layers.add(words, places));
  std::int64_t blocks = 0;
  repeat(layers, end, 0, [&] {
    layers.step().enter("blocks." + std::to_string(blocks++));
    x = layers.add(attend(layers, layers.layer_norm(x), batch, heads, mask), x);
    const Matrix wide = layers.gelu(layers.linear(layers.layer_norm(x), 4 * width));
    x = layers.add(layers.dropout(layers.linear(wide, width)), x);
  });
  x = pad(layers, end, x);
  layers.step().enter("head");
  const Matrix normal = layers.layer_norm(x);
  const Value words_out = layers.weight(width, kWords);
  return layers.cross_entropy(layers.product(normal, words_out, kWords));
}

}  // namespace neap::bench
