// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// When neap train looks at the test set, the best that it has seen there, and whose weights are in
// best.safetensors. No LibTorch here.
#pragma once

#include "command_line.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace neap::app {

// Of a test set.
struct TestResult {
  double loss = 0;                 // mean over the rows
  std::optional<double> accuracy;  // share of the labels, or tokens; nullopt: it is not known
};

class Evaluations {
 public:
  // Throws: UsageError when the options do not go together.
  explicit Evaluations(const TrainingOptions& options);

  // --eval-every asks for one after `step`, counted from 1, of `total`. The last step has one.
  [[nodiscard]] bool is_due(std::int64_t step, std::int64_t total) const {
    return every_ > 0 && step > last_step_ && (step % every_ == 0 || step == total);
  }
  // The best is that of the highest accuracy, or of the least loss where there is none.
  void add(std::int64_t step, const TestResult& result);
  // The last one is better than the one whose weights are kept. That is the best one, unless a
  // write has failed: then the next one that is better than what is kept is tried.
  [[nodiscard]] bool is_to_keep() const;
  // The weights of the last one are kept from now on.
  void keep();
  // --early-stop has come.
  [[nodiscard]] bool is_over() const { return patience_ > 0 && since_best_ >= patience_; }
  [[nodiscard]] std::string why_over() const;

  [[nodiscard]] std::int64_t last_step() const { return last_step_; }
  // Of this process; nullopt: there was none.
  [[nodiscard]] const std::optional<TestResult>& last() const { return last_; }
  [[nodiscard]] std::int64_t best_step() const { return best_step_; }  // 0: none
  [[nodiscard]] const TestResult& best() const { return best_; }
  [[nodiscard]] std::int64_t kept_step() const { return kept_step_; }  // 0: none

  // As notes of a snapshot.
  [[nodiscard]] std::map<std::string, std::string> notes() const;
  // Goes on from the notes of a snapshot. Notes of other things are left alone.
  void go_on_from(const std::map<std::string, std::string>& notes);

 private:
  std::int64_t every_;
  std::int64_t patience_;
  std::int64_t last_step_ = 0;
  std::int64_t best_step_ = 0;
  std::int64_t since_best_ = 0;  // evaluations
  std::optional<TestResult> last_;
  TestResult best_;
  std::int64_t kept_step_ = 0;
  TestResult kept_;
};

}  // namespace neap::app
