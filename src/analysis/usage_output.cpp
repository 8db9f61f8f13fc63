// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "analysis/output.h"

#include <neap/analysis.h>

#include <algorithm>
#include <utility>

namespace neap {
namespace {

using analysis::Json;
using analysis::LayerUsage;
using report::Align;

// The sums, in the order of the output.
std::vector<std::pair<const char*, std::int64_t>> sums_of(const MemoryUsage& usage) {
  return {{"input", usage.input},
          {"parameters", usage.parameters},
          {"buffers", usage.buffers},
          {"gradients", usage.gradients},
          {"optimizer_states", usage.optimizer_states},
          {"activations", usage.activations},
          {"temporaries", usage.temporaries},
          {"peak", usage.peak},
          {"allocator_peak", usage.allocator_peak}};
}

}  // namespace

std::string MemoryUsage::text() const {
  // A measured usage has no output sizes; a column that is empty for all layers is left out.
  const bool outputs =
      std::ranges::any_of(layers, [](const LayerUsage& layer) { return !layer.output.empty(); });
  std::vector<report::Column> columns{{"layer", Align::Left}, {"kind", Align::Left}};
  if (outputs) columns.push_back({"output", Align::Left});
  for (const char* const name :
       {"parameters", "buffers", "gradients", "optimizer", "activations", "temporaries"}) {
    columns.push_back({name});
  }
  report::Table table(std::move(columns));
  for (const LayerUsage& layer : layers) {
    std::vector<std::string> cells{layer.name, layer.kind};
    if (outputs) cells.push_back(layer.output.empty() ? "" : analysis::shape_text(layer.output));
    for (const std::int64_t bytes :
         {layer.parameters, layer.buffers, layer.gradients, layer.optimizer_states,
          layer.activations, layer.temporaries}) {
      cells.push_back(bytes == 0 ? "" : Bytes(bytes).text());
    }
    table.add_row(std::move(cells));
  }
  report::Table sums(
      {{measured ? "measured" : "estimated", Align::Left}, {"bytes"}, {"", Align::Left}});
  for (const auto& [name, bytes] : sums_of(*this)) {
    sums.add_row({name, std::to_string(bytes), Bytes(bytes).text()});
  }
  std::string text = table.text() + '\n' + sums.text() + "optimizer: " + optimizer + '\n';
  for (const std::string& layer : unknown) text += "not known: activations of " + layer + '\n';
  for (const std::string& sentence : assumed) text += "assumed: " + sentence + '\n';
  if (!kernels.empty()) text += "kernels: " + kernels + '\n';
  return text;
}

std::string MemoryUsage::to_json() const {
  Json json{{"measured", measured}, {"batch_size", batch_size}, {"optimizer", optimizer}};
  for (const auto& [name, bytes] : sums_of(*this)) {
    json[name == std::string("peak") ? "peak_live_bytes" : name + std::string("_bytes")] = bytes;
  }
  json["layers"] = Json::array();
  for (const LayerUsage& layer : layers) {
    json["layers"].push_back({{"name", layer.name},
                              {"kind", layer.kind},
                              {"output_shape", layer.output.empty() ? Json() : Json(layer.output)},
                              {"parameters_bytes", layer.parameters},
                              {"buffers_bytes", layer.buffers},
                              {"gradients_bytes", layer.gradients},
                              {"optimizer_states_bytes", layer.optimizer_states},
                              {"activations_bytes", layer.activations},
                              {"temporaries_bytes", layer.temporaries}});
  }
  json["unknown"] = unknown;
  json["assumed"] = assumed;
  json["kernels"] = kernels;
  return analysis::dump(json);
}

}  // namespace neap
