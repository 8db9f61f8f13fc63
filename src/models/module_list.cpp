// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "models/module_list.h"

#include <torch/nn/modules.h>

#include <typeinfo>

namespace neap::models {
namespace {

using Call = std::function<at::Tensor(const at::Tensor&)>;

// The exact type: a class derived from one of LibTorch's has a forward() of its own, which is not virtual.
template <class Kind>
Call call_of(const std::shared_ptr<torch::nn::Module>& module) {
  const torch::nn::Module& exact = *module;
  if (typeid(exact) != typeid(Kind)) return {};
  return [known = std::static_pointer_cast<Kind>(module)](const at::Tensor& x) {
    return known->forward(x);
  };
}

template <class... Kinds>
Call first_call(const std::shared_ptr<torch::nn::Module>& module) {
  Call call;
  static_cast<void>(((call = call_of<Kinds>(module)) || ...));
  return call;
}

}  // namespace

Call call_by_type(const std::shared_ptr<torch::nn::Module>& module) {
  using namespace torch::nn;  // NOLINT(google-build-using-namespace): a list of its classes
  return first_call<
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
      PixelUnshuffleImpl>(module);
}

}  // namespace neap::models
