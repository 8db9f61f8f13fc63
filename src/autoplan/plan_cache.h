// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// autoplan/plan_cache.h: keeps what the engine follows in files, from one process to the next.
//
// Numbers are little-endian. version, check and each block have 4 bytes, each at has 7 x 4 bytes,
// and each hash and every other number has 8 bytes.
//   file    := "neapstep" version check content
//   content := neap torch calls budget base margin peak ns offloads hash{calls} operators
//              at{operators} blocks block{blocks}
//   neap, torch := length byte{length}                 their versions
// `check` is the CRC-32 of the content. A file's name says what the plan is for, so a newer plan
// for the same replaces the file.
#pragma once

#include "autoplan/planned_step.h"
#include "autoplan/step_id.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace neap::autoplan {

struct CachedStep {
  std::int64_t budget = 0;
  std::int64_t base = 0;    // bytes that were live when the step began
  std::int64_t margin = 0;  // bytes of the budget that the plan leaves free
  PlannedStep step;
  bool offloads = false;  // as StepId::offloads
};

// Writes a file that only its user can read. The file replaces an older one atomically, so a reader
// finds either the old or the new file. Makes the directory if there is none. Throws: Error, with
// the path and the reason.
void write_cached(const std::filesystem::path& directory, const CachedStep& cached);

// Removes the file of such a plan. Does nothing, and reports nothing, when it cannot be removed.
void remove_cached(const std::filesystem::path& directory, const StepId& step);

struct CachedSteps {
  std::vector<CachedStep> steps;     // newest first, at most as many as asked for
  std::vector<std::string> ignored;  // ignored files and the reasons, for people
};

// Reads the plans that were made for this budget, with a tier or without, by this version of neap
// and of LibTorch. Ignores a file that another user owns or could write, a damaged file, and one of
// another version. A directory that does not exist holds no plans.
CachedSteps read_cached(const std::filesystem::path& directory, std::int64_t budget, bool offloads,
                        std::size_t most);

}  // namespace neap::autoplan
