// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap verify: the same steps twice, plain and inside a budget, and all bits compared.
#include "commands.h"
#include "job.h"

#include <algorithm>
#include <cstdio>
#include <sstream>
#include <vector>

namespace neap::app {
namespace {

// The pictures of Fashion-MNIST, or rows of text.
Problem problem_of(const std::string& model) {
  return default_problem(
      model, model == "gpt" ? std::vector<std::int64_t>{} : std::vector<std::int64_t>{1, 28, 28});
}

struct Run {
  std::vector<train::State> states;  // after each step
  std::int64_t replays = 0;
  Bytes peak;
};

Run run_steps(const TrainingOptions& options, const Problem& problem,
              const std::vector<train::MicroBatch>& batches, const train::TrainerOptions& how) {
  Job job = make_job(options, problem);
  train::Trainer trainer(job.loss, *job.optimizer, how);
  Run run;
  for (const train::MicroBatch& batch : batches) {
    if (stop_requested) throw Interrupted();
    const train::StepResult result = trainer.step(batch.x, batch.y, options.accumulate);
    run.states.push_back(train::State::of(job.model.module(), *job.optimizer, result.loss));
    run.replays += result.stats.replays;
    run.peak = std::max(run.peak, result.peak);
  }
  return run;
}

}  // namespace

int verify(const TrainingOptions& options, Output& output) {
  train::Budget wanted;
  try {
    wanted = train::Budget::parse(options.budget);
  } catch (const InvalidArgument& error) {
    throw UsageError(std::string("--budget: ") + error.what());
  }
  if (options.accumulate > options.batch_size) {
    throw UsageError("--accumulate " + std::to_string(options.accumulate) +
                     " parts of a batch of " + std::to_string(options.batch_size) +
                     "; take at most one part a sample");
  }
  const Problem problem = problem_of(options.model);
  std::vector<train::MicroBatch> batches;
  for (std::int64_t step = 0; step < options.steps; ++step) {
    batches.push_back(random_batch(options.batch_size, problem,
                                   static_cast<std::uint64_t>(options.seed * 1000003 + step)));
  }
  train::PlainStep plain{};
  if (wanted.is_share()) {
    Job job = make_job(options, problem);
    plain = train::measure_plain(job.loss, *job.optimizer, batches[0].x, batches[0].y,
                                 options.accumulate);
  }
  const std::optional<Bytes> budget = wanted.bytes(plain);

  const Run expected = run_steps(options, problem, batches, {.plain = true});
  const Run found = run_steps(options, problem, batches, {.budget = budget});

  std::int64_t bytes = 0;
  std::int64_t tensors = 0;
  for (std::size_t step = 0; step < expected.states.size(); ++step) {
    const auto difference = expected.states[step].first_difference(found.states[step]);
    if (difference) {
      std::ostringstream text;
      text << "different bits in step " << step + 1 << ": " << difference->name;
      if (difference->index >= 0) text << '[' << difference->index << ']';
      text << ": plain " << difference->expected << ", inside the budget " << difference->found;
      output.line(text.str());
      return 1;
    }
    bytes += found.states[step].bytes();
    tensors += found.states[step].parts();
  }
  output.line("equal bits: " + std::to_string(tensors) + " tensors, " + std::to_string(bytes) +
              " bytes");
  std::fprintf(stderr, "%zu steps: plain peak %s, budget %s, peak %s, %lld operators replayed\n",
               batches.size(), expected.peak.text().c_str(),
               budget ? budget->text().c_str() : "none", found.peak.text().c_str(),
               static_cast<long long>(found.replays));
  return 0;
}

}  // namespace neap::app
