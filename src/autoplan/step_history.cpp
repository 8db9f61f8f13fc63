// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "autoplan/step_history.h"

#include <algorithm>

namespace neap::autoplan {

void StepHistory::add(const StepId& step) {
  if (!steps_.empty()) {
    const StepId& before = steps_.back();
    std::erase_if(followed_, [&](const auto& pair) { return pair.first == before; });
    followed_.emplace_back(before, step);
    if (followed_.size() > kMost) followed_.pop_front();
  }
  steps_.push_back(step);
  if (steps_.size() > kMost) steps_.pop_front();
}

std::optional<StepId> StepHistory::expected() const {
  std::optional<StepId> best;
  std::size_t longest = 0;
  for (std::size_t next = steps_.size(); next-- > 1 && longest < kLongest;) {
    const std::size_t alike = alike_before(next);
    if (alike <= longest) continue;
    longest = alike;
    best = steps_[next];
  }
  if (best || steps_.empty()) return best;
  const auto known = std::ranges::find(followed_, steps_.back(), &std::pair<StepId, StepId>::first);
  return known == followed_.end() ? std::nullopt : std::optional(known->second);
}

// How many steps before this one are like the last ones.
std::size_t StepHistory::alike_before(std::size_t next) const {
  std::size_t alike = 0;
  while (alike < next && alike < kLongest &&
         steps_[next - 1 - alike] == steps_[steps_.size() - 1 - alike]) {
    ++alike;
  }
  return alike;
}

}  // namespace neap::autoplan
