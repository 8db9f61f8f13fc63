// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/adaptive.h: checkpoints as many layers as needed for a forward to end below a number of
// bytes.
//
//   neap::install();
//   neap::AdaptiveCheckpointing adaptive(neap::Bytes::parse("1 GiB"));
//   auto y = adaptive.forward_with_adaptive_checkpoint(model, x);
//   std::cout << adaptive.text();
//
// It decides for each layer of each forward. The decision uses the allocator's exact count and what
// the layer took when it last ran. The threshold is a target for the end of the forward. The budget
// of a Scope around it is a hard limit.
// Guarantees: the bits of plain LibTorch, whatever it decides.
// Units: bytes, nanoseconds. Threads: one.
// Cost: a few microseconds a layer.
#pragma once

#include <neap/base.h>
#include <neap/call.h>
#include <neap/checkpoint.h>

#include <ATen/core/Tensor.h>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <type_traits>
#include <vector>

namespace neap {

struct AdaptiveOptions {
  // A checkpointed layer stays checkpointed until, without its checkpoint, the forward would end
  // below (1 - hysteresis) x threshold. In [0, 1).
  double hysteresis = 0.1;
};

// What AdaptiveCheckpointing decided for one layer, and the numbers behind it.
struct AdaptiveDecision {
  std::int64_t layer = 0;
  bool checkpointed = false;
  std::int64_t live = 0;       // bytes before the layer ran
  std::int64_t predicted = 0;  // predicted `live` at the end of the forward; 0: nothing was known
  // What the layer keeps for the backward without a checkpoint, measured now.
  std::int64_t bytes = 0;
  std::int64_t ns = 0;  // time of its forward: what a checkpoint adds to the backward
};

namespace detail {
// Finds the layers of a model: a member `layers`, a function layers(), or the model itself when it
// is a list.
template <class Model>
auto& layers_of(Model& model) {
  auto& target = pointee(model);
  if constexpr (requires { pointee(target.layers).begin(); }) {
    return pointee(target.layers);
  } else if constexpr (requires { target.layers().begin(); }) {
    return target.layers();
  } else {
    return target;
  }
}
}  // namespace detail

// Checkpoints as many layers as needed for the forward to end with at most `memory_threshold` bytes
// live. It picks the layers whose bytes are the cheapest to recompute.
// For an input of other sizes, the measurements of the closest known one are scaled by the number
// of elements. The first forward has no measurements. A layer is then checkpointed when a layer as
// large as the largest so far would exceed the threshold.
class NEAP_EXPORT AdaptiveCheckpointing {
 public:
  // Throws: InvalidArgument for a threshold below 1 byte or a hysteresis outside of [0, 1).
  explicit AdaptiveCheckpointing(Bytes memory_threshold, AdaptiveOptions options = {});
  // The interface of the slides: a number of MB, each 1024 x 1024 bytes. Throws: as above; also for
  // a number that is no count of bytes.
  template <class Number>
  requires(std::is_arithmetic_v<Number> && !std::same_as<Number, bool>)  //
      explicit AdaptiveCheckpointing(Number memory_threshold_mb, AdaptiveOptions options = {})
      : AdaptiveCheckpointing(bytes_of_mb(static_cast<double>(memory_threshold_mb)), options) {}
  AdaptiveCheckpointing() : AdaptiveCheckpointing(1000) {}

  // model: a range of layers (a torch::nn::Sequential, a ModuleList, a vector of modules or of
  // functions), or an object with such a range as `layers` or layers(); also by holder or pointer.
  // A layer is anything that checkpoint() takes with one tensor. x: the input of the first layer.
  // Returns the output of the last one.
  // Throws: what a layer throws; Error when install() was not called.
  template <class Model>
  at::Tensor forward_with_adaptive_checkpoint(Model& model, at::Tensor x);

  // The rule of the slides, for a forward of your own. True when the live bytes plus one float for
  // each element of `input_size` exceed the threshold.
  //   x = adaptive.should_checkpoint(i, x.sizes()) ? neap::checkpoint(layer, x)
  //                                                : layer->forward(x);
  // It knows less than forward_with_adaptive_checkpoint(), which measures what a layer keeps.
  // Throws: InvalidArgument for an extent below 0; Error when install() was not called.
  bool should_checkpoint(std::int64_t layer_id, at::IntArrayRef input_size);

  // The last decision for each layer, of either of the two functions above.
  [[nodiscard]] const std::map<std::int64_t, bool>& checkpoint_map() const {
    return checkpoint_map_;
  }
  // The decisions of the last forward, layer by layer.
  [[nodiscard]] const std::vector<AdaptiveDecision>& decisions() const { return decisions_; }
  // The decisions as text, a line a layer.
  [[nodiscard]] std::string text() const;

 private:
  struct Layer {
    std::int64_t plain = 0;  // bytes by which `live` grows
    std::int64_t kept = 0;   // the same when it is checkpointed
    std::int64_t ns = 0;
    bool checkpointed = false;
  };
  struct Profile {
    std::int64_t elements = 0;
    std::vector<Layer> layers;
    bool measured = false;  // a forward has run to its end
  };

  static Bytes bytes_of_mb(double megabytes);
  void begin_forward(at::IntArrayRef sizes, std::size_t layers);
  bool begin_layer(std::size_t layer);
  void end_layer(const at::Tensor& result);
  void plan(std::size_t from, std::int64_t live);
  [[nodiscard]] std::int64_t predict(std::size_t from, std::int64_t live) const;

  std::int64_t threshold_;
  AdaptiveOptions options_;
  std::map<std::vector<std::int64_t>, Profile> profiles_;  // by sizes of the input
  Profile* current_ = nullptr;
  bool known_ = false;        // the current profile was measured, or scaled from one that was
  std::int64_t largest_ = 0;  // of the layers so far, in a forward without measurements
  std::vector<AdaptiveDecision> decisions_;
  std::map<std::int64_t, bool> checkpoint_map_;
  std::int64_t evicted_before_ = 0;
  std::int64_t started_ns_ = 0;
};

template <class Model>
at::Tensor AdaptiveCheckpointing::forward_with_adaptive_checkpoint(Model& model, at::Tensor x) {
  constexpr bool kHasLayers = requires {
    detail::layers_of(model).begin();
    detail::layers_of(model).size();
  };
  static_assert(kHasLayers,
                "neap::AdaptiveCheckpointing takes a list of layers, or a model that has one as "
                "`layers` or layers(): a torch::nn::ModuleList, a torch::nn::Sequential, or a "
                "std::vector of modules or functions.");
  if constexpr (kHasLayers) {
    auto& layers = detail::layers_of(model);
    begin_forward(x.sizes(), static_cast<std::size_t>(layers.size()));
    std::size_t index = 0;
    for (auto& layer : layers) {
      const auto run = [&](const at::Tensor& in) -> at::Tensor { return detail::call(layer, in); };
      x = begin_layer(index++) ? checkpoint(run, x) : run(x);
      end_layer(x);
    }
  }
  return x;
}

}  // namespace neap
