// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/explain.h: texts and reports about blocks: for refusals, for the messages of evicted
// storages, and for saved_report().
#pragma once

#include "engine/layer_names.h"
#include "engine/records.h"
#include "engine/region_names.h"

#include <neap/memory.h>

#include <cstdint>
#include <span>
#include <string>

namespace neap::engine {

// For example "output of aten::mm, 2.0 MiB".
std::string describe(const Block& block);
// Why the block cannot be evicted now.
std::string why_pinned(const Block& block);

// An allocation that the budget cannot hold. All numbers are bytes.
struct Refusal {
  std::int64_t need;
  std::int64_t in_use;
  std::int64_t budget;
  std::int64_t feasible;                     // 0: no such budget is known
  const intercept::OperatorTraits* running;  // null: none
  std::string no_copies;                     // why no more can be copied out; empty: unknown
};
// The error's text: the operator, the bytes, what is pinned, and what to do.
std::string text_of(const Refusal& refusal, std::span<Block* const> blocks);
// The same for a thread that is not the scope's. Its operator is not known.
std::string text_for_another_thread(const Refusal& refusal);

// All storages that are tracked now, with region, layer and operator.
SavedReport report_of(std::span<Block* const> blocks, const RegionNames& regions,
                      const LayerNames& layers);

}  // namespace neap::engine
