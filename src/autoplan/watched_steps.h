// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// autoplan/watched_steps.h: steps that plan_ahead() has watched without a budget.
#pragma once

#include "autoplan/recording.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace neap::autoplan {

// The kinds of steps of one training, in the order in which they were watched.
class WatchedSteps {
 public:
  struct Step {
    Recording recording;
    std::int64_t base;  // bytes that were live when it began
  };

  // What is watched after a scope was opened belongs to another training: the steps before it go.
  void add(Recording recording, std::int64_t base) {
    if (std::exchange(used_, false)) steps_.clear();
    std::erase_if(steps_, [&](const Step& one) { return one.recording.calls == recording.calls; });
    if (steps_.size() == kMost) steps_.erase(steps_.begin());
    steps_.push_back({std::move(recording), base});
  }
  // For a scope that opens.
  [[nodiscard]] const std::vector<Step>& use() {
    used_ = true;
    return steps_;
  }
  // `calls`: the hash of all operators of a step that has ended. Where it is of none of these the
  // program does something else by now.
  void forget_unless_one_is(std::uint64_t calls) {
    const auto is_it = [&](const Step& one) { return one.recording.calls.back() == calls; };
    if (std::ranges::none_of(steps_, is_it)) steps_.clear();
  }

 private:
  static constexpr std::size_t kMost = 4;  // some 400 bytes an operator

  std::vector<Step> steps_;
  bool used_ = false;
};

}  // namespace neap::autoplan
