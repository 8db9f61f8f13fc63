// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// analysis/walk.h: follows the sizes of tensors through the layers of a model, and the storages
// that autograd keeps.
//
// There is one current tensor. The rule of a layer (layer_rules.h) says what the layer keeps of it
// and what it makes:
//   walk.keep();                        // the current tensor, as Linear does its input
//   walk.make({walk.batch(), 10});      // the output, a new storage, becomes the current tensor
// A storage counts once, for the first layer that keeps it. Nothing is kept where nothing needs a
// gradient.
//
// Invariant: storages are in the order in which they are made; first_keeper is -1 or a layer of the
// walk.
#pragma once

#include "analysis/convolution_scratch.h"

#include <cstdint>
#include <string>
#include <vector>

namespace neap::analysis {

using Sizes = std::vector<std::int64_t>;

class Walk {
 public:
  struct Storage {
    std::int64_t bytes = 0;
    int first_keeper = -1;  // layer; -1: not kept
  };
  struct Layer {
    std::string name;
    bool needs_gradient = false;  // it, or a layer before it, is trained
    bool input_has_gradient = false;
    std::size_t input = 0, output = 0;                 // storages
    std::int64_t held_forward = 0, held_backward = 0;  // bytes that it needs temporarily
    std::int64_t skipped = 0;  // bytes of skip gradients that are held during its backward
  };
  // A tensor to return to.
  struct Place {
    Sizes sizes;
    std::size_t storage = 0;
    bool has_gradient = false;
  };

  // The input is a storage of the program, and does not count as kept.
  Walk(Sizes input, std::int64_t item_bytes, Kernels kernels);

  // ---- For the caller ----

  // learns: the layer has parameters that need a gradient. item_bytes: of its weights.
  void enter(const std::string& name, bool learns, std::int64_t item_bytes);
  void leave();
  // Adds the loss, which keeps the output.
  void end();

  // ---- For the rules ----

  [[nodiscard]] const Sizes& sizes() const { return sizes_; }
  [[nodiscard]] std::int64_t batch() const { return sizes_[0]; }
  [[nodiscard]] std::int64_t elements() const;
  [[nodiscard]] std::int64_t item_bytes() const { return item_bytes_; }
  [[nodiscard]] bool is_input() const { return current_ == kInput; }
  [[nodiscard]] const Kernels& kernels() const { return kernels_; }
  // The input of the layer needs a gradient.
  [[nodiscard]] bool input_has_gradient() const { return layers_.back().input_has_gradient; }

  // Keeps the current tensor for the backward.
  void keep();
  // Keeps a new storage of the layer: a mask, statistics.
  void keep_bytes(std::int64_t bytes);
  void keep_elements(std::int64_t count) { keep_bytes(count * item_bytes_); }
  // Makes the output, in a new storage.
  void make(Sizes sizes);
  // The output is a view of the current tensor.
  void view(Sizes sizes) { sizes_ = std::move(sizes); }
  // Counts temporary memory of the layer.
  void hold_forward(std::int64_t bytes) { layers_.back().held_forward += bytes; }
  void hold_backward(std::int64_t bytes) { layers_.back().held_backward += bytes; }
  void hold_elements(std::int64_t count) {
    hold_forward(count * item_bytes_);
    hold_backward(count * item_bytes_);
  }
  // Between the two calls, the current tensor of the first one waits to be added. In the backward
  // its gradient waits, in a storage of `times` its size.
  void begin_skip(std::int64_t times = 1);
  void end_skip();
  [[nodiscard]] Place place() const { return {sizes_, current_, has_gradient_}; }
  void return_to(const Place& place);
  // The layer does not accept the current sizes, so an operator between the layers, which is not
  // visible, must have made `sizes`. `why` goes to assumptions().
  void assume(Sizes sizes, const std::string& why);

  // ---- Results ----

  [[nodiscard]] const std::vector<Storage>& storages() const { return storages_; }
  [[nodiscard]] const std::vector<Layer>& layers() const { return layers_; }
  [[nodiscard]] const std::vector<std::string>& assumptions() const { return assumptions_; }
  [[nodiscard]] std::int64_t input_bytes() const { return storages_[kInput].bytes; }

 private:
  static constexpr std::size_t kInput = 0;

  void keep_storage(std::size_t index);

  Sizes sizes_;
  std::int64_t item_bytes_;
  Kernels kernels_;
  std::size_t current_ = kInput;
  bool has_gradient_ = false;  // of the current tensor
  std::vector<std::int64_t> skips_;
  std::vector<Storage> storages_;
  std::vector<Layer> layers_;
  std::vector<std::string> assumptions_;
};

}  // namespace neap::analysis
