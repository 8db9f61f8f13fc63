// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include <neap/timeline.h>

#include "graph/categories.h"

#include <algorithm>
#include <string_view>
#include <unordered_map>

namespace neap::graph {
namespace {

// Whether the layer is in the module.
bool is_in(std::string_view layer, std::string_view module) {
  return layer.starts_with(module) &&
         (layer.size() == module.size() || layer[module.size()] == '.');
}

class Layers {
 public:
  explicit Layers(const Trace& trace)
      : program_(trace),
        operators_(operators_of(trace)),
        categories_(categories_of(trace, program_)) {}

  std::vector<LayerUse> find() {
    for (const Operator* const op : operators_) {
      for (const std::string& module : modules_of(op->layer)) add_time(use_of(module), *op);
    }
    for (Index storage = 0; storage < program_.storages(); ++storage) add_storage(storage);
    return std::move(uses_);
  }

 private:
  LayerUse& use_of(const std::string& module) {
    const auto [place, is_new] = places_.try_emplace(module, uses_.size());
    if (is_new) uses_.push_back({.name = module});
    return uses_[place->second];
  }

  static void add_time(LayerUse& use, const Operator& op) {
    if (op.phase == Phase::Forward) use.forward_ns += op.ns;
    if (op.phase == Phase::Backward) use.backward_ns += op.ns;
  }

  void add_storage(Index index) {
    const Program::Storage& storage = program_.storage(index);
    const Category category = categories_[static_cast<std::size_t>(index)];
    const std::span<const Index> users = program_.users(index);
    if (category == Category::Parameters && !users.empty()) {
      for (const std::string& module : modules_of(of(users.front()).layer)) {
        use_of(module).parameters += storage.bytes;
      }
    }
    if (category != Category::Activations || storage.given) return;
    for (const std::string& module : modules_of(of(storage.maker).layer)) {
      LayerUse& use = use_of(module);
      use.activations += storage.bytes;
      const bool leaves = std::ranges::any_of(users, [&](Index user) {
        return of(user).phase == Phase::Forward && !is_in(of(user).layer, module);
      });
      if (!leaves && program_.op(storage.maker).replayable) {
        use.freed_by_checkpoint += storage.bytes;
      }
    }
  }

  [[nodiscard]] const Operator& of(Index op) const {
    return *operators_[static_cast<std::size_t>(op)];
  }

  const Program program_;
  std::vector<const Operator*> operators_;
  std::vector<Category> categories_;
  std::vector<LayerUse> uses_;
  std::unordered_map<std::string, std::size_t> places_;
};

}  // namespace

std::vector<std::string> modules_of(const std::string& layer) {
  std::vector<std::string> modules;
  for (std::size_t dot = layer.find('.'); dot != std::string::npos;
       dot = layer.find('.', dot + 1)) {
    modules.push_back(layer.substr(0, dot));
  }
  if (!layer.empty()) modules.push_back(layer);
  return modules;
}

std::vector<LayerUse> layers_of(const Trace& trace) { return Layers(trace).find(); }

}  // namespace neap::graph
