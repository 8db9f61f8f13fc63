// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Budgets as the command line names them, and the memory that is left for them.
#pragma once

#include "job.h"

#include <string>

namespace neap::app {

// Parses the value of an option. Throws: UsageError for a text that is no budget; Error as
// train::Budget::parse().
train::Budget parse_budget(const std::string& text, const char* option = "--budget");

// Returns a warning for a budget that is larger than what is left. Empty: it is not.
std::string why_too_large(const std::optional<Bytes>& budget);

// The memory that is left, for people: "1.2 GiB of the container's 1.5 GiB".
std::string memory_left_text();

// What a plain step on `batch` needs. It is measured with a model and optimizer of its own, so the
// training is not changed.
struct PlainNeed {
  train::PlainStep step;  // 0 ms when the step was not run whole
  std::string note = {};  // how the need is known when the step was not run whole
};
// Not even the smaller steps of plain_need() fit.
class NoRoom : public Error {
 public:
  using Error::Error;
};
// Measures a plain step without running out of memory. A whole step may not fit, by an estimate
// from shapes, or because the layers are not known. Then smaller steps are run first. If the whole
// step does not fit by their measure, its need is computed from theirs. Throws: NoRoom when not
// even the smaller steps fit; what the steps throw.
PlainNeed plain_need(const Task& task, const train::MicroBatch& batch, std::int64_t accumulate = 1);

// An online first step can be refused although a plan of it would fit. All that a plan needs is
// known before the first update. So this watches plain steps of `batch`, and a training that begins
// again follows a plan from its first step on. The first two steps are of two kinds.
inline constexpr std::int64_t kFirstSteps = 2;
// Returns false when whole plain steps have no room, or when it is not known what is left. Throws:
// any other exception of the steps.
bool plan_first_steps(const Task& task, const train::MicroBatch& batch, std::int64_t accumulate);

}  // namespace neap::app
