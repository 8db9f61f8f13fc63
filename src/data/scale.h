// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// data/scale.h: between scales of pixels that count from 0 to 1, and of those stored as bytes.
#pragma once

#include <neap/data.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace neap::data {

// For pixels that count from 0 to 255, one number a channel.
// Throws: InvalidArgument when the scale has other numbers than it needs.
Normalization for_bytes(const ChannelScale& scale, std::int64_t channels);
// The same, as pixels that count from 0 to 1: exact, so that for_bytes() gives it back.
ChannelScale of_bytes(const Normalization& normalization);

// One pixel of a channel, as the normalization has them.
inline float normalized(float pixel, const Normalization& by, std::size_t channel) {
  return (pixel - by.mean[channel]) / by.deviation[channel];
}

// Mean and deviation of each channel, by integer sums, so that the order of pictures does not
// matter.
class ChannelSums {
 public:
  explicit ChannelSums(std::int64_t channels);
  // A picture, as a plane of so many pixels for each channel.
  void add(const unsigned char* pixels, std::int64_t plane);
  // REQUIRES: a picture was added.
  [[nodiscard]] Normalization normalization() const;

 private:
  std::vector<std::uint64_t> sums_, squares_;
  std::int64_t count_ = 0;  // pixels of a channel
};

}  // namespace neap::data
