// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "export/tables.h"

#include "output.h"

#include <neap/report.h>
#include <neap/timeline.h>

#include <utility>

namespace neap::app {
namespace {

// A step is followed without a budget, and inside it where there is one.
constexpr const char* kPlain = "plain";
constexpr const char* kBudget = "budget";

template <class Number>
Json or_null(const std::optional<Number>& number) {
  return number ? Json(*number) : Json();
}

DataTable table_of_trainings(const std::vector<TrainingRun>& runs) {
  DataTable table{
      "trainings",
      {"training", "ending", "steps", "loss", "accuracy", "test_loss", "best_step", "best_accuracy",
       "best_test_loss", "budget_bytes", "peak_bytes", "plain_peak_bytes", "step_ms_median",
       "against_plain_median", "replays", "planned_steps"},
      {}};
  for (const TrainingRun& run : runs) {
    const RunFigures figures = figures_of(run);
    table.rows.push_back({run.name, figures.ending, run.steps.size(), figures.loss,
                          figures.accuracy, figures.test_loss, figures.best_step,
                          figures.best_accuracy, figures.best_test_loss, figures.budget_bytes,
                          figures.peak_bytes, figures.plain_peak_bytes, figures.step_ms_median,
                          figures.against_plain_median, figures.replays, figures.planned_steps});
  }
  return table;
}

DataTable table_of_training_steps(const std::vector<TrainingRun>& runs) {
  DataTable table{"training_steps",
                  {"training", "step", "loss", "peak_bytes", "took_ms", "replays", "planned",
                   "learning_rate", "gradient_norm"},
                  {}};
  for (const TrainingRun& run : runs) {
    for (const Json& line : run.steps) {
      const auto planned = line.find("planned");
      table.rows.push_back({run.name, step_of(line), number_of(line, "loss"),
                            number_of(line, "peak_bytes"), number_of(line, "took_ms"),
                            number_of(line, "replays"),
                            planned != line.end() && planned->is_boolean() ? *planned : Json(),
                            number_of(line, "learning_rate"), number_of(line, "gradient_norm")});
    }
  }
  return table;
}

DataTable table_of_evaluations(const std::vector<TrainingRun>& runs) {
  DataTable table{"evaluations", {"training", "step", "test_loss", "accuracy"}, {}};
  for (const TrainingRun& run : runs) {
    for (const Json& line : run.evaluations) {
      table.rows.push_back(
          {run.name, step_of(line), number_of(line, "test_loss"), number_of(line, "accuracy")});
    }
  }
  return table;
}

// The tables of traced steps; each step adds its rows.
class StepTables {
 public:
  void add(const TracedStep& step) {
    const graph::Plan plain = graph::plain_plan(step.trace);
    const graph::Timeline line = graph::timeline(step.trace, plain);
    Json budget, peak, rerun_ns, reruns;
    if (step.solution) {
      const graph::Plan& plan = step.solution->plan;
      budget = plan.budget;
      peak = plan.predicted_peak;
      rerun_ns = step.solution->rerun_ns;
      reruns = planner::reruns_of(plan).size();
    }
    steps_.rows.push_back({step.file, step.trace.label, step.trace.device, step.trace.torch,
                           line.moments[line.peak].total(), line.moments.front().total(),
                           line.moments.back().ns, budget, peak, rerun_ns, reruns});
    add_line(step, kPlain, plain, line);
    if (step.solution) {
      const graph::Plan& plan = step.solution->plan;
      add_line(step, kBudget, plan, graph::timeline(step.trace, plan));
    }
    for (const graph::LayerUse& layer : graph::layers_of(step.trace)) {
      layers_.rows.push_back({step.file, layer.name, layer.parameters, layer.activations,
                              layer.freed_by_checkpoint, layer.forward_ns, layer.backward_ns});
    }
    if (step.frontier) {
      has_frontier_ = true;
      for (const planner::FrontierPoint& point : step.frontier->points) {
        frontier_.rows.push_back(
            {step.file, point.budget.count(), or_null(point.rerun_ns), or_null(point.bound_ns)});
      }
    }
  }

  std::vector<DataTable> take() {
    std::vector<DataTable> tables;
    for (DataTable* const table : {&steps_, &timeline_, &holders_, &layers_}) {
      tables.push_back(std::move(*table));
    }
    if (has_frontier_) tables.push_back(std::move(frontier_));
    return tables;
  }

 private:
  void add_line(const TracedStep& step, const char* variant, const graph::Plan& plan,
                const graph::Timeline& line) {
    const std::vector<const graph::Operator*> operators = graph::operators_of(step.trace);
    for (const graph::Moment& moment : line.moments) {
      const bool runs =
          moment.step >= 0 && moment.step < static_cast<std::int64_t>(plan.steps.size());
      Json number, name, layer, phase;
      if (runs) {
        number = plan.steps[static_cast<std::size_t>(moment.step)].target;
        const graph::Operator& op = *operators[number.get<std::size_t>()];
        name = op.name;
        layer = op.layer;
        phase = graph::name_of(op.phase);
      }
      std::vector<Json> row = {step.file, variant, moment.step, moment.ns, moment.rerun,
                               number,    name,    layer,       phase};
      for (const std::int64_t bytes : moment.bytes) row.push_back(bytes);
      row.push_back(moment.total());
      row.push_back(or_null(moment.cached));
      timeline_.rows.push_back(std::move(row));
    }
    for (const graph::Holder& holder : line.at_the_peak) {
      holders_.rows.push_back(
          {step.file, variant, holder.storage < 0 ? Json() : Json(holder.storage), holder.bytes,
           graph::name_of(holder.category), holder.layer, holder.maker, holder.why});
    }
  }

  static std::vector<std::string> timeline_columns() {
    std::vector<std::string> columns = {"file",     "variant", "plan_step", "ns",   "rerun",
                                        "operator", "name",    "layer",     "phase"};
    for (std::size_t i = 0; i < graph::kCategories; ++i) {
      columns.push_back(graph::name_of(static_cast<graph::Category>(i)) + std::string("_bytes"));
    }
    columns.emplace_back("total_bytes");
    columns.emplace_back("cached_bytes");
    return columns;
  }

  DataTable steps_{"traced_steps",
                   {"file", "label", "device", "torch", "plain_peak_bytes", "given_bytes",
                    "plain_ns", "budget_bytes", "predicted_peak_bytes", "extra_ns", "reruns"},
                   {}};
  DataTable timeline_{"timeline", timeline_columns(), {}};
  DataTable holders_{"peak_holders",
                     {"file", "variant", "storage", "bytes", "category", "layer", "maker", "why"},
                     {}};
  DataTable layers_{"layers",
                    {"file", "module", "parameters_bytes", "activations_bytes",
                     "freed_by_checkpoint_bytes", "forward_ns", "backward_ns"},
                    {}};
  DataTable frontier_{"frontier", {"file", "budget_bytes", "extra_ns", "bound_ns"}, {}};
  bool has_frontier_ = false;
};

std::string cell_of(const Json& value) {
  if (value.is_null()) return "";
  return value.is_string() ? printable(utf8(value.get<std::string>())) : value.dump();
}

}  // namespace

std::vector<DataTable> tables_of(const std::vector<TrainingRun>& runs,
                                 const std::vector<TracedStep>& steps) {
  std::vector<DataTable> tables;
  if (!runs.empty()) {
    tables.push_back(table_of_trainings(runs));
    tables.push_back(table_of_training_steps(runs));
    tables.push_back(table_of_evaluations(runs));
  }
  if (!steps.empty()) {
    StepTables of_steps;
    for (const TracedStep& step : steps) of_steps.add(step);
    for (DataTable& table : of_steps.take()) tables.push_back(std::move(table));
  }
  return tables;
}

std::string csv_of(const DataTable& table) {
  std::vector<report::Column> columns;
  for (const std::string& name : table.columns) columns.push_back({name});
  report::Table csv(std::move(columns));
  for (const std::vector<Json>& row : table.rows) {
    std::vector<std::string> cells;
    for (const Json& value : row) cells.push_back(cell_of(value));
    csv.add_row(std::move(cells));
  }
  return csv.csv();
}

std::string json_of(const std::vector<DataTable>& tables) {
  std::string text = "{";
  for (const DataTable& table : tables) {
    text += (text.size() > 1 ? ",\n\"" : "\"") + table.name + "\":[";
    const char* separator = "\n";
    for (const std::vector<Json>& row : table.rows) {
      Json object = Json::object();
      for (std::size_t i = 0; i < row.size(); ++i) object[table.columns[i]] = row[i];
      text += separator + object.dump(-1, ' ', false, Json::error_handler_t::replace);
      separator = ",\n";
    }
    text += "]";
  }
  return text + "}\n";
}

}  // namespace neap::app
