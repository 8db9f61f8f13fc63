// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "models/adopt.h"
#include "nn/options.h"

#include <neap/models.h>

namespace neap {
namespace {

nn::ResNet deck(std::int64_t num_blocks) {
  nn::require_positive("CheckpointedResNet", "num_blocks", num_blocks);
  return nn::ResNet(nn::ResNetOptions{.channels = 64,
                                      .blocks = num_blocks,
                                      .classes = 1000,
                                      .dropout = 0,
                                      .stem_kernel = 7,
                                      .stem_stride = 2});
}

}  // namespace

template <class Model>
void CheckpointedResNetImpl::wrap(Model model, const Segmentation& segmentation) {
  models::adopt(*this, *model);
  std::vector<Layer> layers;
  for (auto block : model->blocks) {
    if (layers.empty()) {
      // What the stem has inside is as large as what a block has: it goes with the first one.
      layers.push_back(
          [model, block](const at::Tensor& x) mutable { return block->forward(model->stem(x)); });
    } else {
      layers.push_back([block](const at::Tensor& x) mutable { return block->forward(x); });
    }
  }
  const auto count = static_cast<std::int64_t>(layers.size());
  set_layers(std::move(layers), segmentation.ends(count));
  head_ = [model](const at::Tensor& x) mutable { return model->head(x); };
}

CheckpointedResNetImpl::CheckpointedResNetImpl(std::int64_t num_blocks,
                                               const Segmentation& segmentation)
    : CheckpointedResNetImpl(deck(num_blocks), segmentation) {}

CheckpointedResNetImpl::CheckpointedResNetImpl(const nn::ResNet& model,
                                               const Segmentation& segmentation) {
  wrap(model, segmentation);
}

CheckpointedResNetImpl::CheckpointedResNetImpl(const nn::ImageNetResNet& model,
                                               const Segmentation& segmentation) {
  wrap(model, segmentation);
}

at::Tensor CheckpointedResNetImpl::forward(const at::Tensor& x) { return head_(run(x)); }

}  // namespace neap
