// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "evaluations.h"

#include "notes.h"
#include "output.h"

#include <cmath>
#include <optional>

namespace neap::app {
namespace {

// Notes of the snapshot.
constexpr const char* kLastStep = "last evaluation";
constexpr const char* kBestStep = "best step";
constexpr const char* kBestLoss = "best test loss";
constexpr const char* kBestAccuracy = "best test accuracy";
constexpr const char* kSinceBest = "evaluations since the best";
// Only where the weights of the best one could not be written.
constexpr const char* kKeptStep = "kept step";
constexpr const char* kKeptLoss = "kept test loss";
constexpr const char* kKeptAccuracy = "kept test accuracy";

bool is_better(const TestResult& one, const TestResult& other) {
  if (one.accuracy && other.accuracy) return *one.accuracy > *other.accuracy;
  return one.loss < other.loss || (std::isnan(other.loss) && !std::isnan(one.loss));
}

}  // namespace

Evaluations::Evaluations(const TrainingOptions& options)
    : every_(options.eval_every), patience_(options.early_stop) {
  if (patience_ > 0 && every_ == 0) {
    throw UsageError(
        "--early-stop counts evaluations; say with --eval-every how often there is one");
  }
  if (every_ > 0 && options.no_test) {
    throw UsageError("--eval-every looks at the test set, and --no-test does not; leave one out");
  }
}

void Evaluations::add(std::int64_t step, const TestResult& result) {
  last_step_ = step;
  last_ = result;
  if (best_step_ > 0 && !is_better(result, best_)) {
    ++since_best_;
    return;
  }
  best_ = result;
  best_step_ = step;
  since_best_ = 0;
}

bool Evaluations::is_to_keep() const {
  return last_ && (kept_step_ == 0 || is_better(*last_, kept_));
}

void Evaluations::keep() {
  kept_ = last_.value();
  kept_step_ = last_step_;
}

std::string Evaluations::why_over() const {
  return "no better one in " + std::to_string(since_best_) +
         " evaluations: the training ends; the " +
         (best_.accuracy ? format_number("best accuracy, %.2f %%,", 100 * *best_.accuracy)
                         : format_number("least test loss, %.4f,", best_.loss)) +
         " was after step " + std::to_string(best_step_);
}

std::map<std::string, std::string> Evaluations::notes() const {
  std::map<std::string, std::string> notes;
  if (best_step_ == 0) return notes;
  notes[kLastStep] = std::to_string(last_step_);
  notes[kBestStep] = std::to_string(best_step_);
  notes[kSinceBest] = std::to_string(since_best_);
  notes[kBestLoss] = exact(best_.loss);
  if (best_.accuracy) notes[kBestAccuracy] = exact(*best_.accuracy);
  if (kept_step_ == best_step_) return notes;
  notes[kKeptStep] = std::to_string(kept_step_);
  notes[kKeptLoss] = exact(kept_.loss);
  if (kept_.accuracy) notes[kKeptAccuracy] = exact(*kept_.accuracy);
  return notes;
}

void Evaluations::go_on_from(const std::map<std::string, std::string>& notes) {
  best_step_ = number_in<std::int64_t>(notes, kBestStep).value_or(0);
  last_step_ = number_in<std::int64_t>(notes, kLastStep).value_or(0);
  since_best_ = number_in<std::int64_t>(notes, kSinceBest).value_or(0);
  best_ = {.loss = number_in<double>(notes, kBestLoss).value_or(0),
           .accuracy = number_in<double>(notes, kBestAccuracy)};
  const std::optional<std::int64_t> kept = number_in<std::int64_t>(notes, kKeptStep);
  kept_step_ = kept.value_or(best_step_);
  kept_ = kept ? TestResult{.loss = number_in<double>(notes, kKeptLoss).value_or(0),
                            .accuracy = number_in<double>(notes, kKeptAccuracy)}
               : best_;
}

}  // namespace neap::app
