// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap verify: the same steps twice, plain and inside a budget, and all bits compared.
#include "bits.h"
#include "commands.h"
#include "job.h"

#include <algorithm>
#include <cstdio>
#include <optional>
#include <vector>

namespace neap::app {
namespace {

struct Run {
  States states;
  std::int64_t replays = 0;
  std::int64_t planned = 0;  // steps
  Bytes peak;
};

Run run_steps(const Task& task, std::int64_t accumulate,
              const std::vector<train::MicroBatch>& batches, const train::TrainerOptions& how) {
  Job job = task.make_job();
  train::Trainer trainer(job.loss, *job.optimizer, how);
  Run run;
  for (const train::MicroBatch& batch : batches) {
    if (stop_requested) throw Interrupted();
    const train::StepResult result = trainer.step(batch.x, batch.y, accumulate);
    run.states.push_back(train::State::of(job.model.module(), *job.optimizer, result.loss));
    run.replays += result.stats.replays;
    run.planned += result.stats.plan_hits;
    finish_planning();  // so that later steps do follow one
    run.peak = std::max(run.peak, result.peak);
  }
  return run;
}

}  // namespace

int verify(const TrainingOptions& options, Output& output) {
  const train::Budget wanted = parse_budget(options.budget);
  const Task task = Task::without_data(options, find_model(options.model));
  const std::int64_t batch_size = task.batch_size(options.batch_size, kVerifyingBatch);
  check_parts(options.accumulate, batch_size);
  std::vector<train::MicroBatch> batches;
  for (std::int64_t step = 0; step < options.steps; ++step) {
    batches.push_back(task.batch_of_step(batch_size, step));
  }
  train::PlainStep plain{};
  if (wanted.is_share()) {
    Job job = task.make_job();
    plain = train::measure_plain(job.loss, *job.optimizer, batches[0].x, batches[0].y,
                                 options.accumulate);
  }
  const std::optional<Bytes> budget = wanted.bytes(plain);

  const Run expected = run_steps(task, options.accumulate, batches, {.plain = true});
  const Run found = run_steps(task, options.accumulate, batches,
                              {.budget = budget, .policy = parse_policy(options)});

  const std::string difference = bits_differ(expected.states, found.states, [&] {
    return run_steps(task, options.accumulate, batches, {.plain = true}).states;
  });
  if (!difference.empty()) {
    output.line(difference);
    return 1;
  }
  std::int64_t bytes = 0;
  std::int64_t tensors = 0;
  for (const train::State& state : found.states) {
    bytes += state.bytes();
    tensors += state.parts();
  }
  output.line("equal bits: " + std::to_string(tensors) + " tensors, " + std::to_string(bytes) +
              " bytes");
  std::fprintf(stderr,
               "%zu steps: plain peak %s, budget %s, peak %s, %lld operators replayed, "
               "%lld steps by a plan\n",
               batches.size(), expected.peak.text().c_str(),
               budget ? budget->text().c_str() : "none", found.peak.text().c_str(),
               static_cast<long long>(found.replays), static_cast<long long>(found.planned));
  return 0;
}

}  // namespace neap::app
