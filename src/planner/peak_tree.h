// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/peak_tree.h: bytes at each stage, with additions to ranges and range maxima in
// logarithmic time.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace neap::planner {

// A segment tree: node i has children 2i and 2i + 1. Invariant: most[i] == extra[i] + max(most of
// its children).
class PeakTree {
 public:
  explicit PeakTree(std::size_t size)
      : leaves_(std::bit_ceil(std::max<std::size_t>(size, 1))),
        most_(2 * leaves_, 0),
        extra_(2 * leaves_, 0) {}

  // Adds `bytes` to each of [first, last).
  void add(std::size_t first, std::size_t last, std::int64_t bytes) {
    if (first >= last || bytes == 0) return;
    std::size_t low = first + leaves_;
    std::size_t high = last + leaves_;
    const std::size_t low_leaf = low;
    const std::size_t high_leaf = high - 1;
    for (; low < high; low /= 2, high /= 2) {
      if (low % 2 == 1) put(low++, bytes);
      if (high % 2 == 1) put(--high, bytes);
    }
    pull(low_leaf);
    pull(high_leaf);
  }

  [[nodiscard]] std::int64_t most() const { return most_[1]; }
  // The first position of the maximum.
  [[nodiscard]] std::size_t where() const {
    std::size_t node = 1;
    while (node < leaves_) node = 2 * node + (most_[2 * node] >= most_[2 * node + 1] ? 0 : 1);
    return node - leaves_;
  }
  [[nodiscard]] std::int64_t at(std::size_t i) const {
    std::int64_t sum = 0;
    for (std::size_t node = i + leaves_; node > 0; node /= 2) sum += extra_[node];
    return sum;
  }
  // All positions, with some zeros behind them. Cost: linear.
  void all(std::vector<std::int64_t>& out) const {
    out.resize(2 * leaves_);
    out[1] = extra_[1];
    for (std::size_t node = 2; node < 2 * leaves_; ++node) out[node] = out[node / 2] + extra_[node];
    out.erase(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(leaves_));
  }
  // The maximum of [first, last); 0 for an empty range.
  [[nodiscard]] std::int64_t most(std::size_t first, std::size_t last) const {
    return first < last ? most(1, 0, leaves_, first, last) : 0;
  }

 private:
  void put(std::size_t node, std::int64_t bytes) {
    most_[node] += bytes;
    extra_[node] += bytes;
  }
  void pull(std::size_t node) {
    for (node /= 2; node > 0; node /= 2) {
      most_[node] = extra_[node] + std::max(most_[2 * node], most_[2 * node + 1]);
    }
  }
  [[nodiscard]] std::int64_t most(std::size_t node, std::size_t from, std::size_t to,
                                  std::size_t first, std::size_t last) const {
    if (first <= from && to <= last) return most_[node];
    const std::size_t middle = (from + to) / 2;
    if (last <= middle) return extra_[node] + most(2 * node, from, middle, first, last);
    if (first >= middle) return extra_[node] + most(2 * node + 1, middle, to, first, last);
    return extra_[node] + std::max(most(2 * node, from, middle, first, last),
                                   most(2 * node + 1, middle, to, first, last));
  }

  std::size_t leaves_;
  std::vector<std::int64_t> most_;
  std::vector<std::int64_t> extra_;
};

}  // namespace neap::planner
