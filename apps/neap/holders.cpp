// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "holders.h"

#include <neap/base.h>

#include <algorithm>

namespace neap::app {

std::string LargestHolders::note() const {
  if (left_out == 0) return {};
  return "The largest; " + std::to_string(left_out) + " smaller ones, of " +
         Bytes(left_out_bytes).text() + " together, are left out.";
}

LargestHolders largest_holders(const graph::Timeline& line, std::size_t most) {
  const std::span<const graph::Holder> all = line.at_the_peak;
  LargestHolders largest{.shown = all.first(std::min(most, all.size())), .left_out = 0};
  for (const graph::Holder& holder : all.subspan(largest.shown.size())) {
    ++largest.left_out;
    largest.left_out_bytes += holder.bytes;
  }
  return largest;
}

}  // namespace neap::app
