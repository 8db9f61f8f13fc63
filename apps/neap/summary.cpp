// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap summary: the layers of a model as a tree, with what each takes in a training step.
#include "commands.h"
#include "job.h"
#include "terminal.h"
#include "trace.h"

#include <neap/summary.h>

#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace neap::app {
namespace {

using Json = nlohmann::ordered_json;
using analysis::LayerSummary;

// "1.23 G": powers of 1,000, since FLOPs are none of memory.
std::string count_text(std::int64_t count) {
  constexpr std::array<const char*, 6> kUnits{"", " k", " M", " G", " T", " P"};
  auto value = static_cast<double>(count);
  std::size_t unit = 0;
  while (value >= 999.5 && unit + 1 < kUnits.size()) {
    value /= 1000;
    ++unit;
  }
  return format_number(unit == 0 ? "%.0f" : "%.2f", value) + kUnits.at(unit);
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text;
  for (const std::int64_t extent : shape)
    text += (text.empty() ? "" : "x") + std::to_string(extent);
  return text;
}

std::int64_t weight_of(const LayerSummary& layer, const std::string& sort) {
  if (sort == "activations") return layer.activations;
  if (sort == "parameters") return layer.parameters;
  if (sort == "time") return layer.forward_ns;
  return sort == "flops" ? layer.flops : 0;
}

// The tree in order: each layer before those inside of it.
class Tree {
 public:
  Tree(std::vector<LayerSummary> layers, const std::string& sort) : all_(std::move(layers)) {
    for (std::size_t i = 1; i < all_.size(); ++i) {
      const std::size_t dot = all_[i].name.rfind('.');
      inside_[dot == std::string::npos ? "" : all_[i].name.substr(0, dot)].push_back(i);
    }
    for (auto& [name, inside] : inside_) {
      std::ranges::stable_sort(inside, std::ranges::greater{},
                               [&](std::size_t i) { return weight_of(all_[i], sort); });
    }
    add(0, 0);
  }

  struct Line {
    const LayerSummary& layer;
    std::size_t depth;
  };
  [[nodiscard]] const std::vector<Line>& lines() const { return lines_; }

 private:
  void add(std::size_t index, std::size_t depth) {
    lines_.push_back({all_[index], depth});
    const auto inside = inside_.find(all_[index].name);
    if (inside == inside_.end()) return;
    for (const std::size_t child : inside->second) add(child, depth + 1);
  }

  std::vector<LayerSummary> all_;
  std::map<std::string, std::vector<std::size_t>> inside_;
  std::vector<Line> lines_;
};

Json json_of(const Tree& tree) {
  Json layers = Json::array();
  for (const Tree::Line& line : tree.lines()) {
    const LayerSummary& layer = line.layer;
    const auto seen = [&](std::int64_t figure) { return layer.seen ? Json(figure) : Json(); };
    layers.push_back({{"name", layer.name},
                      {"kind", layer.kind},
                      {"output_shape", layer.output.empty() ? Json() : Json(layer.output)},
                      {"parameters", layer.parameters},
                      {"parameters_bytes", layer.parameter_bytes},
                      {"activations_bytes", seen(layer.activations)},
                      {"flops", seen(layer.flops)},
                      {"forward_ns", seen(layer.forward_ns)},
                      {"backward_ns", seen(layer.backward_ns)}});
  }
  return layers;
}

std::string table_of(const Tree& tree, const std::string& model, const Terminal& terminal) {
  Rows rows;
  for (const Tree::Line& line : tree.lines()) {
    const LayerSummary& layer = line.layer;
    const std::string name = line.depth == 0 ? model : layer.name.substr(layer.name.rfind('.') + 1);
    const auto seen = [&](const std::string& figure) { return layer.seen ? figure : "-"; };
    rows.push_back({std::string(2 * line.depth, ' ') + name, layer.kind,
                    layer.output.empty() ? "-" : shape_text(layer.output),
                    count_text(layer.parameters), seen(Bytes(layer.activations).text()),
                    seen(count_text(layer.flops)), seen(milliseconds(layer.forward_ns)),
                    seen(milliseconds(layer.backward_ns))});
  }
  return fitted_table({{"layer", report::Align::Left},
                       {"type", report::Align::Left},
                       {"output", report::Align::Left},
                       {"parameters"},
                       {"activations"},
                       {"FLOPs"},
                       {"forward"},
                       {"backward"}},
                      rows, {7, 6, 1, 2, 3, 5}, terminal);
}

}  // namespace

int summary(const ViewOptions& options, Output& output) {
  const Task task = Task::without_data(options, find_model(options), options.input);
  const train::MicroBatch batch =
      task.batch_of_step(task.batch_size(options.batch_size, kTracingBatch), 0);
  const graph::Trace trace = traced_step(task, batch, 1, options.repetitions);
  let_signals_end();
  const Tree tree(summarize(task.make_job().model, batch.x, trace), options.sort);
  if (options.json) {
    output.json(
        Json{{"label", trace.label}, {"batch_size", batch.x.size(0)}, {"layers", json_of(tree)}});
    return 0;
  }
  const Terminal terminal = terminal_of(STDOUT_FILENO);
  const std::string note =
      "FLOPs are those of the forward; a multiply-add is 2. Operators that read no parameter count "
      "for the layer before them, so that - is a layer without parameters.";
  output.text(report::fit(printable(trace.label), terminal.style) + "\n\n" +
              table_of(tree, std::filesystem::path(options.model).filename().string(), terminal) +
              (terminal.is_bounded ? wrapped(note, 0, terminal.style.columns - 1) : note + '\n'));
  return 0;
}

}  // namespace neap::app
