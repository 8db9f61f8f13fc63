// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "engine/explain.h"

#include "engine/policy.h"
#include "memory/allocator.h"

#include <algorithm>
#include <cstddef>
#include <functional>
#include <utility>
#include <vector>

namespace neap::engine {
namespace {

std::string largest_pinned(std::span<Block* const> blocks) {
  std::vector<const Block*> pinned;
  for (const Block* const block : blocks) {
    if (block->has_data()) pinned.push_back(block);
  }
  const std::size_t shown = std::min<std::size_t>(3, pinned.size());
  std::ranges::partial_sort(pinned, pinned.begin() + static_cast<std::ptrdiff_t>(shown),
                            std::ranges::greater{}, &Block::bytes);
  std::string text;
  for (std::size_t i = 0; i < shown; ++i) {
    text += (i == 0 ? "\n  largest pinned: " : "; ") + describe(*pinned[i]) + " (" +
            why_pinned(*pinned[i]) + ")";
  }
  return text;
}

// True for a block that is in memory although it could be evicted.
bool is_kept(const Block& block) {
  return can_go(block) && block.residence == Residence::Resident &&
         (block.evictable >= 0 || block.pinned == PinReason::Final ||
          block.pinned == PinReason::Observed);
}

}  // namespace

std::string describe(const Block& block) {
  std::string what;
  if (block.maker != nullptr) {
    what = "output of " + block.maker->op.schema().name();
  } else if (block.pinned == PinReason::Parameter) {
    what = "a parameter";
  } else {
    what = "a tensor";
  }
  return what + ", " + Bytes(block.bytes).text();
}

std::string why_pinned(const Block& block) {
  if (block.pins > 0) return "neap::pin";
  if (block.locks > 0) return "operand of what runs now";
  if (block.residence == Residence::Retained) return "held so that others can be made again";
  if (block.opaque) return "written or held in a way that cannot be followed";
  if (block.decision == CheckpointPolicy::MustSave) return "CheckpointPolicy::MustSave";
  switch (block.pinned) {
    case PinReason::None:
      return block.bytes < kSmallest ? "too small" : "needed now";
    case PinReason::Parameter:
      return "parameter";
    case PinReason::Outside:
      return "made outside of the scope";
    case PinReason::Factory:
      return "made from no tensor, so the program may have written it by hand";
    case PinReason::Empty:
      return "made empty, so the program may have written it by hand";
    case PinReason::NotReplayable:
      return block.maker != nullptr && *block.maker->reason != '\0' ? block.maker->reason
                                                                    : "not replayable";
    case PinReason::Foreign:
      return "made from memory or tensors that are not LibTorch's own dense ones";
    case PinReason::Gradient:
      return "gradient";
    case PinReason::Overwritten:
      return "what it was made from has been overwritten, or may be";
    case PinReason::Exposed:
      return "its address is out, so the program may write it by hand";
    case PinReason::Final:
      return "its region is over";
    case PinReason::Observed:
      return "the scope has no budget";
  }
  return "";
}

std::string text_of(const Refusal& refusal, std::span<Block* const> blocks) {
  std::string text = "budget of " + Bytes(refusal.budget).text() + " exceeded: ";
  text += refusal.running != nullptr ? refusal.running->op.schema().name() : "an allocation";
  text += " needs " + Bytes(refusal.need).text() + ", " + Bytes(refusal.in_use).text() +
          " are in use and nothing else can go";
  text += largest_pinned(blocks);
  if (!refusal.no_copies.empty()) text += "\n  nothing more can be offloaded: " + refusal.no_copies;
  if (refusal.feasible == 0) {
    return text +
           "\n  no budget is known to work for this step yet, but what plain LibTorch needs always "
           "does: try a larger one, or a smaller batch";
  }
  return text + "\n  the smallest budget known to work for this step is " +
         Bytes(refusal.feasible).text() + " (" + std::to_string(refusal.feasible) +
         " bytes): steps of the same operators, and those after them, ran in it or in a little "
         "less; try that, or a smaller batch";
}

std::string text_for_another_thread(const Refusal& refusal) {
  return "budget of " + Bytes(refusal.budget).text() +
         " exceeded: another thread than the scope's needs " + Bytes(refusal.need).text() + ", " +
         Bytes(refusal.in_use).text() +
         " are in use and nothing else can go\n  give the budget room for it, or let that thread "
         "hold less";
}

SavedReport report_of(std::span<Block* const> blocks, const RegionNames& regions,
                      const LayerNames& layers) {
  SavedReport report;
  report.live = memory::usage().live;
  std::int64_t seen = 0;
  for (const Block* const block : blocks) {
    if (block->residence == Residence::Gone) continue;
    SavedStorage row;
    row.region = regions.name(block->region);
    row.layer = layers.name(block->layer);
    if (block->maker != nullptr) row.op = block->maker->op.schema().name();
    if (block->residence == Residence::Evicted) {
      row.state = SavedStorage::State::Evicted;
      row.bytes = memory::footprint(block->bytes);
      report.evicted += row.bytes;
    } else {
      // Memory of LibTorch's own allocator has no header of neap, and `live` does not count it.
      row.bytes = block->unseen ? block->bytes : memory::entry_of(block->data).taken;
      const bool kept = is_kept(*block);
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
