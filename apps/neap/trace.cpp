// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap trace: writes a training step as a trace.
#include "trace.h"

#include "commands.h"

#include <neap/checkpoint.h>
#include <neap/engine.h>
#include <neap/planner.h>

#include <algorithm>
#include <csignal>
#include <sstream>
#include <string>
#include <vector>

namespace neap::app {
namespace {

std::vector<KnownTensor> known_tensors(const torch::nn::Module& model,
                                       const train::MicroBatch& batch) {
  std::vector<KnownTensor> known = {{batch.x, graph::StorageKind::Input},
                                    {batch.y, graph::StorageKind::Input}};
  for (const at::Tensor& parameter : model.parameters()) {
    known.push_back({parameter, graph::StorageKind::Parameter});
  }
  for (const at::Tensor& buffer : model.buffers()) {
    known.push_back({buffer, graph::StorageKind::Buffer});
  }
  return known;
}

void announce(const graph::Trace& trace, const std::string& file) {
  std::size_t operators = 0, storages = 0;
  for (const graph::Event& event : trace.events) {
    if (const auto* const op = std::get_if<graph::Operator>(&event)) {
      ++operators;
      storages += op->makes.size();
    } else if (std::holds_alternative<graph::Given>(event)) {
      ++storages;
    }
  }
  say(trace.label + ": " + std::to_string(operators) + " operators, " + std::to_string(storages) +
      " storages; its plain peak is " + Bytes(graph::run_plainly(trace).peak).text() +
      ", of which " + planner::budget_of_share(trace, 0).text() +
      " are there before it; next: neap plan " + file + " --budget 50%");
}

}  // namespace

graph::Trace traced_step(const TracingOptions& options) {
  const Task task = Task::without_data(options, find_model(options), options.input);
  const std::int64_t batch_size = task.batch_size(options.batch_size, kTracingBatch);
  return traced_step(task, task.batch_of_step(batch_size, 0), 1, options.repetitions);
}

graph::Trace traced_step(const Task& task, const train::MicroBatch& batch, std::int64_t accumulate,
                         std::int64_t repetitions) {
  const Job job = task.make_job();
  name_layers(job.model.module());
  // The same step as in neap train and neap verify, operator for operator, so that they can follow
  // a plan for it.
  train::Trainer trainer(job.loss, *job.optimizer, {.plain = true});
  const auto step = [&] {
    trainer.step(batch.x, batch.y, accumulate);
    job.optimizer->zero_grad();
  };
  step();
  return trace_steps(step,
                     {.known = known_tensors(job.model.module(), batch),
                      .label = task.name_of_step(batch.y.size(0))},
                     repetitions);
}

void let_signals_end() {
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
  if (stop_requested) throw Interrupted();
}

graph::Trace read_or_traced_step(const TracingOptions& options, const std::string& file) {
  graph::Trace trace = file.empty() ? traced_step(options) : graph::read_trace(file);
  let_signals_end();
  return trace;
}

int trace(const TracingOptions& options, Output& output) {
  const bool to_output = options.out == "-";
  ReportFile file("-o", to_output ? "" : options.out);
  const graph::Trace trace = traced_step(options);
  if (to_output) {
    std::ostringstream text;
    text.exceptions(std::ios::badbit);  // as in ReportFile::write()
    graph::write_trace(trace, text);
    output.text(text.str());
  } else {
    file.write([&](std::ostream& out) { graph::write_trace(trace, out); });
  }
  announce(trace, to_output ? "FILE" : options.out);
  return 0;
}

}  // namespace neap::app
