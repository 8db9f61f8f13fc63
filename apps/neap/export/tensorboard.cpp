// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "export/tensorboard.h"

#include "export/tfevents.h"

#include <time.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <limits>

namespace neap::app {
namespace {

// Seconds since 1970; 0 when the text is no time as run.jsonl has it.
double seconds_of(const std::string& began) {
  std::tm utc{};
  const char* const end = strptime(began.c_str(), "%Y-%m-%dT%H:%M:%SZ", &utc);
  if (end == nullptr || *end != '\0') return 0;
  return static_cast<double>(std::max<std::time_t>(0, timegm(&utc)));
}

double milliseconds_of(const Json& line) {
  const Json ms = number_of(line, "took_ms");
  // More than a year is no time of a step.
  constexpr double kMost = 366.0 * 24 * 3600 * 1000;
  return ms.is_number() ? std::clamp(ms.get<double>(), 0.0, kMost) : 0;
}

}  // namespace

ScalarFile scalars_of(const TrainingRun& run) {
  double now = run.parts.empty() ? 0 : seconds_of(run.parts.front().began);
  EventFile file(now);
  const std::string name =
      "events.out.tfevents." + std::to_string(static_cast<std::int64_t>(now)) + ".neap";
  const auto add = [&](const Json& line, std::initializer_list<const char*> keys) {
    for (const char* const key : keys) {
      const Json number = number_of(line, key);
      if (number.is_number()) file.add(key, step_of(line), now, number.get<double>());
    }
  };
  auto part = run.parts.begin();
  auto evaluation = run.evaluations.begin();
  const auto add_evaluations = [&](std::int64_t until) {
    for (; evaluation != run.evaluations.end() && step_of(*evaluation) <= until; ++evaluation) {
      add(*evaluation, {"test_loss", "accuracy"});
    }
  };
  for (std::size_t i = 0; i < run.steps.size(); ++i) {
    for (; part != run.parts.end() && part->first_step <= i; ++part) {
      // Never back: a clock may have been set, and TensorBoard draws by time too.
      now = std::max(now, seconds_of(part->began));
    }
    const Json& line = run.steps[i];
    now += milliseconds_of(line) / 1000;
    add(line, {"loss", "peak_bytes", "learning_rate", "gradient_norm", "took_ms", "replays"});
    add_evaluations(step_of(line));
  }
  add_evaluations(std::numeric_limits<std::int64_t>::max());
  return {name, file.bytes()};
}

}  // namespace neap::app
