// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Rules of layers of tokens.
#include "analysis/layer_list.h"
#include "analysis/layer_rules.h"

#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/rnn.h>

#include <algorithm>

namespace neap::analysis {
namespace {

namespace nn = torch::nn;

// ---- Tokens and sequences: (B, T), (B, T, D), in any order of the layer itself ----

bool go(const nn::EmbeddingImpl& layer, Walk& walk) {
  if (!walk.is_input()) {
    // A table of positions, or another input of the model. It is added to the current tensor.
    walk.assume(walk.sizes(), "its result is assumed to be added to what came");
    return true;
  }
  if (layer.weight.requires_grad()) walk.keep();
  Sizes sizes = walk.sizes();
  sizes.push_back(layer.options.embedding_dim());
  walk.make(std::move(sizes));
  return true;
}

// Self-attention.
bool go(const nn::MultiheadAttentionImpl& layer, Walk& walk) {
  const auto& options = layer.options;
  if (walk.sizes().size() != 3 || options.add_bias_kv() || options.add_zero_attn()) return false;
  want_features(walk, options.embed_dim());
  const std::int64_t tokens = walk.sizes()[1];
  const std::int64_t scores = walk.batch() * options.num_heads() * tokens * tokens;
  walk.hold_elements(2 * scores);  // before and after softmax, or their gradients
  walk.keep();
  walk.keep_elements(3 * walk.elements());  // queries, keys, values, by head
  walk.keep_elements(scores);               // softmax
  if (options.dropout() > 0 && layer.is_training()) walk.keep_elements(2 * scores);  // mask, result
  walk.keep_elements(walk.elements());  // input of the last product
  walk.make(walk.sizes());
  return true;
}

// All layers of a recurrent network, in all directions.
// `one_copy`: the directions share the copy of a batch_first input; false: each makes its own.
// `kept_by_direction`: the elements that one direction of one layer keeps beside the layer's input,
// by batch, tokens, features of the input, and hidden features.
template <class Layer, class Kept>
bool go_recurrent(const Layer& layer, Walk& walk, bool one_copy, const Kept& kept_by_direction) {
  const auto& options = layer.options;
  if (walk.sizes().size() != 3) return false;
  want_features(walk, options.input_size());
  const std::int64_t batch = walk.batch();
  const std::int64_t tokens = walk.sizes()[1];
  const std::int64_t hidden = options.hidden_size();
  const std::int64_t layers = options.num_layers();
  const std::int64_t directions = options.bidirectional() ? 2 : 1;
  const bool drops = options.dropout() > 0 && layer.is_training();
  // The operator has time as its first dimension. So it copies a batch_first input, and keeps the
  // copy in place of the input. Only the first layer does: the others read what the operator made.
  const bool copies = options.batch_first() && batch > 1 && tokens > 1;
  for (std::int64_t index = 0; index < layers; ++index) {
    const std::int64_t features = walk.sizes()[2];
    if (index == 0 && copies) {
      walk.keep_elements((one_copy ? 1 : directions) * walk.elements());
    } else {
      walk.keep();
    }
    walk.keep_elements(directions * kept_by_direction(batch, tokens, features, hidden));
    walk.make({batch, tokens, directions * hidden});
    if (drops && index + 1 < layers) {      // no dropout after the last layer
      walk.keep_elements(walk.elements());  // the mask
      walk.make(walk.sizes());
    }
  }
  return true;
}

bool go(const nn::GRUImpl& layer, Walk& walk) {
  // Each time step keeps its state, its three gates in one tensor, and three terms of the new
  // state.
  return go_recurrent(layer, walk, /*one_copy=*/false,
                      [](std::int64_t batch, std::int64_t tokens, std::int64_t,
                         std::int64_t hidden) { return 7 * batch * tokens * hidden; });
}

bool go(const nn::LSTMImpl& layer, Walk& walk) {
  if (layer.options.proj_size() > 0 || walk.sizes().size() != 3) return false;
  // oneDNN's: the output and a workspace of unknown size. The workspace, and the scratch of the
  // backward, are fitted to measurements for 64 to 256 features.
  walk.hold_elements(5 * walk.batch() * walk.sizes()[1] * layer.options.hidden_size() *
                     (layer.options.bidirectional() ? 2 : 1));
  return go_recurrent(
      layer, walk, /*one_copy=*/true,
      [](std::int64_t batch, std::int64_t tokens, std::int64_t features, std::int64_t hidden) {
        return batch * (tokens + 1) * (9 * hidden + 6 * std::max(features, hidden) + 16) +
               batch * tokens * hidden;
      });
}

}  // namespace

bool go_through_sequence(const nn::Module& layer, Walk& walk) {
  return go_as_one_of<nn::EmbeddingImpl, nn::MultiheadAttentionImpl, nn::GRUImpl, nn::LSTMImpl>(
      layer, [&](const auto& known) { return go(known, walk); });
}

bool is_whole(const nn::Module& layer) { return layer.as<nn::MultiheadAttentionImpl>() != nullptr; }

bool wants_integers(const nn::Module& layer) { return layer.as<nn::EmbeddingImpl>() != nullptr; }

}  // namespace neap::analysis
