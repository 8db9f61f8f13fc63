// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "analysis/modules.h"
#include "analysis/step.h"
#include "memory/allocator.h"

#include <neap/analysis.h>

#include <torch/torch.h>

#include <algorithm>
#include <map>
#include <set>
#include <unordered_set>

namespace neap {
namespace analysis {
namespace {

constexpr const char* kName = "analyze_memory_usage";

// Sums the allocator's bytes, each storage once.
class Footprint {
 public:
  std::int64_t add(const at::Tensor& tensor) {
    if (!tensor.defined() || !tensor.has_storage() || tensor.nbytes() == 0) return 0;
    if (!seen_.insert(tensor.storage().unsafeGetStorageImpl()).second) return 0;
    return memory::footprint(static_cast<std::int64_t>(tensor.storage().nbytes()));
  }

 private:
  std::unordered_set<const c10::StorageImpl*> seen_;
};

// What a trace says about each storage.
class Reading {
 public:
  Reading(const graph::Trace& trace, MemoryUsage& usage, std::map<std::string, LayerUsage>& layers)
      : run_(graph::run_plainly(trace)), usage_(usage), layers_(layers) {
    for (const graph::Event& event : trace.events) {
      if (const auto* const op = std::get_if<graph::Operator>(&event)) {
        read(*op);
      } else if (const auto* const given = std::get_if<graph::Given>(&event)) {
        storages_[given->storage] = {given->bytes, graph::Phase::Other, "", given->kind, true};
        // A trace also has storages that no operator touches. The model does not need them.
        if (!begun_) before_.insert(given->storage);
      }
    }
  }

  void sum_up() {
    const std::set<graph::StorageId> at_end(run_.at_end.begin(), run_.at_end.end());
    std::set<graph::StorageId> named;
    for (const graph::StorageId id : run_.after_forward) {
      const Storage& storage = storages_.at(id);
      if (storage.given) continue;
      usage_.activations += storage.bytes;
      layers_[storage.layer].activations += storage.bytes;
      named.insert(id);
    }
    for (const auto& [id, storage] : storages_) {
      if (storage.given && storage.kind == graph::StorageKind::Optimizer) {
        usage_.optimizer_states += storage.bytes;
        layers_[storage.layer].optimizer_states += storage.bytes;
      }
      if (!storage.given && storage.phase == graph::Phase::Backward && at_end.contains(id)) {
        named.insert(id);  // a gradient
      }
    }
    usage_.temporaries = run_.workspace;
    for (const graph::StorageId id : run_.at_peak) {
      const Storage& storage = storages_.at(id);
      if (!storage.given && !named.contains(id)) usage_.temporaries += storage.bytes;
    }
  }

  // In addition to what existed before the step.
  [[nodiscard]] std::int64_t peak() const {
    std::int64_t above = run_.peak;
    for (const graph::StorageId id : run_.at_peak) {
      if (before_.contains(id)) above -= storages_.at(id).bytes;
    }
    return above;
  }

 private:
  struct Storage {
    std::int64_t bytes;
    graph::Phase phase;
    std::string layer;
    graph::StorageKind kind;
    bool given;
  };

  void read(const graph::Operator& op) {
    begun_ = true;
    std::int64_t made = op.workspace;
    for (const graph::Made& one : op.makes) {
      storages_[one.storage] = {one.bytes, op.phase, op.layer, graph::StorageKind::Constant, false};
      made += one.bytes;
    }
    if (op.phase == graph::Phase::Backward) {
      std::int64_t& most = layers_[op.layer].temporaries;
      most = std::max(most, made);
    }
    if (op.phase != graph::Phase::Optimizer) return;
    // What only the optimizer writes is its state. It belongs to the parameter that is written
    // next.
    for (const graph::StorageId id : op.mutates) {
      Storage& storage = storages_.at(id);
      if (storage.kind == graph::StorageKind::Parameter) {
        for (const graph::StorageId state : states_) storages_.at(state).layer = op.layer;
        states_.clear();
      } else if (storage.kind == graph::StorageKind::Optimizer && written_.insert(id).second) {
        states_.push_back(id);
      }
    }
  }

  graph::PlainRun run_;
  MemoryUsage& usage_;
  std::map<std::string, LayerUsage>& layers_;
  std::map<graph::StorageId, Storage> storages_;
  std::vector<graph::StorageId> states_;  // their parameter was not written yet
  std::set<graph::StorageId> written_;    // all states so far
  std::set<graph::StorageId> before_;     // from the start
  bool begun_ = false;                    // an operator has run
};

}  // namespace
}  // namespace analysis

using namespace analysis;

MemoryUsage analyze_memory_usage(const train::Model& model,
                                 const std::vector<std::int64_t>& input_size,
                                 std::int64_t batch_size, const TrainingOptions& options) {
  check_shape(kName, input_size);
  check_batch_sizes(kName, {batch_size});
  check_training(kName, options);
  const GeneratorGuard generator;
  const ModelGuard guard(model.module());
  torch::manual_seed(options.seed);
  const Job job{model, options.optimizer(model.module()), options.loss};
  const train::MicroBatch batch = options.batch(with_batch(batch_size, input_size));
  name_layers(model.module());

  // The first step makes the optimizer's state, the last one is measured.
  Step plain;
  for (std::int64_t step = 0; step <= std::max<std::int64_t>(1, options.warm_up); ++step) {
    plain = run_step(job, batch, {.scope = false});
  }

  MemoryUsage usage{.measured = true, .batch_size = batch_size};
  usage.optimizer = optimizer_text(*job.optimizer);
  std::map<std::string, LayerUsage> layers;
  std::vector<KnownTensor> known = {{batch.x, graph::StorageKind::Input},
                                    {batch.y, graph::StorageKind::Input}};
  Footprint footprint;
  usage.input = footprint.add(batch.x);
  const std::int64_t target = footprint.add(batch.y);
  for (const auto& [name, module] : modules_of(model.module())) {
    LayerUsage& layer = layers[name];
    layer.kind = kind_of(*module);
    for (const at::Tensor& parameter : module->parameters(/*recurse=*/false)) {
      layer.parameters += footprint.add(parameter);
      known.push_back({parameter, graph::StorageKind::Parameter});
    }
    for (const at::Tensor& buffer : module->buffers(/*recurse=*/false)) {
      layer.buffers += footprint.add(buffer);
      known.push_back({buffer, graph::StorageKind::Buffer});
    }
    usage.parameters += layer.parameters;
    usage.buffers += layer.buffers;
  }

  const graph::Trace recorded = trace_step(
      [&] {
        job.optimizer->zero_grad();
        job.loss(job.model.forward(batch.x), batch.y).backward();
        job.optimizer->step();
      },
      {.known = known});
  for (const auto& [name, module] : modules_of(model.module())) {
    LayerUsage& layer = layers[name];
    for (const at::Tensor& parameter : module->parameters(/*recurse=*/false)) {
      layer.gradients += footprint.add(parameter.grad());
    }
    usage.gradients += layer.gradients;
  }
  Reading reading(recorded, usage, layers);
  reading.sum_up();
  const std::int64_t before =
      usage.input + target + usage.parameters + usage.buffers + usage.optimizer_states;
  usage.peak = before + reading.peak();
  usage.allocator_peak = before + plain.peak_live - plain.base;
  for (auto& [layer_name, layer] : layers) {
    if (layer.parameters + layer.buffers + layer.optimizer_states + layer.activations +
            layer.temporaries ==
        0) {
      continue;
    }
    layer.name = layer_name;
    usage.layers.push_back(std::move(layer));
  }
  return usage;
}

}  // namespace neap
