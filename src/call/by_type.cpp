// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "call/by_type.h"

#include <neap/call.h>

#include <torch/nn/modules.h>

#include <string>
#include <typeindex>
#include <typeinfo>
#include <unordered_map>

namespace neap {
namespace call {
namespace {

using Forwards = std::unordered_map<std::type_index, Forward>;

template <class Kind>
at::Tensor forward_as(torch::nn::Module& module, const at::Tensor& x) {
  return static_cast<Kind&>(module).forward(x);
}

template <class... Kinds>
Forwards forwards_of() {
  return {{typeid(Kinds), forward_as<Kinds>}...};
}

const Forwards& known_forwards() {
  using namespace torch::nn;  // NOLINT(google-build-using-namespace): a list of its classes
  static const Forwards forwards = forwards_of<
      SequentialImpl, LinearImpl, IdentityImpl, FlattenImpl, UnflattenImpl, EmbeddingImpl,
      Conv1dImpl, Conv2dImpl, Conv3dImpl, ConvTranspose1dImpl, ConvTranspose2dImpl,
      ConvTranspose3dImpl, BatchNorm1dImpl, BatchNorm2dImpl, BatchNorm3dImpl, InstanceNorm1dImpl,
      InstanceNorm2dImpl, InstanceNorm3dImpl, LayerNormImpl, GroupNormImpl, LocalResponseNormImpl,
      CrossMapLRN2dImpl, DropoutImpl, Dropout2dImpl, Dropout3dImpl, AlphaDropoutImpl,
      FeatureAlphaDropoutImpl, ReLUImpl, GELUImpl, SiLUImpl, MishImpl, ELUImpl, SELUImpl, CELUImpl,
      GLUImpl, LeakyReLUImpl, PReLUImpl, RReLUImpl, ReLU6Impl, SigmoidImpl, LogSigmoidImpl,
      TanhImpl, TanhshrinkImpl, HardtanhImpl, HardshrinkImpl, SoftshrinkImpl, SoftplusImpl,
      SoftsignImpl, SoftmaxImpl, Softmax2dImpl, SoftminImpl, LogSoftmaxImpl, ThresholdImpl,
      MaxPool1dImpl, MaxPool2dImpl, MaxPool3dImpl, AvgPool1dImpl, AvgPool2dImpl, AvgPool3dImpl,
      AdaptiveMaxPool1dImpl, AdaptiveMaxPool2dImpl, AdaptiveMaxPool3dImpl, AdaptiveAvgPool1dImpl,
      AdaptiveAvgPool2dImpl, AdaptiveAvgPool3dImpl, FractionalMaxPool2dImpl,
      FractionalMaxPool3dImpl, LPPool1dImpl, LPPool2dImpl, LPPool3dImpl, ReflectionPad1dImpl,
      ReflectionPad2dImpl, ReflectionPad3dImpl, ReplicationPad1dImpl, ReplicationPad2dImpl,
      ReplicationPad3dImpl, ZeroPad1dImpl, ZeroPad2dImpl, ZeroPad3dImpl, ConstantPad1dImpl,
      ConstantPad2dImpl, ConstantPad3dImpl, FoldImpl, UnfoldImpl, UpsampleImpl, PixelShuffleImpl,
      PixelUnshuffleImpl>();
  return forwards;
}

}  // namespace

// The exact type: a class derived from one of LibTorch's has a forward() of its own.
Forward forward_of(const torch::nn::Module& module) {
  const auto found = known_forwards().find(typeid(module));
  return found == known_forwards().end() ? nullptr : found->second;
}

}  // namespace call

at::Tensor detail::call_by_type(torch::nn::Module* module, const at::Tensor& x) {
  if (module == nullptr) {
    throw InvalidArgument("neap::checkpoint: the module is a null pointer; make the module first");
  }
  if (const call::Forward forward = call::forward_of(*module)) return forward(*module, x);
  const std::string type = module->name();
  throw InvalidArgument(
      "neap::checkpoint: of this " + type +
      " only the base class torch::nn::Module is known here, and its forward() cannot be called "
      "without its type; ask the ModuleList for it by type, list->ptr<" +
      type +
      ">(index), or keep the layers in a torch::nn::Sequential or a "
      "std::vector<torch::nn::AnyModule>");
}

}  // namespace neap
