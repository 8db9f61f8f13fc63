// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "call/by_type.h"
#include "models/adopt.h"
#include "nn/options.h"

#include <neap/checkpoint.h>
#include <neap/models.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <string>

namespace neap {

Segmentation Segmentation::by_size(std::int64_t layers) {
  nn::require_positive("Segmentation::by_size", "layers", layers);
  return {Rule::BySize, layers};
}

Segmentation Segmentation::by_count(std::int64_t segments) {
  nn::require_positive("Segmentation::by_count", "segments", segments);
  return {Rule::ByCount, segments};
}

Segmentation Segmentation::square_root() { return {Rule::SquareRoot, 0}; }

std::vector<std::int64_t> Segmentation::ends(std::int64_t layers) const {
  std::vector<std::int64_t> ends;
  if (rule_ == Rule::BySize) {
    for (std::int64_t end = number_; end < layers; end += number_) ends.push_back(end);
    ends.push_back(layers);
    return ends;
  }
  const std::int64_t segments =
      rule_ == Rule::ByCount ? number_ : std::lround(std::sqrt(static_cast<double>(layers)));
  if (segments > layers) {
    throw InvalidArgument("Segmentation: " + std::to_string(segments) + " segments of " +
                          std::to_string(layers) + " layers; expected 1 to the number of layers");
  }
  for (std::int64_t i = 0; i < segments; ++i) {
    ends.push_back(detail::segment_bounds(layers, segments, i).second);
  }
  return ends;
}

std::vector<Segment> CheckpointedLayers::segments() const {
  std::vector<Segment> segments;
  for (const std::int64_t end : ends_) {
    segments.push_back({segments.empty() ? 0 : segments.back().end, end});
  }
  return segments;
}

void CheckpointedLayers::set_layers(std::vector<Layer> layers, std::vector<std::int64_t> ends,
                                    Inside inside) {
  layers_ = std::move(layers);
  ends_ = std::move(ends);
  inside_ = inside;
}

std::string CheckpointedLayers::note() const {
  // Every segment but the last is checkpointed.
  const std::vector<Segment> all = segments();
  const bool one = all.size() == 1;
  const bool singles = inside_ == Inside::Nothing &&
                       std::all_of(all.begin(), std::prev(all.end()), [](const Segment& segment) {
                         return segment.end - segment.begin == 1;
                       });
  if (!one && !singles) return {};
  const bool some_cut_frees = layers_.size() > (inside_ == Inside::Nothing ? 2U : 1U);
  return std::string("checkpoints free nothing in this model: ") +
         (one ? "its one segment is the last, whose inside the backward needs at once; "
              : "each checkpointed segment is one Linear and its ReLU, and the backward reads only "
                "what comes out of it; ") +
         (!some_cut_frees ? "no cut of so few layers does, so set use_checkpoint to false"
          : one           ? "take more segments"
                          : "take another number of segments");
}

at::Tensor CheckpointedLayers::run(const at::Tensor& x) {
  if (use_checkpoint && !noted_ && at::GradMode::is_enabled()) {
    noted_ = true;
    if (const std::string text = note(); !text.empty()) TORCH_WARN(name(), ": ", text);
  }
  if (use_checkpoint) return detail::run_segments(layers_, ends_, x, checkpoint_options);
  return detail::run_segments(layers_, {static_cast<std::int64_t>(layers_.size())}, x);
}

CheckpointedModelImpl::CheckpointedModelImpl(std::int64_t num_layers, std::int64_t segment_size)
    : CheckpointedModelImpl(CheckpointedModelOptions{
          .num_layers = num_layers, .segmentation = Segmentation::by_size(segment_size)}) {}

CheckpointedModelImpl::CheckpointedModelImpl(const CheckpointedModelOptions& options) {
  nn::require_positive("CheckpointedModel", "num_layers", options.num_layers);
  nn::require_positive("CheckpointedModel", "width", options.width);
  const std::vector<std::int64_t> widths(static_cast<std::size_t>(options.num_layers),
                                         options.width);
  const nn::MLP plain(options.width, widths, nn::Activation::ReLU, /*activate_last=*/true);
  models::adopt(*this, *plain);
  std::vector<Layer> layers;
  for (torch::nn::Sequential block : plain->blocks) {
    layers.push_back([block](const at::Tensor& x) mutable { return block->forward(x); });
  }
  set_list(std::move(layers), options.segmentation, Inside::Nothing);
  use_checkpoint = options.use_checkpoint;
}

CheckpointedModelImpl::CheckpointedModelImpl(const torch::nn::Sequential& layers,
                                             const Segmentation& segmentation) {
  models::adopt(*this, *layers);
  std::vector<Layer> calls;
  for (torch::nn::AnyModule layer : *layers) {
    calls.push_back([layer](const at::Tensor& x) mutable { return layer.forward(x); });
  }
  set_list(std::move(calls), segmentation);
}

CheckpointedModelImpl::CheckpointedModelImpl(const std::vector<torch::nn::AnyModule>& layers,
                                             const Segmentation& segmentation) {
  std::vector<Layer> calls;
  for (torch::nn::AnyModule layer : layers) {
    add_child(layer.is_empty() ? nullptr : layer.ptr(), calls.size());
    calls.push_back([layer](const at::Tensor& x) mutable { return layer.forward(x); });
  }
  set_list(std::move(calls), segmentation);
}

CheckpointedModelImpl::CheckpointedModelImpl(const torch::nn::ModuleList& layers,
                                             const Segmentation& segmentation) {
  std::vector<Layer> calls;
  for (const std::shared_ptr<torch::nn::Module>& layer : *layers) {
    const call::Forward forward = call::forward_of(*layer);
    if (forward == nullptr) {
      throw InvalidArgument("CheckpointedModel: layer " + std::to_string(calls.size()) +
                            " of the ModuleList is a " + layer->name() +
                            ", whose forward() cannot be called without its type; put the layers "
                            "into a torch::nn::Sequential or a std::vector<torch::nn::AnyModule>");
    }
    calls.push_back([layer, forward](const at::Tensor& x) { return forward(*layer, x); });
  }
  models::adopt(*this, *layers);
  set_list(std::move(calls), segmentation);
}

void CheckpointedModelImpl::add_child(const std::shared_ptr<torch::nn::Module>& layer,
                                      std::size_t index) {
  if (!layer) {
    throw InvalidArgument("CheckpointedModel: layer " + std::to_string(index) +
                          " is empty; expected a module");
  }
  register_module(std::to_string(index), layer);
}

void CheckpointedModelImpl::set_list(std::vector<Layer> layers, const Segmentation& segmentation,
                                     Inside inside) {
  const auto count = static_cast<std::int64_t>(layers.size());
  if (count == 0) {
    throw InvalidArgument("CheckpointedModel: the list has no layers; expected 1 or more");
  }
  set_layers(std::move(layers), segmentation.ends(count), inside);
}

at::Tensor CheckpointedModelImpl::forward(const at::Tensor& x) { return run(x); }

}  // namespace neap
