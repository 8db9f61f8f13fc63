// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "memory/allocator.h"
#include "policy/ready_engine.h"

#include <neap/adaptive.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

namespace neap {
namespace {

constexpr std::size_t kMostProfiles = 64;  // forget all when a program uses ever new sizes

std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

std::int64_t evicted_bytes() { return policy::ready_engine().evicted_bytes(); }

}  // namespace

AdaptiveCheckpointing::AdaptiveCheckpointing(Bytes memory_threshold, AdaptiveOptions options)
    : threshold_(memory_threshold.count()), options_(options) {
  if (threshold_ < 1) {
    throw InvalidArgument("AdaptiveCheckpointing: memory_threshold is " +
                          std::to_string(threshold_) +
                          " bytes; expected what may be live when the forward ends, 1 or more");
  }
  if (!(options.hysteresis >= 0 && options.hysteresis < 1)) {
    throw InvalidArgument("AdaptiveCheckpointing: hysteresis is " +
                          std::to_string(options.hysteresis) +
                          "; expected 0 or more and less than 1");
  }
}

Bytes AdaptiveCheckpointing::bytes_of_mb(double megabytes) {
  constexpr double kMegabyte = 1024 * 1024, kMost = 8e12;  // MB that an integer of bytes can hold
  if (megabytes >= 1 / kMegabyte && megabytes <= kMost) {
    return Bytes(static_cast<std::int64_t>(megabytes * kMegabyte));
  }
  throw InvalidArgument("AdaptiveCheckpointing: memory_threshold_mb is " +
                        std::to_string(megabytes) +
                        "; expected a number of MB above 0, or neap::Bytes for a number of bytes");
}

bool AdaptiveCheckpointing::should_checkpoint(std::int64_t layer_id, at::IntArrayRef input_size) {
  memory::require_installed();
  std::int64_t bytes = sizeof(float);
  bool countable = true;
  for (const std::int64_t extent : input_size) {
    if (extent < 0) {
      throw InvalidArgument("AdaptiveCheckpointing: layer " + std::to_string(layer_id) +
                            " has an input with an extent of " + std::to_string(extent) +
                            "; expected the sizes of a tensor");
    }
    countable = countable && !__builtin_mul_overflow(bytes, extent, &bytes);
  }
  const std::int64_t live = memory::usage().live;
  const bool passes = !countable || bytes > threshold_ - live;
  checkpoint_map_[layer_id] = passes;
  return passes;
}

void AdaptiveCheckpointing::begin_forward(at::IntArrayRef sizes, std::size_t layers) {
  memory::require_installed();
  decisions_.clear();
  largest_ = 0;
  std::vector<std::int64_t> key = sizes.vec();
  const std::int64_t elements = std::max<std::int64_t>(
      1, std::accumulate(key.begin(), key.end(), std::int64_t{1}, std::multiplies<>()));
  const auto found = profiles_.find(key);
  if (found != profiles_.end() && found->second.measured && found->second.layers.size() == layers) {
    current_ = &found->second;
    known_ = true;
  } else {
    // Scale the closest profile: most of what layers keep grows with the batch.
    const Profile* nearest = nullptr;
    double distance = 0;
    for (const auto& [other, profile] : profiles_) {
      if (!profile.measured || profile.layers.size() != layers) continue;
      const double ratio =
          std::abs(std::log(static_cast<double>(elements) / static_cast<double>(profile.elements)));
      if (nearest != nullptr && ratio >= distance) continue;
      nearest = &profile;
      distance = ratio;
    }
    Profile made{elements, std::vector<Layer>(layers)};
    known_ = nearest != nullptr;
    if (known_) {
      const double scale = static_cast<double>(elements) / static_cast<double>(nearest->elements);
      const auto scaled = [&](std::int64_t value) {
        return static_cast<std::int64_t>(static_cast<double>(value) * scale);
      };
      for (std::size_t i = 0; i < layers; ++i) {
        const Layer& like = nearest->layers[i];
        made.layers[i] = {scaled(like.plain), scaled(like.kept), scaled(like.ns),
                          like.checkpointed};
      }
    }
    if (profiles_.size() >= kMostProfiles) profiles_.clear();
    current_ = &(profiles_[std::move(key)] = std::move(made));
  }
  if (known_) plan(0, memory::usage().live);
}

std::int64_t AdaptiveCheckpointing::predict(std::size_t from, std::int64_t live) const {
  for (std::size_t i = from; i < current_->layers.size(); ++i) {
    const Layer& layer = current_->layers[i];
    live += layer.checkpointed ? layer.kept : layer.plain;
  }
  return live;
}

// Starts from the last decisions and changes as few as possible. That gives the hysteresis.
void AdaptiveCheckpointing::plan(std::size_t from, std::int64_t live) {
  std::vector<Layer*> order;
  for (std::size_t i = from; i < current_->layers.size(); ++i) {
    order.push_back(&current_->layers[i]);
  }
  // Cheapest first: least time per byte that a checkpoint frees.
  std::ranges::stable_sort(order, [](const Layer* a, const Layer* b) {
    const auto freed = [](const Layer* layer) {
      return static_cast<double>(std::max<std::int64_t>(0, layer->plain - layer->kept));
    };
    return static_cast<double>(a->ns) * freed(b) < static_cast<double>(b->ns) * freed(a);
  });
  std::int64_t predicted = predict(from, live);
  for (Layer* const layer : order) {
    if (predicted <= threshold_) break;
    if (layer->checkpointed || layer->plain <= layer->kept) continue;
    layer->checkpointed = true;
    predicted -= layer->plain - layer->kept;
  }
  const auto low =
      static_cast<std::int64_t>(static_cast<double>(threshold_) * (1 - options_.hysteresis));
  for (auto it = order.rbegin(); it != order.rend(); ++it) {
    Layer& layer = **it;
    if (!layer.checkpointed || predicted + layer.plain - layer.kept > low) continue;
    layer.checkpointed = false;
    predicted += layer.plain - layer.kept;
  }
}

bool AdaptiveCheckpointing::begin_layer(std::size_t index) {
  Layer& layer = current_->layers[index];
  AdaptiveDecision decision{.layer = static_cast<std::int64_t>(index),
                            .live = memory::usage().live};
  if (known_) {
    decision.predicted = predict(index, decision.live);
    if (decision.predicted > threshold_) {  // a layer took more than before
      plan(index, decision.live);
      decision.predicted = predict(index, decision.live);
    }
  } else {
    layer.checkpointed = decision.live + largest_ > threshold_;
  }
  decision.checkpointed = layer.checkpointed;
  decisions_.push_back(decision);
  checkpoint_map_[decision.layer] = decision.checkpointed;
  evicted_before_ = evicted_bytes();
  started_ns_ = now_ns();
  return layer.checkpointed;
}

void AdaptiveCheckpointing::end_layer(const at::Tensor& result) {
  AdaptiveDecision& decision = decisions_.back();
  Layer& layer = current_->layers[static_cast<std::size_t>(decision.layer)];
  decision.ns = now_ns() - started_ns_;
  const std::int64_t grown = memory::usage().live - decision.live;
  decision.bytes = grown + evicted_bytes() - evicted_before_;
  layer.plain = decision.bytes;
  // Take the minimum of all forwards: a single one may have been interrupted.
  layer.ns = current_->measured ? std::min(layer.ns, decision.ns) : decision.ns;
  if (layer.checkpointed) {
    layer.kept = grown;
  } else if (layer.kept == 0) {
    // Not checkpointed yet. At least its result would stay.
    layer.kept = std::min(layer.plain, static_cast<std::int64_t>(result.nbytes()));
  }
  largest_ = std::max(largest_, decision.bytes);
  if (decisions_.size() == current_->layers.size()) current_->measured = true;
}

std::string AdaptiveCheckpointing::text() const {
  std::string text;
  for (const AdaptiveDecision& decision : decisions_) {
    text += "layer " + std::to_string(decision.layer) +
            (decision.checkpointed ? ": checkpointed, " : ": plain, ") +
            Bytes(decision.bytes).text() + " for the backward, " +
            std::to_string(decision.ns / 1000) + " us; " + Bytes(decision.live).text() + " live";
    if (decision.predicted > 0) {
      text += ", " + Bytes(decision.predicted).text() + " predicted at the end";
    }
    text += ", threshold " + Bytes(threshold_).text() + '\n';
  }
  return text;
}

}  // namespace neap
