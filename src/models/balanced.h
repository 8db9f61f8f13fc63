// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Cuts of a list into runs whose sums are as even as can be.
#pragma once

#include <cstdint>
#include <vector>

namespace neap::models {

// Where each of `segments` runs of `costs` ends. The largest sum of a run is as small as can be; of all such cuts, the sum of
// the squares of the sums is smallest; of those left, the last runs are the shortest. Exact.
// REQUIRES: 1 <= segments <= number of costs; costs are not negative. Cost: segments x costs^2 steps.
std::vector<std::int64_t> balanced_ends(const std::vector<std::int64_t>& costs,
                                        std::int64_t segments);

}  // namespace neap::models
