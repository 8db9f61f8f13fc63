// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Records what happened in a training, and makes a summary of it for every ending.
#pragma once

#include "evaluations.h"

#include <neap/train.h>

#include <nlohmann/json.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace neap::app {

enum class Ending : std::uint8_t {
  Done,
  StoppedEarly,
  Interrupted,
  BudgetExceeded,
  OutOfMemory,
  NonFinite,
  Failed
};

struct History {
  Evaluations evaluations;
  std::optional<train::PlainStep> plain = {};
  std::optional<Bytes> budget = {};
  std::int64_t steps = 0;
  std::int64_t replays = 0;
  std::int64_t evictions = 0;
  std::int64_t offloads = 0, loads = 0;  // copies to the directory of --offload and back
  std::int64_t offload_peak_bytes = 0;
  std::int64_t planned_steps = 0;
  std::int64_t planning_ns = 0;
  std::string plan_note = {};  // of the last step
  std::string rule_note = {};  // of the last step with a note
  std::int64_t peak_bytes = 0;
  std::vector<double> milliseconds = {};
  std::vector<double> losses = {};
  std::string snapshot = {};  // the last that was saved
  Ending ending = Ending::Done;
  std::string reason = {};  // why it ended early, in the words of the error; empty: it did not

  void add(const train::StepResult& step);
  // Sets the ending. REQUIRES: called in a handler, for the exception that is being handled.
  void end_by_exception();

  [[nodiscard]] nlohmann::json summary() const;
  [[nodiscard]] std::string table() const;

 private:
  [[nodiscard]] double loss() const;
  [[nodiscard]] double median_ms(std::size_t from = 0) const;
  [[nodiscard]] std::optional<double> against_plain() const;
};

// Returns null for NaN and infinity, because JSON cannot express them.
nlohmann::json number(double value);

}  // namespace neap::app
