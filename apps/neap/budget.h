// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Budgets as the command line names them, and what there is of memory for them.
#pragma once

#include "job.h"

#include <string>

namespace neap::app {

// The value of an option: as train::Budget, or auto: what the machine, or the container around, leaves, less a tenth of it and
// 64 MiB at least: for libraries, threads, and whatever else grows meanwhile.
// Throws: UsageError; Error where nothing is left, or where it cannot be known.
train::Budget parse_budget(const std::string& text, const char* option = "--budget");

// What is wrong with a budget that is larger than what is left; empty: nothing.
std::string why_too_large(const std::optional<Bytes>& budget);

// What is left, for people: "1.2 GiB of the container's 1.5 GiB".
std::string memory_left_text();

// What a plain step needs on `batch`, measured by a job of its own, which changes nothing.
struct PlainNeed {
  train::PlainStep step;  // 0 ms where it was not run whole
  std::string note = {};  // how it is known, where it was not run whole
};
// Nothing runs out: where a whole step may not fit (by shapes, or where the layers are not known), smaller ones are run first;
// where it does not, its need is worked out from theirs.
// Throws: NoRoom where not even the smaller ones fit; what the steps throw.
class NoRoom : public Error {
 public:
  using Error::Error;
};
PlainNeed plain_need(const Task& task, const train::MicroBatch& batch, std::int64_t accumulate = 1);

// A first step can be refused where a plan of it fits, and all that a plan needs is known before its update: watches plain steps of
// `batch`, so that a training that begins again follows a plan from its first step on. The first two steps are of two kinds.
inline constexpr std::int64_t kFirstSteps = 2;
// False: whole plain steps have no room, or it is not known. Throws: what the steps throw else.
bool plan_first_steps(const Task& task, const train::MicroBatch& batch, std::int64_t accumulate);

}  // namespace neap::app
