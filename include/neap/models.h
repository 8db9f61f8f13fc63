// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/models.h: models that checkpoint themselves. Each has the bits and the parameters of the
// plain model that it wraps.
//
//   neap::install();
//   neap::CheckpointedResNet model(/*num_blocks=*/50);  // or around your own neap::nn::ResNet
//   torch::optim::SGD optimizer(model->parameters(), 0.01);
//   at::Tensor loss = torch::cross_entropy_loss(model->forward(pictures), labels);
//   loss.backward();
//   model->use_checkpoint = false;  // plain from now on, or left to the budget of a neap::Scope
//
// Guarantees: loss, gradients, buffers and random numbers are those of the plain model, bit for
// bit. No code of a layer runs twice, so BatchNorm counts once. Parameters and buffers are the
// wrapped model's own, under the same names, so each can load the weights of the other. Between
// forward and backward a model keeps what its segments pass to each other, and the inside of the
// last segment, which the backward needs at once. A model that makes its layers draws the same
// random numbers as the plain one.
//
// B: rows of a batch, C: channels, H, W: height and width, T: tokens, D: width of a model.
// Units: layers, bytes.
// Threads: one at a time can have regions open, as with neap::checkpoint(). Cost: that of
// checkpoint(), a few microseconds a segment, and the operators of each segment but the last once
// more in the backward.
// Errors: constructors throw InvalidArgument, with the option and its value; forward() throws what
// the plain model throws.
#pragma once

#include <neap/base.h>
#include <neap/checkpoint.h>
#include <neap/nn.h>

#include <torch/nn/module.h>
#include <torch/nn/modules/container/any.h>
#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/pimpl.h>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace neap {

namespace detail {
// A bool in place of a number would count as 0 or 1. Constructors that take numbers reject it.
template <class... Arguments>
concept HasFlag = (std::same_as<std::remove_cvref_t<Arguments>, bool> || ...);
}  // namespace detail

// The layers under one checkpoint: [begin, end), from 0.
struct Segment {
  std::int64_t begin;
  std::int64_t end;
  friend bool operator==(const Segment&, const Segment&) = default;
};

// How a list of layers is divided into segments.
class NEAP_EXPORT Segmentation {
 public:
  // Segments of `layers` layers; the last one may be shorter. Throws: InvalidArgument below 1.
  static Segmentation by_size(std::int64_t layers);
  template <std::same_as<bool> Flag>
  static Segmentation by_size(Flag) = delete;
  // This many segments. Sizes differ by at most one, longer ones first. Throws: InvalidArgument
  // below 1.
  static Segmentation by_count(std::int64_t segments);
  template <std::same_as<bool> Flag>
  static Segmentation by_count(Flag) = delete;
  // As by_count(), with the square root of the number of layers, rounded to the nearest. For n
  // equal layers in s segments, that minimizes s + n / s: what the segments keep, plus the inside
  // of one. After "Training Deep Nets with Sublinear Memory Cost", Chen et al., arXiv 1604.06174.
  static Segmentation square_root();

  // The end of each segment for a list of `layers` layers; the last one is `layers`.
  // Throws: InvalidArgument for more segments than layers.
  [[nodiscard]] std::vector<std::int64_t> ends(std::int64_t layers) const;

 private:
  enum class Rule { BySize, ByCount, SquareRoot };
  Segmentation(Rule rule, std::int64_t number) : rule_(rule), number_(number) {}

  Rule rule_;
  std::int64_t number_;
};

// The base class of models with a list of layers.
class NEAP_EXPORT CheckpointedLayers : public torch::nn::Module {
 public:
  // False: forward() runs like the plain model. May change between steps.
  bool use_checkpoint = true;
  // What each segment keeps inside; by default nothing. May change between steps.
  CheckpointOptions checkpoint_options = {};

  [[nodiscard]] std::vector<Segment> segments() const;
  // Why checkpoints free nothing in this model, and what to do; empty when they free something. The
  // first forward with use_checkpoint and gradients issues it as a LibTorch warning, once.
  [[nodiscard]] std::string note() const;

 protected:
  using Layer = std::function<at::Tensor(const at::Tensor& x)>;
  // Whether a layer has something inside, besides its output, that stays until the backward.
  enum class Inside { MayBeSomething, Nothing };

  void set_layers(std::vector<Layer> layers, std::vector<std::int64_t> ends,
                  Inside inside = Inside::MayBeSomething);
  [[nodiscard]] const std::vector<Layer>& layer_list() const { return layers_; }
  // Runs the layers. The only place that opens regions.
  at::Tensor run(const at::Tensor& x);

 private:
  std::vector<Layer> layers_;
  std::vector<std::int64_t> ends_;
  Inside inside_ = Inside::MayBeSomething;
  bool noted_ = false;
};

struct CheckpointedModelOptions {
  std::int64_t num_layers = 10;
  std::int64_t width = 512;
  Segmentation segmentation = Segmentation::by_size(3);
  bool use_checkpoint = true;
};

// Linear layers, each with a ReLU, or any list of layers, checkpointed by segments. A segment of
// one Linear and its ReLU frees nothing, because the backward reads only the ReLU's output, which
// is the segment's output.
//
//   neap::CheckpointedModel model(/*num_layers=*/10, /*segment_size=*/3);  // 3, 3, 3 and 1 layers
//   neap::CheckpointedModel plain(/*use_checkpoint=*/false);  // the same, without checkpoints
//   neap::CheckpointedModel mine(torch::nn::Sequential(...), neap::Segmentation::square_root());
class NEAP_EXPORT CheckpointedModelImpl : public CheckpointedLayers {
 public:
  explicit CheckpointedModelImpl(std::int64_t num_layers = 10, std::int64_t segment_size = 3);
  template <std::same_as<bool> Flag>
  explicit CheckpointedModelImpl(Flag use_checkpoint)
      : CheckpointedModelImpl(CheckpointedModelOptions{.use_checkpoint = use_checkpoint}) {}
  template <class First, class Second>
  requires detail::HasFlag<First, Second> CheckpointedModelImpl(First, Second)
  = delete;
  // Wraps a neap::nn::MLP of ReLU.
  explicit CheckpointedModelImpl(const CheckpointedModelOptions& options);

  // Any layers: modules whose forward() takes and returns one tensor. The modules are shared, and
  // keep their names in the list ("0", "1" and so on). Throws: InvalidArgument when there are none,
  // or one is empty.
  explicit CheckpointedModelImpl(const torch::nn::Sequential& layers,
                                 const Segmentation& segmentation = Segmentation::square_root());
  explicit CheckpointedModelImpl(const std::vector<torch::nn::AnyModule>& layers,
                                 const Segmentation& segmentation = Segmentation::square_root());
  // C++ cannot call forward() without a module's type, which a ModuleList does not know. So it may
  // hold only Sequential and those of LibTorch's own modules that take one tensor.
  // Throws: InvalidArgument, with the index and the type of any other.
  explicit CheckpointedModelImpl(const torch::nn::ModuleList& layers,
                                 const Segmentation& segmentation = Segmentation::square_root());
  // Modules of one type, as the `blocks` of the models in neap/nn.h.
  template <class Holder>
  explicit CheckpointedModelImpl(const std::vector<Holder>& layers,
                                 const Segmentation& segmentation = Segmentation::square_root()) {
    std::vector<Layer> calls;
    for (Holder layer : layers) {
      add_child(layer.is_empty() ? nullptr : layer.ptr(), calls.size());
      calls.push_back([layer](const at::Tensor& x) mutable { return layer->forward(x); });
    }
    set_list(std::move(calls), segmentation);
  }

  // x: the input of the first layer; (..., width) for the Linear layers. Returns the output of the
  // last one.
  at::Tensor forward(const at::Tensor& x);
  // The layers in the order of forward(): for a forward of your own, as AdaptiveCheckpointing's.
  [[nodiscard]] const std::vector<Layer>& layers() const { return layer_list(); }

 private:
  void add_child(const std::shared_ptr<torch::nn::Module>& layer, std::size_t index);
  void set_list(std::vector<Layer> layers, const Segmentation& segmentation,
                Inside inside = Inside::MayBeSomething);
};
TORCH_MODULE(CheckpointedModel);

// Linear layers with ReLU between them and none after the last, in exactly `num_segments` segments.
// Of all cuts, it takes those with the lowest peak of a step, and of these the one that keeps the
// least between forward and backward. A segment of one layer frees nothing. When that holds for all
// checkpointed segments, and with a single segment, note() says so.
//
//   // Segments: layers [0, 4), [4, 5) and [5, 6).
//   neap::SegmentedNetwork model(784, {512, 256, 128, 64, 32, 10});
class NEAP_EXPORT SegmentedNetworkImpl : public CheckpointedLayers {
 public:
  // hidden_dims: (layers,), the output width of each layer, the last one included. Wraps a
  // neap::nn::MLP of ReLU.
  // Throws: InvalidArgument for no layers, a width below 1, or num_segments outside of [1, layers].
  SegmentedNetworkImpl(std::int64_t input_dim, const std::vector<std::int64_t>& hidden_dims,
                       std::int64_t num_segments = 3);
  template <class First, class Last>
  requires detail::HasFlag<First, Last> SegmentedNetworkImpl(First,
                                                             const std::vector<std::int64_t>&, Last)
  = delete;

  // x: (B, input_dim), or anything whose rows flatten to it. Returns (B, last of hidden_dims).
  // Throws: InvalidArgument for rows of another length.
  at::Tensor forward(const at::Tensor& x);

 private:
  std::int64_t input_dim_;
};
// A holder as of TORCH_MODULE that also takes the widths in braces.
class SegmentedNetwork : public torch::nn::ModuleHolder<SegmentedNetworkImpl> {
 public:
  using torch::nn::ModuleHolder<SegmentedNetworkImpl>::ModuleHolder;
  using Impl = SegmentedNetworkImpl;
  SegmentedNetwork(std::int64_t input_dim, std::initializer_list<std::int64_t> hidden_dims,
                   std::int64_t num_segments = 3)
      : ModuleHolder(std::make_shared<Impl>(input_dim, hidden_dims, num_segments)) {}
  template <class First, class Last>
  requires detail::HasFlag<First, Last> SegmentedNetwork(First, std::initializer_list<std::int64_t>,
                                                         Last)
  = delete;
};

// A residual network. Its blocks are checkpointed one by one or by segments. The stem belongs to
// the first segment. The sum of a block and its input belongs to the block.
//
//   neap::CheckpointedResNet model(/*num_blocks=*/50);  // the net of the slides
//   neap::CheckpointedResNet mine(neap::nn::ResNet(options), neap::Segmentation::by_count(7));
//   neap::CheckpointedResNet resnet101(
//       neap::nn::ImageNetResNet(neap::nn::ImageNetResNetOptions{.depth = 101}));
class NEAP_EXPORT CheckpointedResNetImpl : public CheckpointedLayers {
 public:
  // The net of the slides, with its names (conv1, bn1, layer1.0.0, fc): conv 7x7 of stride 2 to 64
  // channels, BatchNorm, ReLU; blocks of conv 3x3, BatchNorm, ReLU, conv 3x3, BatchNorm, plus the
  // input, without a ReLU after the sum; mean, Linear to 1000 classes. Its convolutions have
  // biases.
  explicit CheckpointedResNetImpl(std::int64_t num_blocks = 50,
                                  const Segmentation& segmentation = Segmentation::by_size(1));
  // The same with 50 blocks.
  template <std::same_as<bool> Flag>
  explicit CheckpointedResNetImpl(Flag use_checkpoint) : CheckpointedResNetImpl(50) {
    this->use_checkpoint = use_checkpoint;
  }
  template <std::same_as<bool> Flag>
  CheckpointedResNetImpl(Flag, const Segmentation&) = delete;
  explicit CheckpointedResNetImpl(const nn::ResNet& model,
                                  const Segmentation& segmentation = Segmentation::by_size(1));
  explicit CheckpointedResNetImpl(const nn::ImageNetResNet& model,
                                  const Segmentation& segmentation = Segmentation::by_size(1));

  // x: (B, in_channels, H, W). Returns (B, classes).
  at::Tensor forward(const at::Tensor& x);

 private:
  template <class Model>
  void wrap(Model model, const Segmentation& segmentation);
  void set_parts(Layer stem, std::vector<Layer> blocks, Layer head,
                 const Segmentation& segmentation);

  Layer head_;
};
TORCH_MODULE(CheckpointedResNet);

// A transformer encoder layer with its attention and its feed-forward each under a checkpoint, so
// that only the output of each is kept. It has the parameter names and the bits of
// torch::nn::TransformerEncoderLayer.
//
//   neap::CheckpointedTransformerLayer layer(/*d_model=*/512, /*nhead=*/8);
//   at::Tensor y = layer->forward(x, causal_mask, padding);  // (T, B, 512)
class NEAP_EXPORT CheckpointedTransformerLayerImpl : public torch::nn::Module {
 public:
  CheckpointedTransformerLayerImpl(std::int64_t d_model, std::int64_t nhead,
                                   std::int64_t dim_feedforward = 2048);
  CheckpointedTransformerLayerImpl(std::int64_t d_model, std::int64_t nhead,
                                   const nn::TransformerLayerOptions& options);
  explicit CheckpointedTransformerLayerImpl(const nn::TransformerEncoderLayer& layer);
  template <class... Numbers>
  requires detail::HasFlag<Numbers...>
  explicit CheckpointedTransformerLayerImpl(Numbers...) = delete;

  // Arguments as of neap::nn::TransformerEncoderLayer: src (T, B, D), or (B, T, D) with
  // batch_first; src_mask (T, T); src_key_padding_mask (B, T) bool.
  at::Tensor forward(const at::Tensor& src, const at::Tensor& src_mask = {},
                     const at::Tensor& src_key_padding_mask = {});

  bool use_checkpoint = true;                 // as in CheckpointedLayers
  CheckpointOptions checkpoint_options = {};  // for each half

 protected:
  FORWARD_HAS_DEFAULT_ARGS({1, torch::nn::AnyValue(at::Tensor())},
                           {2, torch::nn::AnyValue(at::Tensor())})

 private:
  nn::TransformerEncoderLayer layer_;
};
TORCH_MODULE(CheckpointedTransformerLayer);

// num_layers such layers, and with final_norm a LayerNorm after the last. Names as in
// torch::nn::TransformerEncoder.
class NEAP_EXPORT CheckpointedTransformerEncoderImpl : public torch::nn::Module {
 public:
  CheckpointedTransformerEncoderImpl(std::int64_t num_layers, std::int64_t d_model,
                                     std::int64_t nhead,
                                     const nn::TransformerLayerOptions& options = {},
                                     bool final_norm = false);
  explicit CheckpointedTransformerEncoderImpl(const nn::TransformerEncoder& encoder);
  template <class A, class B, class C, class... Rest>
  requires detail::HasFlag<A, B, C> CheckpointedTransformerEncoderImpl(A, B, C, Rest...)
  = delete;

  // As CheckpointedTransformerLayer's.
  at::Tensor forward(const at::Tensor& src, const at::Tensor& src_mask = {},
                     const at::Tensor& src_key_padding_mask = {});

  bool use_checkpoint = true;                 // for all layers
  CheckpointOptions checkpoint_options = {};  // for both halves of all layers

 protected:
  FORWARD_HAS_DEFAULT_ARGS({1, torch::nn::AnyValue(at::Tensor())},
                           {2, torch::nn::AnyValue(at::Tensor())})

 private:
  nn::TransformerEncoder encoder_;
  std::vector<CheckpointedTransformerLayer> layers_;
};
TORCH_MODULE(CheckpointedTransformerEncoder);

}  // namespace neap
