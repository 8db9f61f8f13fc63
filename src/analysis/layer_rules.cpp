// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The rules were measured: tests/analysis/estimate_test.cpp compares what each keeps with the
// allocator's counts after a forward, to the byte. A rule is an overload of `go`; the list at the
// end names the modules that have one.
#include "analysis/layer_rules.h"
#include "analysis/convolution_scratch.h"
#include "analysis/layer_list.h"

#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/dropout.h>
#include <torch/nn/modules/instancenorm.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>
#include <torch/nn/modules/pooling.h>

#include <algorithm>
#include <array>
#include <string>
#include <type_traits>
#include <variant>

namespace neap::analysis {
namespace {

namespace nn = torch::nn;

Sizes with_extent(Sizes sizes, std::size_t dimension, std::int64_t extent) {
  sizes[dimension] = extent;
  return sizes;
}

// Makes dimension 1 of the current tensor `channels` wide, followed by `places` dimensions.
// False: it has another number of dimensions.
bool want_channels(Walk& walk, std::int64_t channels, std::size_t places) {
  if (walk.sizes().size() != places + 2) return false;
  if (walk.sizes()[1] != channels) {
    walk.assume(with_extent(walk.sizes(), 1, channels),
                std::to_string(channels) + " channels are assumed to reach it");
  }
  return true;
}

// ---- Linear and convolutions ----

bool go(const nn::LinearImpl& layer, Walk& walk) {
  want_features(walk, layer.options.in_features());
  // The input is kept for the weight's gradient, the weight for the input's.
  if (layer.weight.requires_grad()) walk.keep();
  Sizes sizes = walk.sizes();
  sizes.back() = layer.options.out_features();
  walk.make(std::move(sizes));
  return true;
}

// How many positions a kernel has along `extent`, with `padding` on both sides.
std::int64_t windows(std::int64_t extent, std::int64_t padding, std::int64_t kernel,
                     std::int64_t stride, std::int64_t dilation, bool ceil = false) {
  const std::int64_t room = extent + 2 * padding - dilation * (kernel - 1) - 1;
  const std::int64_t count = (room + (ceil ? stride - 1 : 0)) / stride + 1;
  // The last window must not begin in the padding after the input.
  return ceil && (count - 1) * stride >= extent + padding ? count - 1 : count;
}

// Counts the scratch memory of the layer's kernels. in, out: sizes of input and output.
template <std::size_t D, class Layer>
void hold_scratch(Walk& walk, const Layer& layer, const Sizes& in, const Sizes& out,
                  const std::array<std::int64_t, D>& padding, bool transposed) {
  if (walk.item_bytes() != 4) return;  // the scratch of oneDNN's other types is unknown
  const auto& options = layer.options;
  Convolution convolution{.batch = in[0],
                          .in_channels = in[1],
                          .out_channels = out[1],
                          .groups = options.groups(),
                          .transposed = transposed};
  for (std::size_t i = 0; i < D; ++i) {
    const std::size_t place = 3 - D + i;
    convolution.in[place] = in[i + 2];
    convolution.out[place] = out[i + 2];
    convolution.kernel[place] = (*options.kernel_size())[i];
    convolution.stride[place] = (*options.stride())[i];
    convolution.dilation[place] = (*options.dilation())[i];
    convolution.padding[place] = padding[i];
  }
  const ConvolutionScratch scratch = scratch_of(convolution, walk.kernels());
  walk.hold_forward(scratch.forward);
  // While the gradient of the input is made, that of the weight does not exist yet.
  const std::int64_t learned =
      layer.weight.requires_grad() ? static_cast<std::int64_t>(layer.weight.nbytes()) : 0;
  walk.hold_backward(
      std::max({std::int64_t{0}, walk.input_has_gradient() ? scratch.input_gradient - learned : 0,
                learned > 0 ? scratch.weight_gradient : 0}));
}

template <std::size_t D, class Derived>
bool go_convolution(const nn::ConvNdImpl<D, Derived>& layer, Walk& walk) {
  const auto& options = layer.options;
  if (!want_channels(walk, options.in_channels(), D)) return false;
  Sizes output = walk.sizes();
  output[1] = options.out_channels();
  std::array<std::int64_t, D> padding{};
  for (std::size_t i = 0; i < D; ++i) {
    const std::int64_t kernel = (*options.kernel_size())[i], stride = (*options.stride())[i],
                       dilation = (*options.dilation())[i];
    const auto* const given = std::get_if<torch::ExpandingArray<D>>(&options.padding());
    const bool same = std::holds_alternative<torch::enumtype::kSame>(options.padding());
    padding[i] = same ? dilation * (kernel - 1) / 2 : given != nullptr ? (**given)[i] : 0;
    if (!same) output[i + 2] = windows(output[i + 2], padding[i], kernel, stride, dilation);
  }
  hold_scratch<D>(walk, layer, walk.sizes(), output, padding, /*transposed=*/false);
  walk.keep();
  walk.make(std::move(output));
  return true;
}

template <std::size_t D, class Derived>
bool go_transposed(const nn::ConvTransposeNdImpl<D, Derived>& layer, Walk& walk) {
  const auto& options = layer.options;
  if (!want_channels(walk, options.in_channels(), D)) return false;
  const auto& padding = std::get<torch::ExpandingArray<D>>(options.padding());
  Sizes output = walk.sizes();
  output[1] = options.out_channels();
  for (std::size_t i = 0; i < D; ++i) {
    output[i + 2] = (output[i + 2] - 1) * (*options.stride())[i] - 2 * (*padding)[i] +
                    (*options.dilation())[i] * ((*options.kernel_size())[i] - 1) +
                    (*options.output_padding())[i] + 1;
  }
  hold_scratch<D>(walk, layer, walk.sizes(), output, *padding, /*transposed=*/true);
  walk.keep();
  walk.make(std::move(output));
  return true;
}

bool go(const nn::Conv1dImpl& layer, Walk& walk) { return go_convolution<1>(layer, walk); }
bool go(const nn::Conv2dImpl& layer, Walk& walk) { return go_convolution<2>(layer, walk); }
bool go(const nn::Conv3dImpl& layer, Walk& walk) { return go_convolution<3>(layer, walk); }
bool go(const nn::ConvTranspose1dImpl& layer, Walk& walk) { return go_transposed<1>(layer, walk); }
bool go(const nn::ConvTranspose2dImpl& layer, Walk& walk) { return go_transposed<2>(layer, walk); }
bool go(const nn::ConvTranspose3dImpl& layer, Walk& walk) { return go_transposed<3>(layer, walk); }

// ---- Norms ----

template <class Layer>
requires std::is_same_v<Layer, nn::BatchNorm1dImpl> || std::is_same_v<Layer, nn::BatchNorm2dImpl> ||
    std::is_same_v<Layer, nn::BatchNorm3dImpl>
bool go(const Layer& layer, Walk& walk) {
  const std::int64_t channels = layer.options.num_features();
  if (walk.sizes().size() < 2) return false;
  if (walk.sizes()[1] != channels) {
    walk.assume(with_extent(walk.sizes(), 1, channels),
                std::to_string(channels) + " channels are assumed to reach it");
  }
  walk.keep();
  // Mean and inverse deviation of the batch; evaluation uses the module's own.
  if (layer.is_training() || !layer.running_mean.defined()) walk.keep_elements(2 * channels);
  walk.make(walk.sizes());
  return true;
}

template <class Layer>
requires std::is_same_v<Layer, nn::InstanceNorm1dImpl> ||
    std::is_same_v<Layer, nn::InstanceNorm2dImpl> || std::is_same_v<Layer, nn::InstanceNorm3dImpl>
bool go(const Layer& layer, Walk& walk) {
  // A batch norm with batch x channels channels.
  if (walk.sizes().size() < 3 || layer.running_mean.defined()) return false;
  walk.keep();
  walk.keep_elements(2 * walk.batch() * walk.sizes()[1]);
  walk.make(walk.sizes());
  return true;
}

bool go(const nn::LayerNormImpl& layer, Walk& walk) {
  const Sizes& shape = layer.options.normalized_shape();
  if (shape.size() == 1) {
    want_features(walk, shape[0], /*tokens=*/true);
  } else if (walk.sizes().size() <= shape.size() ||
             !std::equal(shape.rbegin(), shape.rend(), walk.sizes().rbegin())) {
    return false;
  }
  walk.keep();
  walk.keep_elements(2 * (walk.elements() / product(shape, 0, shape.size())));
  walk.make(walk.sizes());
  return true;
}

bool go(const nn::GroupNormImpl& layer, Walk& walk) {
  const std::int64_t channels = layer.options.num_channels();
  if (walk.sizes().size() < 2) return false;
  if (walk.sizes()[1] != channels) {
    walk.assume(with_extent(walk.sizes(), 1, channels),
                std::to_string(channels) + " channels are assumed to reach it");
  }
  walk.keep();
  walk.keep_elements(2 * walk.batch() * layer.options.num_groups());
  walk.make(walk.sizes());
  return true;
}

// ---- Element by element ----

template <class Layer>
constexpr bool kKeepsResult =
    std::is_same_v<Layer, nn::ReLUImpl> || std::is_same_v<Layer, nn::TanhImpl> ||
    std::is_same_v<Layer, nn::SigmoidImpl> || std::is_same_v<Layer, nn::SoftmaxImpl> ||
    std::is_same_v<Layer, nn::LogSoftmaxImpl>;
template <class Layer>
constexpr bool kKeepsInput =
    std::is_same_v<Layer, nn::GELUImpl> || std::is_same_v<Layer, nn::SiLUImpl> ||
    std::is_same_v<Layer, nn::MishImpl> || std::is_same_v<Layer, nn::SoftplusImpl> ||
    std::is_same_v<Layer, nn::LeakyReLUImpl> || std::is_same_v<Layer, nn::ELUImpl> ||
    std::is_same_v<Layer, nn::ReLU6Impl> || std::is_same_v<Layer, nn::HardtanhImpl>;

template <class Layer>
requires kKeepsResult<Layer> || kKeepsInput<Layer>
bool go(const Layer& layer, Walk& walk) {
  bool in_place = false;
  if constexpr (requires { layer.options.inplace(); }) in_place = layer.options.inplace();
  if (kKeepsInput<Layer>) walk.keep();
  if (!in_place) walk.make(walk.sizes());
  if (kKeepsResult<Layer>) walk.keep();
  return true;
}

template <class Layer>
requires std::is_same_v<Layer, nn::DropoutImpl> || std::is_same_v<Layer, nn::Dropout2dImpl> ||
    std::is_same_v<Layer, nn::Dropout3dImpl>
bool go(const Layer& layer, Walk& walk) {
  const double p = layer.options.p();
  if (p == 0 || !layer.is_training()) return true;  // the input is the output
  const bool by_element = std::is_same_v<Layer, nn::DropoutImpl>;
  if (!by_element && walk.sizes().size() < 2) return false;
  // The mask has the tensor's type. With p = 1, it is a single zero.
  walk.keep_elements(p == 1 ? 1 : by_element ? walk.elements() : walk.batch() * walk.sizes()[1]);
  if (!layer.options.inplace()) walk.make(walk.sizes());
  return true;
}

bool go(const nn::IdentityImpl& /*layer*/, Walk& /*walk*/) { return true; }

bool go(const nn::FlattenImpl& layer, Walk& walk) {
  const auto dimensions = static_cast<std::int64_t>(walk.sizes().size());
  const auto wrap = [&](std::int64_t dimension) {
    return static_cast<std::size_t>(dimension < 0 ? dimension + dimensions : dimension);
  };
  const std::size_t start = wrap(layer.options.start_dim()), end = wrap(layer.options.end_dim());
  if (end >= walk.sizes().size() || start > end) return false;
  Sizes sizes(walk.sizes().begin(), walk.sizes().begin() + static_cast<std::ptrdiff_t>(start));
  sizes.push_back(product(walk.sizes(), start, end + 1));
  sizes.insert(sizes.end(), walk.sizes().begin() + static_cast<std::ptrdiff_t>(end) + 1,
               walk.sizes().end());
  walk.view(std::move(sizes));
  return true;
}

// ---- Pooling ----

template <std::size_t D, class Layer>
bool go_max_pool(const Layer& layer, Walk& walk) {
  const auto& options = layer.options;
  if (walk.sizes().size() != D + 2) return false;
  Sizes output = walk.sizes();
  for (std::size_t i = 0; i < D; ++i) {
    output[i + 2] = windows(output[i + 2], (*options.padding())[i], (*options.kernel_size())[i],
                            (*options.stride())[i], (*options.dilation())[i], options.ceil_mode());
  }
  walk.keep();
  walk.make(std::move(output));
  walk.keep_bytes(walk.elements() * 8);  // int64 indices of the maxima
  return true;
}

template <std::size_t D, class Layer>
bool go_average_pool(const Layer& layer, Walk& walk) {
  const auto& options = layer.options;
  if (walk.sizes().size() != D + 2) return false;
  Sizes output = walk.sizes();
  for (std::size_t i = 0; i < D; ++i) {
    output[i + 2] = windows(output[i + 2], (*options.padding())[i], (*options.kernel_size())[i],
                            (*options.stride())[i], 1, options.ceil_mode());
  }
  walk.keep();
  walk.make(std::move(output));
  return true;
}

template <std::size_t D, class Layer>
bool go_adaptive_pool(const Layer& layer, Walk& walk) {
  if (walk.sizes().size() != D + 2) return false;
  Sizes output = walk.sizes();
  bool to_one = true;
  for (std::size_t i = 0; i < D; ++i) {
    const auto wanted = (*layer.options.output_size())[i];
    if constexpr (std::is_same_v<std::remove_cvref_t<decltype(wanted)>, std::int64_t>) {
      output[i + 2] = wanted;
    } else {
      output[i + 2] = wanted.value_or(output[i + 2]);
    }
    to_one = to_one && output[i + 2] == 1;
  }
  if (!to_one) walk.keep();  // an average to one place is a mean, which keeps nothing
  walk.make(std::move(output));
  return true;
}

bool go(const nn::MaxPool1dImpl& layer, Walk& walk) { return go_max_pool<1>(layer, walk); }
bool go(const nn::MaxPool2dImpl& layer, Walk& walk) { return go_max_pool<2>(layer, walk); }
bool go(const nn::MaxPool3dImpl& layer, Walk& walk) { return go_max_pool<3>(layer, walk); }
bool go(const nn::AvgPool1dImpl& layer, Walk& walk) { return go_average_pool<1>(layer, walk); }
bool go(const nn::AvgPool2dImpl& layer, Walk& walk) { return go_average_pool<2>(layer, walk); }
bool go(const nn::AvgPool3dImpl& layer, Walk& walk) { return go_average_pool<3>(layer, walk); }
bool go(const nn::AdaptiveAvgPool1dImpl& layer, Walk& walk) {
  return go_adaptive_pool<1>(layer, walk);
}
bool go(const nn::AdaptiveAvgPool2dImpl& layer, Walk& walk) {
  return go_adaptive_pool<2>(layer, walk);
}
bool go(const nn::AdaptiveAvgPool3dImpl& layer, Walk& walk) {
  return go_adaptive_pool<3>(layer, walk);
}

}  // namespace

bool go_through(const nn::Module& layer, Walk& walk) {
  return go_as_one_of<nn::LinearImpl, nn::Conv1dImpl, nn::Conv2dImpl, nn::Conv3dImpl,
                      nn::ConvTranspose1dImpl, nn::ConvTranspose2dImpl, nn::ConvTranspose3dImpl,
                      nn::BatchNorm1dImpl, nn::BatchNorm2dImpl, nn::BatchNorm3dImpl,
                      nn::InstanceNorm1dImpl, nn::InstanceNorm2dImpl, nn::InstanceNorm3dImpl,
                      nn::LayerNormImpl, nn::GroupNormImpl, nn::ReLUImpl, nn::TanhImpl,
                      nn::SigmoidImpl, nn::SoftmaxImpl, nn::LogSoftmaxImpl, nn::GELUImpl,
                      nn::SiLUImpl, nn::MishImpl, nn::SoftplusImpl, nn::LeakyReLUImpl, nn::ELUImpl,
                      nn::ReLU6Impl, nn::HardtanhImpl, nn::DropoutImpl, nn::Dropout2dImpl,
                      nn::Dropout3dImpl, nn::IdentityImpl, nn::FlattenImpl, nn::MaxPool1dImpl,
                      nn::MaxPool2dImpl, nn::MaxPool3dImpl, nn::AvgPool1dImpl, nn::AvgPool2dImpl,
                      nn::AvgPool3dImpl, nn::AdaptiveAvgPool1dImpl, nn::AdaptiveAvgPool2dImpl,
                      nn::AdaptiveAvgPool3dImpl>(
             layer, [&](const auto& known) { return go(known, walk); }) ||
         go_through_sequence(layer, walk);
}

}  // namespace neap::analysis
