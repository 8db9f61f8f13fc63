// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What holds the peak of a step, for the page of neap report and for neap profile. No LibTorch
// here.
#pragma once

#include <neap/timeline.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace neap::app {

// The columns of a table of holders: the cells of graph::Holder in this order.
inline constexpr std::array kHolderColumns{"size", "what", "layer", "made by", "why it is there"};

struct LargestHolders {
  std::span<const graph::Holder> shown;
  std::size_t left_out = 0;
  std::int64_t left_out_bytes = 0;
  // "The largest; 3 smaller ones, of 1.5 MiB together, are left out." Empty: none is.
  [[nodiscard]] std::string note() const;
};
// The largest of those at the peak, at most so many. `line` must outlive the result.
LargestHolders largest_holders(const graph::Timeline& line, std::size_t most);

}  // namespace neap::app
