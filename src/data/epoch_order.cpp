// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "data/epoch_order.h"

#include <numeric>
#include <random>
#include <utility>

namespace neap::data {
namespace {

// Uniform over the numbers below `bound`.
std::uint64_t below(std::mt19937_64& random, std::uint64_t bound) {
  const std::uint64_t surplus = (0 - bound) % bound;  // 2^64 modulo bound
  std::uint64_t drawn = random();
  while (drawn < surplus) drawn = random();
  return drawn % bound;
}

}  // namespace

EpochOrder EpochOrder::shuffled(std::int64_t size, std::uint64_t seed, std::int64_t epoch) {
  const auto number = static_cast<std::uint64_t>(epoch);
  std::seed_seq seeds{seed & 0xffffffffU, seed >> 32, number & 0xffffffffU, number >> 32};
  std::mt19937_64 random(seeds);
  EpochOrder order;
  order.order_.resize(static_cast<std::size_t>(size));
  std::iota(order.order_.begin(), order.order_.end(), std::int64_t{0});
  for (std::size_t i = order.order_.size(); i > 1; --i) {
    std::swap(order.order_[i - 1], order.order_[below(random, i)]);
  }
  return order;
}

std::vector<std::int64_t> EpochOrder::samples(std::int64_t first, std::int64_t count) const {
  std::vector<std::int64_t> samples(static_cast<std::size_t>(count));
  if (order_.empty()) {
    std::iota(samples.begin(), samples.end(), first);
  } else {
    samples.assign(order_.begin() + first, order_.begin() + first + count);
  }
  return samples;
}

}  // namespace neap::data
