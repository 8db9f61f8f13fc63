// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "analysis/composites.h"
#include "analysis/layer_rules.h"
#include "analysis/modules.h"
#include "analysis/step.h"
#include "analysis/walk.h"

#include <neap/analysis.h>

#include <algorithm>
#include <optional>
#include <set>
#include <unordered_set>
#include <utility>
#include <variant>

namespace neap {
namespace analysis {
namespace {

std::int64_t states_of(OptimizerKind kind, std::int64_t gradients) {
  switch (kind) {
    case OptimizerKind::SGD:
      return 0;
    case OptimizerKind::Momentum:
      return gradients;
    case OptimizerKind::Adam:
    case OptimizerKind::AdamW:
      return 2 * gradients;
    case OptimizerKind::AdamAMSGrad:
    case OptimizerKind::AdamWAMSGrad:
      return 3 * gradients;
  }
  return 0;
}

// Copies of one parameter that the optimizer's step holds at once.
std::int64_t scratch_of(OptimizerKind kind) {
  switch (kind) {
    case OptimizerKind::SGD:
    case OptimizerKind::Momentum:
      return 0;
    case OptimizerKind::Adam:
    case OptimizerKind::AdamW:
    case OptimizerKind::AdamAMSGrad:
    case OptimizerKind::AdamWAMSGrad:
      return 2;
  }
  return 0;
}

// Visits the model's modules in the order of their registration.
class Estimate {
 public:
  Estimate(const torch::nn::Module& model, Sizes input, std::int64_t item_bytes,
           OptimizerKind optimizer, Kernels kernels)
      : optimizer_(optimizer), walk_(std::move(input), item_bytes, kernels) {
    usage_.kernels = kernels.text();
    visit(model, "");
    // The loss acts as one more layer, and has no row of its own.
    rows_.push_back(usage_.layers.size() - 1);
    walk_.end();
  }

  MemoryUsage result() && {
    usage_.input = walk_.input_bytes();
    usage_.assumed = walk_.assumptions();
    for (const LayerUsage& layer : usage_.layers) {
      usage_.parameters += layer.parameters;
      usage_.buffers += layer.buffers;
      usage_.gradients += layer.gradients;
      usage_.optimizer_states += layer.optimizer_states;
    }
    add_activations();
    find_peak();
    return std::move(usage_);
  }

 private:
  void visit(const torch::nn::Module& module, const std::string& name) {
    const auto children = module.named_children();
    const bool leaf = children.is_empty() || is_whole(module);
    add_layer(module, name, leaf);
    if (leaf) return;
    const auto visit_child = [&](const std::string& child) {
      visit(*children[child], name.empty() ? child : name + "." + child);
    };
    const std::vector<Stage> stages = stages_of(module);
    if (stages.empty()) {
      for (const auto& child : children) visit_child(child.key());
    }
    std::optional<std::size_t> row;  // shared by everything between the children
    for (const Stage& stage : stages) {
      if (const auto* const child = std::get_if<std::string>(&stage)) {
        visit_child(*child);
        continue;
      }
      if (!row) {
        row = usage_.layers.size();
        usage_.layers.push_back({.name = name, .kind = kind_of(module)});
      }
      rows_.push_back(*row);
      walk_.enter(name, false, walk_.item_bytes());
      std::get<Between>(stage)(walk_);
      walk_.leave();
      usage_.layers[*row].output = walk_.sizes();
    }
  }

  void add_layer(const torch::nn::Module& module, const std::string& name, bool leaf) {
    LayerUsage layer{.name = name, .kind = kind_of(module)};
    bool learns = false;
    std::int64_t item_bytes = walk_.item_bytes();
    for (const at::Tensor& parameter : module.parameters(/*recurse=*/leaf)) {
      if (!parameter.defined()) continue;
      item_bytes = static_cast<std::int64_t>(parameter.itemsize());
      const std::int64_t bytes = once(parameter);
      layer.parameters += bytes;
      if (!parameter.requires_grad()) continue;
      learns = true;
      layer.gradients += bytes;
      largest_ = std::max(largest_, bytes);
    }
    for (const at::Tensor& buffer : module.buffers(/*recurse=*/leaf)) layer.buffers += once(buffer);
    layer.optimizer_states = states_of(optimizer_, layer.gradients);
    // A container that only calls its children.
    if (!leaf && layer.parameters + layer.buffers == 0) return;

    rows_.push_back(usage_.layers.size());
    walk_.enter(name, leaf && learns, item_bytes);
    const bool known = leaf && go_through(module, walk_);
    walk_.leave();
    if (known) layer.output = walk_.sizes();
    if (leaf && !known)
      usage_.unknown.push_back((name.empty() ? "" : name + " ") + "(" + layer.kind + ")");
    usage_.layers.push_back(std::move(layer));
  }

  // The bytes of a storage, at its first occurrence only.
  std::int64_t once(const at::Tensor& tensor) {
    if (!tensor.defined() || !tensor.has_storage()) return 0;
    const c10::StorageImpl* const storage = tensor.storage().unsafeGetStorageImpl();
    return seen_.insert(storage).second ? static_cast<std::int64_t>(storage->nbytes()) : 0;
  }

  void add_activations() {
    for (const Walk::Storage& storage : walk_.storages()) {
      if (storage.first_keeper < 0) continue;
      usage_.activations += storage.bytes;
      usage_.layers[rows_[static_cast<std::size_t>(storage.first_keeper)]].activations +=
          storage.bytes;
    }
  }

  // One of the layers up to this one keeps the storage for its backward.
  static bool is_kept(const Walk::Storage& storage, std::size_t layer) {
    return storage.first_keeper >= 0 && static_cast<std::size_t>(storage.first_keeper) <= layer;
  }

  [[nodiscard]] std::int64_t kept_up_to(std::size_t layer) const {
    std::int64_t bytes = 0;
    for (const Walk::Storage& storage : walk_.storages()) {
      if (is_kept(storage, layer)) bytes += storage.bytes;
    }
    return bytes;
  }

  // The bytes of a layer's input or output. 0 when they are counted elsewhere: among what is kept,
  // or as the input of the model, which is storage 0.
  [[nodiscard]] std::int64_t uncounted(std::size_t index, std::size_t layer) const {
    const Walk::Storage& storage = walk_.storages()[index];
    return index == 0 || is_kept(storage, layer) ? 0 : storage.bytes;
  }

  // A moment of the step. The peak is the moment with the most bytes.
  void meet(std::int64_t held, std::int64_t temporaries) {
    if (held + temporaries <= usage_.peak) return;
    usage_.peak = held + temporaries;
    usage_.temporaries = temporaries;
  }

  // Follows the step through its moments: one for each layer of the forward, one for each layer of
  // the backward, and the optimizer's.
  void find_peak() {
    // Held during the whole step.
    const std::int64_t base =
        usage_.input + usage_.parameters + usage_.buffers + usage_.optimizer_states;
    follow_forward(base);
    follow_backward(base);
    // Now all gradients exist, and no activation is left.
    meet(base + usage_.gradients, scratch_of(optimizer_) * largest_);
  }

  void follow_forward(std::int64_t base) {
    const std::vector<Walk::Layer>& layers = walk_.layers();
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const Walk::Layer& layer = layers[i];
      std::int64_t temporaries = layer.held_forward + uncounted(layer.output, i);
      if (layer.input != layer.output) temporaries += uncounted(layer.input, i);
      meet(base + kept_up_to(i), temporaries);
    }
  }

  void follow_backward(std::int64_t base) {
    const std::vector<Walk::Layer>& layers = walk_.layers();
    std::int64_t gradients = 0;     // of the parameters, so far
    std::set<std::size_t> learned;  // rows whose gradients are in that sum; layers may share a row
    for (std::size_t i = layers.size(); i-- > 0;) {  // the last layer first
      const Walk::Layer& layer = layers[i];
      if (!layer.needs_gradient) continue;
      LayerUsage& row = usage_.layers[rows_[i]];
      if (learned.insert(rows_[i]).second) gradients += row.gradients;
      const std::int64_t temporaries = held_in_backward(layer);
      row.temporaries = std::max(row.temporaries, temporaries);
      // The activations of later layers have been freed by now.
      meet(base + kept_up_to(i) + gradients, temporaries);
    }
  }

  // The layer's scratch memory, the waiting gradients of skips, and the gradients of its output and
  // its input. When the output is a view of the input, both are one storage with one gradient.
  [[nodiscard]] std::int64_t held_in_backward(const Walk::Layer& layer) const {
    const std::vector<Walk::Storage>& storages = walk_.storages();
    std::int64_t bytes = layer.held_backward + layer.skipped + storages[layer.output].bytes;
    if (layer.input_has_gradient && layer.input != layer.output) {
      bytes += storages[layer.input].bytes;
    }
    return bytes;
  }

  OptimizerKind optimizer_;
  Walk walk_;
  MemoryUsage usage_;
  std::vector<std::size_t> rows_;  // by layer of the walk: its row in usage_.layers
  std::unordered_set<const c10::StorageImpl*> seen_;
  std::int64_t largest_ = 0;  // largest trained parameter
};

// The item size of the input: int64 for layers that look up rows, otherwise that of the weights.
std::int64_t input_item_bytes(const torch::nn::Module& model) {
  for (const auto& [name, module] : modules_of(model)) {
    if (wants_integers(*module)) return 8;
    const auto own = module->parameters(/*recurse=*/false);
    if (!own.empty() && own[0].defined()) return static_cast<std::int64_t>(own[0].itemsize());
  }
  return 4;
}

}  // namespace
}  // namespace analysis

MemoryUsage estimate_memory_usage(const torch::nn::Module& model,
                                  const std::vector<std::int64_t>& input_size,
                                  std::int64_t batch_size, analysis::OptimizerKind optimizer) {
  if (batch_size < 1) {
    throw InvalidArgument("estimate_memory_usage: a batch size of " + std::to_string(batch_size) +
                          "; expected 1 or more");
  }
  for (const std::int64_t extent : input_size) {
    if (extent >= 1) continue;
    throw InvalidArgument("estimate_memory_usage: an extent of " + std::to_string(extent) +
                          " in the input's size; give the sizes of one item, without the batch");
  }
  analysis::Sizes input{batch_size};
  input.insert(input.end(), input_size.begin(), input_size.end());
  MemoryUsage usage = analysis::Estimate(model, std::move(input), analysis::input_item_bytes(model),
                                         optimizer, analysis::kernels_at_hand())
                          .result();
  usage.batch_size = batch_size;
  usage.optimizer = analysis::optimizer_text(optimizer);
  return usage;
}

}  // namespace neap
