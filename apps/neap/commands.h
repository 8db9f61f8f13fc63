// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// One function per command. Each returns the exit code. If it throws, main() prints the message and
// exits with code 1.
#pragma once

#include "command_line.h"
#include "output.h"
#include "sibling.h"

#include <atomic>

namespace neap::app {

inline constexpr int kInterrupted = 130;

// Set by Ctrl-C.
extern std::atomic<bool> stop_requested;

// While it lives, Ctrl-C lets the step that runs end, if `wanted`.
class FinishSteps {
 public:
  explicit FinishSteps(bool wanted) { on_.store(wanted); }
  FinishSteps(const FinishSteps&) = delete;
  FinishSteps& operator=(const FinishSteps&) = delete;
  ~FinishSteps() { on_.store(false); }
  static bool on() { return on_.load(); }

 private:
  static inline std::atomic<bool> on_{false};
};

int train(const TrainingOptions& options, Output& output);
int evaluate(const TrainingOptions& options, Output& output);
int predict(const PredictOptions& options, Output& output);
int export_weights(const ExportOptions& options, Output& output);
int import_weights(const TrainingOptions& options, Output& output);
// `sibling`: the process that runs serve_plain_steps().
int verify(const TrainingOptions& options, Output& output, Sibling& sibling);
void serve_plain_steps(const TrainingOptions& options, Sibling& sibling);
int analyze(const MeasuringOptions& options, Output& output);
int bench(const MeasuringOptions& options, Output& output);
int max_batch(const MeasuringOptions& options, Output& output);
int trace(const TracingOptions& options, Output& output);
int plan(const PlanOptions& options, Output& output);
int advise(const AdviseOptions& options, Output& output);
int profile(const ViewOptions& options, Output& output);
int summary(const ViewOptions& options, Output& output);
int explain(const ViewOptions& options, Output& output);
int report(const ReportOptions& options, Output& output);
int runs(const RunsOptions& options, Output& output);
int doctor(const DoctorOptions& options, Output& output);

}  // namespace neap::app
