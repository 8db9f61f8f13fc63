// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/saved_report.cpp: what is held, by region, layer and operator.
#include "engine/engine.h"

#include <algorithm>

namespace neap::engine {

SavedReport Engine::saved_report() {
  if (!owner_here() || !(following() || evicted_ > 0)) {
    throw Error(
        "neap::saved_report: nothing is followed in this thread; call it inside a Scope with a "
        "budget, or one with "
        "Options::observe");
  }
  const Busy busy(*this);
  process_deaths();
  return report_storages();
}

SavedReport Engine::report_storages() const {
  SavedReport report;
  report.live = memory::usage().live;
  std::int64_t seen = 0;
  for (const Block* const block : recipes_.blocks()) {
    if (block->residence == Residence::Gone) continue;
    SavedStorage row;
    row.region = region_name(block->region);
    row.layer = layers_.name(block->layer);
    if (block->maker != nullptr) row.op = block->maker->op.schema().name();
    if (block->residence == Residence::Evicted) {
      row.state = SavedStorage::State::Evicted;
      row.bytes = memory::footprint(block->bytes);
      report.evicted += row.bytes;
    } else {
      // LibTorch's own allocator has no header of ours, and its bytes are not in `live`.
      row.bytes = block->unseen ? block->bytes : memory::header_of(block->data)->taken;
      const bool kept = can_go(*block) && block->residence == Residence::Resident &&
                        (block->evictable >= 0 || block->given == Given::Final ||
                         block->given == Given::Observed);
      row.state = kept ? SavedStorage::State::Kept : SavedStorage::State::Pinned;
      if (!kept) row.reason = why_pinned(*block);
      if (!block->unseen) {
        (kept ? report.kept : report.pinned) += row.bytes;
        seen += row.bytes;
      }
    }
    report.storages.push_back(std::move(row));
  }
  report.other = report.live - seen;
  std::ranges::stable_sort(report.storages, std::ranges::greater{}, &SavedStorage::bytes);
  return report;
}

}  // namespace neap::engine
