// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// checkpoint/plan_cache.h: what the engine follows, kept in files from one process to the next.
//   file    := "neapstep" version check content       numbers little-endian; version, check: 4 bytes
//   content := neap torch calls budget base margin peak ns hash{calls} operators at{operators} blocks block{blocks}
//   neap, torch := length byte{length}                 their versions
//   hash    := 8 bytes      at := 4 x 4 bytes      block := 4 bytes      every other number: 8 bytes
// `check` is the CRC-32 of the content. Each file is named by what it is a plan for, so a plan made anew takes the place of the
// one before.
#pragma once

#include "engine/planned_step.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace neap::checkpointing {

struct CachedStep {
  std::int64_t budget = 0;
  std::int64_t base = 0;    // bytes that were live when the step began
  std::int64_t margin = 0;  // bytes of the budget that the plan leaves free
  engine::PlannedStep step;
};

// Writes a file that its user alone can read, in one move: who reads at the same time finds the file before or this one. Makes
// the directory when there is none.
// Throws: Error, with the path and the reason.
void write_cached(const std::filesystem::path& directory, const CachedStep& cached);

// Of nothing to be removed nothing is said.
void remove_cached(const std::filesystem::path& directory, std::uint64_t calls, std::size_t count,
                   std::int64_t budget);

struct CachedSteps {
  std::vector<CachedStep> steps;     // the last written first, at most as many as asked for
  std::vector<std::string> ignored;  // files and why, for people
};

// All that were made for this budget, by this neap and this LibTorch. A file that another user owns or could write into, that is
// damaged, or that another version wrote is ignored. A directory that does not exist holds none.
CachedSteps read_cached(const std::filesystem::path& directory, std::int64_t budget,
                        std::size_t most);

}  // namespace neap::checkpointing
