// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/materialization_loads.cpp: the part of a materialization that copies of the tier serve.
#include "engine/explain.h"
#include "engine/materialization.h"

namespace neap::engine {

// Whether the copy serves this version. A copy is of the newest one, so a run that needs an older
// content too makes that one in a shadow: then the copy must be loaded before.
bool Materialization::is_loaded(const Block& block, std::uint32_t version) {
  const Work& work = work_of(block);
  if (work.copied && version == block.version) return true;
  const bool alone =
      version == block.version && !block.has_data() && block.copy != nullptr && !block.replayable();
  if (work.copied || alone) throw CopyNeededFirst{work.block};
  return false;
}

void Materialization::throw_lost() const {
  if (lost_->copy_lost) throw OffloadError(describe(*lost_), store_.why_copy_lost());
  throw ReplayError("neap lost the recipe of " + describe(*lost_) +
                    "; this is a bug in neap: please report the model and the operator");
}

// What was asked for comes back while operators run. What they read is loaded when they run, since
// its memory would be taken for longer than is needed.
void Materialization::begin_loads(std::span<Block* const> targets) {
  for (Block* const block : targets) {
    if (block->work >= 0 && work_of(*block).copied && block->arriving == nullptr) {
      store_.begin_load(*block);
    }
  }
}

void Materialization::finish_loads(std::span<Block* const> targets) {
  for (Block* const block : targets) {
    if (block->work < 0) continue;
    Work& work = work_of(*block);
    if (work.copied && work.reached == kNothing) arrive(work);
  }
}

void Materialization::load_reads(Node& node) {
  for (const Read& read : node.reads()) {
    if (is_boundary(read)) continue;
    Work& work = work_of(*read.block);
    if (work.copied && work.reached == kNothing) arrive(work);
  }
}

void Materialization::arrive(Work& work) {
  Block& block = *work.block;
  if (block.arriving == nullptr) store_.begin_load(block);
  if (!store_.finish_load(block)) throw CopyLost{&block};
  work.reached = block.version;
  if (!block.alive || !store_.put_into_storage(block)) return;
  work.locked = true;
  ++block.locks;
  ++block.replays;
  publish_later(block);
}

}  // namespace neap::engine
