// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "automatic_batch.h"

#include "budget.h"
#include "commands.h"
#include "run_folder.h"
#include "training_source.h"
#include "values.h"

#include <neap/analysis.h>

#include <algorithm>
#include <optional>
#include <utility>

namespace neap::app {

std::int64_t automatic_batch(const TrainingOptions& options, const train::Budget& wanted,
                             const std::function<void(const std::string&)>& tell) {
  if (const std::optional<std::int64_t> saved = saved_batch_size(options)) return *saved;
  if (options.budget == "min" || wanted.is_share()) {
    throw UsageError("--batch-size auto seeks the largest batch for a budget, and --budget " +
                     options.budget + " is for a batch; name bytes, as 4GiB, or auto");
  }
  const std::optional<Bytes> named = wanted.bytes({});
  const Bytes budget = named ? *named : *parse_budget("auto").bytes({});
  tell("looking for the largest batch in " + budget.text());
  TrainingOptions smallest = options;
  smallest.batch_size = options.accumulate;
  const TrainingSource source(smallest, find_model(options));
  const Task& task = source.task();
  const std::int64_t samples = source.samples().value_or(kMost);
  if (samples < options.accumulate) {
    throw UsageError("--accumulate " + std::to_string(options.accumulate) + ": " + source.name() +
                     " has " + std::to_string(samples) + " training samples");
  }
  constexpr double kMargin = 5;  // percent
  constexpr double kSeconds = 60;
  const analysis::MaxBatchResult found = neap::max_batch(
      [&] {
        Job job = task.make_job();
        return analysis::Job{
            .model = job.model, .optimizer = std::move(job.optimizer), .loss = task.loss()};
      },
      [&](std::int64_t rows) {
        return task.make_batch(rows, static_cast<std::uint64_t>(options.seed));
      },
      budget,
      {.margin_percent = kMargin,
       .time_limit_seconds = kSeconds,
       .stop = [] { return stop_requested.load(); },
       .smallest = 2});
  if (found.interrupted) throw Interrupted();
  const analysis::MaxBatchSide& side = named ? found.neap : found.plain;
  if (side.batch_size == 0) {
    throw Error(
        "--batch-size auto: no batch of 2 or more trains in " + budget.text() + ": " +
        (side.trials.empty() ? "there was no time for a trial" : side.trials.back().refusal));
  }
  // A data set may have fewer samples.
  const std::int64_t parts = options.accumulate;
  const std::int64_t rows = std::min(side.batch_size, samples / parts) * parts;
  tell("batch size " + std::to_string(rows) + ": its step holds " + side.peak.text() + " of " +
       budget.text() +
       (rows < side.batch_size * parts ? "; the data set has no more samples"
        : side.proved                  ? "; one more does not fit beside the margin of 5 %"
                                       : "; larger ones were not all tried in a minute"));
  return rows;
}

}  // namespace neap::app
