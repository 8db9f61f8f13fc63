// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "engine/records.h"

#include <unordered_set>
#include <vector>

namespace neap::engine {

// Calls `visit` once for each block without data that would have to be made again for `block`.
template <class Visit>
void for_each_gone_ancestor(Block& block, Visit visit) {
  std::vector<Block*> search = {&block};
  std::unordered_set<const Block*> known = {&block};
  while (!search.empty()) {
    Block& next = *search.back();
    search.pop_back();
    for (Write* write = next.chain; write != nullptr; write = write->previous) {
      for (const Read& read : write->node()->reads()) {
        const bool at_hand = read.block->has_data() || read.block->copy != nullptr;
        if (at_hand || !known.insert(read.block).second) continue;
        visit(*read.block);
        search.push_back(read.block);
      }
      if (write->whole) break;
    }
  }
}

}  // namespace neap::engine
