// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "data/augment.h"

#include <ATen/core/PhiloxRNGEngine.h>
#include <ATen/ops/flip.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cstdlib>
#include <sstream>

namespace neap::data {
namespace {

// Of 2 * crop + 1 places, each about as often: `bound` is far below 2^32.
std::int64_t below(std::int64_t bound, std::uint32_t drawn) {
  return static_cast<std::int64_t>(
      static_cast<std::uint64_t>(drawn) * static_cast<std::uint64_t>(bound) >> 32);
}

// The picture moved up by `down` rows and left by `right` columns; zeros come in.
at::Tensor moved(const at::Tensor& x, std::int64_t down, std::int64_t right) {
  at::Tensor to = at::zeros_like(x, at::MemoryFormat::Contiguous);
  const std::int64_t height = x.size(1) - std::abs(down), width = x.size(2) - std::abs(right);
  const auto part = [&](const at::Tensor& whole, std::int64_t row, std::int64_t column) {
    return whole.narrow(1, std::max<std::int64_t>(0, row), height)
        .narrow(2, std::max<std::int64_t>(0, column), width);
  };
  part(to, -down, -right).copy_(part(x, down, right));
  return to;
}

}  // namespace

void augment(Sample& sample, const Augmentation& how, const Draw& draw) {
  at::Tensor& x = sample[0];
  if (x.dim() != 3 || x.size(1) <= how.crop || x.size(2) <= how.crop) {
    std::ostringstream shape;
    shape << x.sizes();
    throw InvalidArgument("tensor 0 is " + shape.str() +
                          ", and augmentation needs pictures (C, H, W) with more than " +
                          std::to_string(how.crop) + " rows and columns, the crop; " +
                          "leave it out, or take a smaller crop");
  }
  // All numbers are drawn whatever is asked for: a flip is the same with a crop and without.
  at::philox_engine random(draw.seed, static_cast<std::uint64_t>(draw.sample),
                           static_cast<std::uint64_t>(draw.epoch));
  const std::uint32_t row = random(), column = random(), side = random();
  if (how.crop > 0) {
    const std::int64_t places = 2 * how.crop + 1;
    x = moved(x, below(places, row) - how.crop, below(places, column) - how.crop);
  }
  if (how.flip && side >> 31 == 1) x = at::flip(x, {2});
}

}  // namespace neap::data
