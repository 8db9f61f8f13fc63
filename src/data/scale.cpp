// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "data/scale.h"

#include <ATen/ops/empty_like.h>

#include <cmath>
#include <sstream>
#include <string>
#include <utility>

namespace neap::data {
namespace {

constexpr double kWhite = 255;

// One number a channel; `unit`: 1 in the scale has so much in the pixels.
Normalization expanded(const ChannelScale& scale, std::int64_t channels, double unit) {
  const auto count = static_cast<std::size_t>(channels);
  const std::size_t given = scale.mean.size();
  if (given != scale.deviation.size() || (given != 1 && given != count)) {
    throw InvalidArgument("the scale has " + std::to_string(given) + " means and " +
                          std::to_string(scale.deviation.size()) +
                          " deviations, and the pictures have " + std::to_string(channels) +
                          " channels; give one of both for each channel, or one for all");
  }
  Normalization normalization;
  for (std::size_t c = 0; c < count; ++c) {
    const std::size_t from = given == 1 ? 0 : c;
    normalization.mean.push_back(static_cast<float>(scale.mean[from] * unit));
    normalization.deviation.push_back(static_cast<float>(scale.deviation[from] * unit));
    if (std::isfinite(normalization.mean[c]) && std::isfinite(normalization.deviation[c]) &&
        normalization.deviation[c] > 0) {
      continue;
    }
    std::ostringstream text;
    text << "the scale has mean " << scale.mean[from] << " and deviation " << scale.deviation[from]
         << "; give numbers of float, and a deviation above 0";
    throw InvalidArgument(text.str());
  }
  return normalization;
}

// (C, H, W) float, dense.
at::Tensor picture_of(const Sample& sample) {
  if (!sample.empty() && sample[0].defined() && sample[0].dim() == 3 &&
      sample[0].scalar_type() == at::kFloat && sample[0].numel() > 0) {
    return sample[0].contiguous();
  }
  std::ostringstream found;
  if (!sample.empty() && sample[0].defined()) {
    found << sample[0].scalar_type() << ' ' << sample[0].sizes();
  } else {
    found << "none";
  }
  throw InvalidArgument("a scale is for pictures, (C, H, W) float; tensor 0 is " + found.str());
}

class Scaled final : public Dataset {
 public:
  Scaled(std::shared_ptr<const Dataset> set, Normalization by)
      : set_(std::move(set)), by_(std::move(by)) {}
  [[nodiscard]] std::int64_t size() const override { return set_->size(); }
  [[nodiscard]] Sample get(std::int64_t index) const override {
    Sample sample = set_->get(index);
    const at::Tensor from = picture_of(sample);
    if (from.size(0) != static_cast<std::int64_t>(by_.mean.size())) {
      throw DataError("it has " + std::to_string(from.size(0)) +
                      " channels, and the first sample has " + std::to_string(by_.mean.size()));
    }
    at::Tensor to = at::empty_like(from);
    const auto* value = from.const_data_ptr<float>();
    auto* x = to.mutable_data_ptr<float>();
    const std::int64_t plane = from.size(1) * from.size(2);
    for (std::size_t c = 0; c < by_.mean.size(); ++c) {
      for (std::int64_t i = 0; i < plane; ++i) *x++ = normalized(*value++, by_, c);
    }
    sample[0] = std::move(to);
    return sample;
  }

 private:
  std::shared_ptr<const Dataset> set_;
  Normalization by_;
};

// Adds up `term(value, channel)` over all samples.
template <class Term>
std::vector<double> mean_of(const Dataset& set, Term term) {
  std::vector<double> sums;
  double count = 0;
  for (std::int64_t i = 0; i < set.size(); ++i) {
    const at::Tensor picture = picture_of(set.get(i));
    if (i == 0) sums.resize(static_cast<std::size_t>(picture.size(0)));
    if (picture.size(0) != static_cast<std::int64_t>(sums.size())) {
      throw InvalidArgument("sample " + std::to_string(i) + " has " +
                            std::to_string(picture.size(0)) + " channels, and sample 0 has " +
                            std::to_string(sums.size()) + "; give all as many");
    }
    const auto* value = picture.const_data_ptr<float>();
    const std::int64_t plane = picture.size(1) * picture.size(2);
    for (std::size_t c = 0; c < sums.size(); ++c) {
      for (std::int64_t pixel = 0; pixel < plane; ++pixel) {
        sums[c] += term(static_cast<double>(*value++), c);
      }
    }
    count += static_cast<double>(plane);
  }
  for (double& sum : sums) sum /= count;
  return sums;
}

}  // namespace

Normalization for_bytes(const ChannelScale& scale, std::int64_t channels) {
  return expanded(scale, channels, kWhite);
}

ChannelScale of_bytes(const Normalization& normalization) {
  ChannelScale scale;
  for (const float mean : normalization.mean) scale.mean.push_back(mean / kWhite);
  for (const float deviation : normalization.deviation) {
    scale.deviation.push_back(deviation / kWhite);
  }
  return scale;
}

ChannelSums::ChannelSums(std::int64_t channels)
    : sums_(static_cast<std::size_t>(channels)), squares_(sums_.size()) {}

void ChannelSums::add(const unsigned char* pixels, std::int64_t plane) {
  for (std::size_t c = 0; c < sums_.size(); ++c) {
    for (std::int64_t pixel = 0; pixel < plane; ++pixel, ++pixels) {
      const std::uint64_t value = *pixels;
      sums_[c] += value;
      squares_[c] += value * value;
    }
  }
  count_ += plane;
}

Normalization ChannelSums::normalization() const {
  Normalization normalization;
  const auto count = static_cast<double>(count_);
  for (std::size_t c = 0; c < sums_.size(); ++c) {
    const double mean = static_cast<double>(sums_[c]) / count;
    const double variance = static_cast<double>(squares_[c]) / count - mean * mean;
    normalization.mean.push_back(static_cast<float>(mean));
    // A smaller variance is the rounding error of a constant channel.
    normalization.deviation.push_back(variance > 1e-9 ? static_cast<float>(std::sqrt(variance))
                                                      : 1.0F);
  }
  return normalization;
}

ChannelScale ChannelScale::of(const Dataset& set) {
  ChannelScale scale;
  scale.mean = mean_of(set, [](double value, std::size_t /*channel*/) { return value; });
  // From the mean, not from the sum of squares: that loses all digits where the mean is large.
  scale.deviation = mean_of(set, [&](double value, std::size_t channel) {
    return (value - scale.mean[channel]) * (value - scale.mean[channel]);
  });
  for (double& deviation : scale.deviation) {
    deviation = std::sqrt(deviation);
    // A channel that is almost constant could overflow.
    if (!(static_cast<float>(deviation) > 0)) deviation = 1;
  }
  return scale;
}

std::shared_ptr<Dataset> scaled(std::shared_ptr<const Dataset> set, const ChannelScale& scale) {
  if (!set || set->size() < 1) {
    throw InvalidArgument("scaled: the data set is null or empty; name one with samples");
  }
  Normalization by = expanded(scale, picture_of(set->get(0)).size(0), 1);
  return std::make_shared<Scaled>(std::move(set), std::move(by));
}

}  // namespace neap::data
