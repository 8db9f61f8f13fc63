// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// models/cut.h: where a list of layers is cut into checkpointed segments.
#pragma once

#include <cstdint>
#include <vector>

namespace neap::models {

// Returns the ends of `segments` segments. outputs: the size of each layer's output, in any unit. A
// layer is a Linear with its ReLU, and keeps only the ReLU's output for the backward. Of all cuts,
// it returns one with the lowest peak of a step, and of these one that keeps the least between
// forward and backward. Exact, by this count of what is held while the backward is in a segment:
//   the outputs of the segments before it, and
//   at a ReLU:   the outputs of the segment up to it, and two gradients of its size;
//   at a replay: two gradients, of the segment's last layer and the one before it, and the outputs
//                recomputed so far, with the Linear's output for the current ReLU. The last segment
//                is not checkpointed and has no replays.
// REQUIRES: 1 <= segments <= number of outputs; outputs are not negative, and four times their sum
// fits an integer.
// Cost: about 60 x segments x outputs^2 steps.
std::vector<std::int64_t> ends_of_lowest_peak(const std::vector<std::int64_t>& outputs,
                                              std::int64_t segments);

}  // namespace neap::models
