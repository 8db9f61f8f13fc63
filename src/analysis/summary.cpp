// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include <neap/summary.h>

#include "analysis/flops.h"
#include "analysis/modules.h"
#include "analysis/step.h"
#include "graph/categories.h"

#include <neap/timeline.h>

#include <ATen/record_function.h>

#include <map>
#include <memory>
#include <unordered_map>
#include <utility>

namespace neap {
namespace analysis {
namespace {

// Watches the operators that this thread calls, and sorts them by layer. LibTorch's modules have no
// hooks in C++, so parameters tell the layers apart.
class ForwardWatch {
 public:
  struct Layer {
    std::vector<std::int64_t> output = {};  // of the last operator that read its own parameters
    std::vector<std::int64_t> last = {};    // of its last operator
    std::int64_t flops = 0;
    bool seen = false;
  };

  explicit ForwardWatch(const std::vector<std::pair<std::string, const torch::nn::Module*>>& all) {
    for (std::size_t i = 0; i < all.size(); ++i) {
      for (const at::Tensor& parameter : all[i].second->parameters(/*recurse=*/false)) {
        if (parameter.defined() && parameter.has_storage()) {
          // Of several layers that share it the last one, as in a trace.
          owners_[parameter.storage().unsafeGetStorageImpl()] = i;
        }
      }
    }
    layers_.resize(all.size());
    watching_ = this;
    handle_ = at::addThreadLocalCallback(at::RecordFunctionCallback(before, after)
                                             .needsInputs(true)
                                             .needsOutputs(true)
                                             .scopes({at::RecordScope::FUNCTION}));
  }
  ForwardWatch(const ForwardWatch&) = delete;
  ForwardWatch& operator=(const ForwardWatch&) = delete;
  ~ForwardWatch() {
    at::removeCallback(handle_);
    watching_ = nullptr;
  }

  // In the order of the modules; of each module without those inside.
  [[nodiscard]] const std::vector<Layer>& layers() const { return layers_; }
  [[nodiscard]] std::int64_t flops() const { return flops_; }  // of all operators
  [[nodiscard]] const std::vector<std::int64_t>& output() const { return output_; }
  // The layers in the order of their last operators.
  [[nodiscard]] const std::vector<std::size_t>& order() const { return order_; }

 private:
  // Of an operator, while it runs.
  struct Running : at::ObserverContext {
    bool outermost = false;
    bool counted = false;
    bool reads_own = false;
  };

  static std::unique_ptr<at::ObserverContext> before(const at::RecordFunction& function) {
    auto running = std::make_unique<Running>();
    watching_->begin(function, *running);
    return running;
  }
  static void after(const at::RecordFunction& function, at::ObserverContext* context) {
    watching_->end(function, static_cast<const Running&>(*context));
  }

  void begin(const at::RecordFunction& function, Running& running) {
    running.outermost = depth_++ == 0;
    if (running.outermost) {
      for (const c10::IValue& input : function.inputs()) {
        if (running.reads_own) break;
        if (input.isTensor()) running.reads_own = enter_layer_of(input.toTensor());
        if (!input.isTensorList()) continue;
        for (const at::Tensor& tensor : input.toTensorVector()) {
          if ((running.reads_own = enter_layer_of(tensor))) break;
        }
      }
      if (current_ != kNone) layers_[current_].seen = true;
    }
    if (counted_depth_ > 0) return;  // a part of what is counted already
    const auto flops = flops_of(function.name(), function.inputs());
    if (!flops) return;
    running.counted = true;
    ++counted_depth_;
    flops_ += *flops;
    if (current_ != kNone) layers_[current_].flops += *flops;
  }

  void end(const at::RecordFunction& function, const Running& running) {
    --depth_;
    if (running.counted) --counted_depth_;
    if (!running.outermost) return;
    for (const c10::IValue& output : function.outputs()) {
      if (!output.isTensor() || !output.toTensor().defined()) continue;
      output_ = output.toTensor().sizes().vec();
      if (current_ == kNone) return;
      layers_[current_].last = output_;
      if (running.reads_own) layers_[current_].output = output_;
      std::erase(order_, current_);
      order_.push_back(current_);
      return;
    }
  }

  bool enter_layer_of(const at::Tensor& tensor) {
    if (!tensor.defined() || !tensor.has_storage()) return false;
    const auto owner = owners_.find(tensor.storage().unsafeGetStorageImpl());
    if (owner == owners_.end()) return false;
    current_ = owner->second;
    return true;
  }

  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);
  static inline thread_local ForwardWatch* watching_ = nullptr;

  std::unordered_map<const c10::StorageImpl*, std::size_t> owners_;
  std::vector<Layer> layers_;
  std::vector<std::size_t> order_;
  std::size_t current_ = kNone;  // the layer of the operators that read no parameter
  std::int64_t flops_ = 0;
  std::vector<std::int64_t> output_;
  int depth_ = 0;
  int counted_depth_ = 0;
  at::CallbackHandle handle_ = at::INVALID_CALLBACK_HANDLE;
};

bool is_inside(const std::string& name, const std::string& module) {
  return module.empty() || name == module ||
         (name.starts_with(module) && name[module.size()] == '.');
}

// The whole model's, with the operators that belong to no layer.
void add_whole_step(LayerSummary& model, const graph::Trace& trace) {
  for (const graph::Operator* const op : graph::operators_of(trace)) {
    if (op->phase == graph::Phase::Forward) model.forward_ns += op->ns;
    if (op->phase == graph::Phase::Backward) model.backward_ns += op->ns;
  }
  const graph::Program program(trace);
  const std::vector<graph::Category> categories = graph::categories_of(trace, program);
  for (graph::Index i = 0; i < program.storages(); ++i) {
    if (categories[static_cast<std::size_t>(i)] != graph::Category::Activations) continue;
    model.activations += program.storage(i).bytes;
  }
}

void add_parameters(std::vector<LayerSummary>& layers,
                    const std::vector<std::pair<std::string, const torch::nn::Module*>>& all) {
  std::map<const c10::TensorImpl*, std::string> owners;
  for (const auto& [name, module] : all) {
    for (const at::Tensor& parameter : module->parameters(/*recurse=*/false)) {
      if (!parameter.defined()) continue;
      if (!owners.try_emplace(parameter.unsafeGetTensorImpl(), name).second) continue;
      for (LayerSummary& layer : layers) {
        if (!is_inside(name, layer.name)) continue;
        layer.parameters += parameter.numel();
        layer.parameter_bytes += static_cast<std::int64_t>(parameter.nbytes());
      }
    }
  }
}

}  // namespace
}  // namespace analysis

using namespace analysis;

std::vector<LayerSummary> summarize(const train::Model& model, const at::Tensor& x,
                                    const graph::Trace& trace) {
  const auto all = modules_of(model.module());
  std::vector<LayerSummary> layers;
  for (const auto& [name, module] : all) {
    layers.push_back({.name = name, .kind = kind_of(*module)});
  }
  add_parameters(layers, all);
  add_whole_step(layers.front(), trace);
  std::map<std::string, graph::LayerUse> uses;
  for (graph::LayerUse& use : graph::layers_of(trace)) uses[use.name] = use;
  for (LayerSummary& layer : layers) {
    const auto use = uses.find(layer.name);
    if (use == uses.end()) continue;
    layer.activations = use->second.activations;
    layer.forward_ns = use->second.forward_ns;
    layer.backward_ns = use->second.backward_ns;
  }

  const GeneratorGuard generator;
  const ModelGuard guard(model.module());
  ForwardWatch watch(all);
  (void)model.forward(x);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    LayerSummary& layer = layers[i];
    layer.output = watch.layers()[i].output;
    const bool has_children = !all[i].second->children().empty();
    if (has_children) layer.output.clear();
    for (const std::size_t of : watch.order()) {
      if (has_children && is_inside(all[of].first, layer.name)) {
        layer.output = watch.layers()[of].last;
      }
    }
    for (std::size_t j = 0; j < layers.size(); ++j) {
      if (!is_inside(all[j].first, layer.name)) continue;
      layer.flops += watch.layers()[j].flops;
      layer.seen = layer.seen || watch.layers()[j].seen;
    }
  }
  layers.front().flops = watch.flops();
  layers.front().output = watch.output();
  return layers;
}

}  // namespace neap
