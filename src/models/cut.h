// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// models/cut.h: where a list of layers is cut into checkpointed segments.
#pragma once

#include <cstdint>
#include <vector>

namespace neap::models {

// Where each of `segments` runs of layers ends. outputs: of each layer, a Linear with its ReLU, in any unit; the ReLU's output is all
// that the layer keeps for the backward. Of all cuts, one whose step holds as little at its peak as can be, and of those one that
// keeps the least between forward and backward. Exact, by this count of what is held while the backward is in a segment:
//   the ends of the segments before it, and
//   at a ReLU:   the outputs of the segment up to it, and two gradients of its size;
//   at a replay: two gradients, of the segment's last layer and the one before it, and the outputs that have been made again so far
//                with what the Linear made for the ReLU under way. The last segment, which is not checkpointed, has none.
// REQUIRES: 1 <= segments <= number of outputs; outputs are not negative, and an integer holds four times their sum.
// Cost: about 60 x segments x outputs^2 steps.
std::vector<std::int64_t> ends_of_lowest_peak(const std::vector<std::int64_t>& outputs,
                                              std::int64_t segments);

}  // namespace neap::models
