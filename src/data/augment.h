// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// data/augment.h: changes a picture at random, as neap/pictures.h says.
#pragma once

#include <neap/data.h>

#include <cstdint>

namespace neap::data {

// What identifies the randomness of a sample.
struct Draw {
  std::uint64_t seed;
  std::int64_t epoch;
  std::int64_t sample;
};

// Replaces tensor 0 by a changed copy. Throws: InvalidArgument when it is not (C, H, W), or not
// larger than the crop.
void augment(Sample& sample, const Augmentation& how, const Draw& draw);

}  // namespace neap::data
