// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What happened in a training, and the summary that is made of it, however the training ended.
#pragma once

#include <neap/train.h>

#include <nlohmann/json.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace neap::app {

enum class Ending : std::uint8_t {
  Done,
  Interrupted,
  BudgetExceeded,
  OutOfMemory,
  NonFinite,
  Failed
};

struct History {
  std::optional<train::PlainStep> plain;
  std::optional<Bytes> budget;
  std::int64_t steps = 0;
  std::int64_t replays = 0;
  std::int64_t evictions = 0;
  std::int64_t planned_steps = 0;
  std::int64_t planning_ns = 0;
  std::string plan_note = {};  // of the last step
  std::string rule_note = {};  // of the last step in which regions had a say
  std::int64_t peak_bytes = 0;
  std::vector<double> milliseconds;
  std::vector<double> losses;
  std::optional<double> accuracy;
  Ending ending = Ending::Done;
  std::string reason = {};  // why it ended early, as the error said it; empty: it did not

  void add(const train::StepResult& step);
  // What ended it. REQUIRES: called in a handler of what was thrown.
  void end_by_exception();

  [[nodiscard]] nlohmann::json summary() const;
  [[nodiscard]] std::string table() const;

 private:
  [[nodiscard]] double loss() const;
  [[nodiscard]] double median_ms(std::size_t from = 0) const;
  [[nodiscard]] std::optional<double> against_plain() const;
};

// NaN and infinity have no JSON; they become null.
nlohmann::json number(double value);
// Empty: there is none; it becomes null.
nlohmann::json text_or_null(const std::string& text);

}  // namespace neap::app
