// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/selection.h: which results of a region stay when it closes.
//
//   neap::name_layers(model);
//   neap::CheckpointOptions options{.rules = {{.op = "aten::*mm"}, {.layer = "blocks.*.norm?"}}};
//   y = neap::custom_checkpoint(options, [&](torch::Tensor in) { return model->forward(in); }, x);
//
// Units: bytes, ns. Threads: the thread of the region.
#pragma once

#include <neap/base.h>
#include <neap/engine.h>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace neap {

// A rule holds for results of the operators and layers that its two patterns match (`*` any text,
// `?` any character): `aten::mm`, `aten::*convolution*`; `encoder.*.linear1`, by the names of
// name_layers(). Operators have the names that are seen below autograd, with their namespace and
// without overload: a linear layer is an `aten::addmm`. Stats::rule_note names each rule that
// matched nothing in a region.
struct CheckpointRule {
  std::string op = "*";
  std::string layer = "*";
  CheckpointPolicy policy = CheckpointPolicy::PreferSave;
  bool optional = false;  // it may match nothing, and nobody is told
};

// A result that an operator inside the region has just made.
struct CheckpointCandidate {
  std::string_view op;     // aten::mm
  std::string_view layer;  // empty: not known
  at::IntArrayRef sizes;
  std::int64_t bytes = 0;    // of its storage
  std::int64_t cost_ns = 0;  // of the operator
};

// Who decides on a result, from first to last: set_checkpoint_policy(), keep_results(), the first
// rule that matches, `policy`; then the options of the region around this one, as long as there is
// one; then the memory limit. What none of these decides is evicted. A rule says which operator
// must not run again: when its result is not alive, because nobody saved it for the backward, what
// was made from it and is alive stays in its place. So no choice of rules takes more memory than no
// checkpoint at all.
struct NEAP_EXPORT CheckpointOptions {
  std::string name = {};  // for saved_report(); empty: checkpoint N
  std::vector<CheckpointRule> rules = {};
  // Asked where no rule matches, once for each result. It must not run operators. Nullopt: it does
  // not decide.
  std::function<std::optional<CheckpointPolicy>(const CheckpointCandidate&)> policy = {};
  // The memory limit, one of the two: how many bytes of the undecided results may stay, or how many
  // of them must go at least. Those stay whose recompute time times the importance of their layer
  // is the largest in sum (0/1 knapsack).
  std::optional<Bytes> keep_at_most = {};
  std::optional<Bytes> free_at_least = {};
  // Pattern of layers and weight, the first that matches; 1 for the rest, and 0 never stays.
  std::vector<std::pair<std::string, double>> importance = {};

  // Matrix products, convolutions and attention stay, as in PyTorch's selective checkpointing.
  static CheckpointOptions save_compute();
};

// Decides what becomes of the storage of `tensor` when its region closes; it beats the options of
// all regions. Has no effect on a tensor that no open region or Scope has made. MustSave also keeps
// the storage from eviction by the budget of a Scope. Returns `tensor`.
NEAP_EXPORT at::Tensor set_checkpoint_policy(const at::Tensor& tensor, CheckpointPolicy policy);

namespace detail {
NEAP_EXPORT void name_parameter(const at::Tensor& parameter, std::string_view name);
}  // namespace detail

// Registers the names of the module's parameters, `prefix` before each. An operator then belongs to
// the layer whose parameter it reads (`encoder.0.linear1` for `encoder.0.linear1.weight`), else to
// the layer that made its first operand. Rules of CheckpointOptions and reports go by these names.
// A parameter that is named again takes the new name. Module: a torch::nn::Module or a holder of
// one. Cost: one look-up for each parameter and scope. Threads: one at a time. Throws:
// ScopeConflict when another thread has a scope.
template <class Module>
void name_layers(const Module& module, std::string_view prefix = {}) {
  if constexpr (requires { module->named_parameters(); }) {
    name_layers(*module, prefix);
  } else {
    for (const auto& entry : module.named_parameters()) {
      detail::name_parameter(entry.value(), std::string(prefix) + entry.key());
    }
  }
}

template <class Module>
[[deprecated("it is neap::name_layers() now")]] void name(const Module& module,
                                                          std::string_view prefix = {}) {
  name_layers(module, prefix);
}
[[deprecated("it is neap::set_checkpoint_policy() now")]] inline at::Tensor tag(
    const at::Tensor& tensor, CheckpointPolicy policy) {
  return set_checkpoint_policy(tensor, policy);
}

}  // namespace neap
