// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/pictures.h: how pictures are scaled, and changed at random while they are loaded. A page of
// neap/data.h.
//
//   neap::data::Splits splits = neap::data::open("pictures:cats:3x64x64", {.find_scale = true});
//   neap::MemoryEfficientDataLoader loader(splits.training, 128, {
//       .shuffle = true, .seed = 7, .augmentation = {.crop = 4, .flip = true}});
//
// Guarantees: the bits of a changed picture depend on the loader's seed, the epoch and the number
// of the sample alone, by the counter-based generator Philox ("Parallel Random Numbers: As Easy as
// 1, 2, 3", Salmon et al., 2011). So batches are the same for any number of workers, after a
// restore() in the middle of an epoch, and when an epoch is loaded again.
// C, H, W: channels, height, width of a picture.
// Threads: any, without shared state.
#pragma once

#include <neap/base.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace neap::data {

class Dataset;

// x = (value - mean) / deviation, for each channel. Pixels of files (PNG, JPEG, IDX, CIFAR, arrays
// of uint8) count from 0 to 1 here, as in torchvision; other numbers count as they are.
struct NEAP_EXPORT ChannelScale {
  std::vector<double> mean;       // (C,), or one number for all channels
  std::vector<double> deviation;  // as many, each above 0
  // Of tensor 0 of all samples, which gets mean 0 and deviation 1. A constant channel gets
  // deviation 1.
  // Cost: loads all samples twice, in this thread and in their order, so that the bits are the same
  // everywhere. Throws: InvalidArgument when tensor 0 is not (C, H, W) float; what get() throws.
  static ChannelScale of(const Dataset& set);
  friend bool operator==(const ChannelScale&, const ChannelScale&) = default;
};

// Sample i is that of `set`, with tensor 0, (C, H, W) float, scaled.
// Throws: InvalidArgument when the set is null or empty, its first sample has another shape or
// type, or the scale has other numbers than it needs.
NEAP_EXPORT std::shared_ptr<Dataset> scaled(std::shared_ptr<const Dataset> set,
                                            const ChannelScale& scale);

// Random changes of tensor 0, (C, H, W), of each sample that a loader loads; the training set's
// loader alone should have any.
struct Augmentation {
  // Adds so many rows and columns of zeros to each side, and takes a place of the picture's size
  // at random; 0: nothing is done. Zero is the mean of a channel that was scaled. Below H and W.
  std::int64_t crop = 0;
  bool flip = false;  // left to right, each second picture on average
  friend bool operator==(const Augmentation&, const Augmentation&) = default;
};

}  // namespace neap::data
