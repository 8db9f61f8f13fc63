// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "checkpoint/selection.h"

#include "checkpoint/planned_steps.h"
#include "checkpoint/ready_engine.h"
#include "policy/knapsack.h"

#include <fnmatch.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

namespace neap {
namespace {

bool matches(const std::string& pattern, const std::string& text) {
  return pattern == "*" || ::fnmatch(pattern.c_str(), text.c_str(), 0) == 0;
}

engine::Decision decision_of(CheckpointPolicy policy) {
  switch (policy) {
    case CheckpointPolicy::MustSave:
      return engine::Decision::MustSave;
    case CheckpointPolicy::PreferSave:
      return engine::Decision::PreferSave;
    case CheckpointPolicy::PreferRecompute:
      return engine::Decision::PreferRecompute;
    case CheckpointPolicy::MustRecompute:
      return engine::Decision::MustRecompute;
  }
  return engine::Decision::Open;
}

void require_not_negative(const char* option, const std::optional<Bytes>& bytes) {
  if (!bytes || bytes->count() >= 0) return;
  throw InvalidArgument(std::string("CheckpointOptions: ") + option + " is " +
                        std::to_string(bytes->count()) + " bytes; expected 0 or more");
}

}  // namespace

CheckpointOptions CheckpointOptions::save_compute() {
  CheckpointOptions options;
  for (const char* const op :
       {"aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::addbmm", "aten::addmv",
        "aten::mv", "aten::dot", "aten::*convolution*", "aten::*conv_transpose*",
        "aten::slow_conv*", "aten::mkldnn_linear", "aten::_scaled_dot_product*"}) {
    options.rules.push_back({.op = op});
  }
  return options;
}

namespace detail {

Selection::Selection(const CheckpointOptions& options) : options_(options) {
  require_not_negative("keep_at_most", options.keep_at_most);
  require_not_negative("free_at_least", options.free_at_least);
  if (options.keep_at_most && options.free_at_least) {
    throw InvalidArgument("CheckpointOptions: keep_at_most " + options.keep_at_most->text() +
                          " and free_at_least " + options.free_at_least->text() +
                          " are two answers to one question; name one of them");
  }
  for (const auto& [pattern, weight] : options.importance) {
    if (!std::isfinite(weight) || weight < 0) {
      throw InvalidArgument("CheckpointOptions: the importance of '" + pattern + "' is " +
                            std::to_string(weight) + "; expected a number of 0 or more");
    }
  }
  if (!options.importance.empty() && !chooses()) {
    throw InvalidArgument(
        "CheckpointOptions: importance has nothing to weigh without a memory limit; name "
        "keep_at_most or "
        "free_at_least too");
  }
}

engine::Decision Selection::decide(const engine::Made& made) {
  const std::string& op = made.traits.op.schema().name();
  const std::string layer(made.layer);
  for (const CheckpointRule& rule : options_.rules) {
    if (matches(rule.op, op) && matches(rule.layer, layer)) return decision_of(rule.policy);
  }
  if (!options_.policy) return engine::Decision::Open;
  const auto policy = options_.policy({.op = op,
                                       .layer = made.layer,
                                       .sizes = made.sizes,
                                       .bytes = made.bytes,
                                       .cost_ns = made.cost_ns});
  return policy ? decision_of(*policy) : engine::Decision::Open;
}

double Selection::importance_of(const std::string& layer) const {
  for (const auto& [pattern, weight] : options_.importance) {
    if (matches(pattern, layer)) return weight;
  }
  return 1;
}

void Selection::choose(std::span<engine::Candidate> candidates) {
  std::vector<policy::KnapsackItem> items;
  std::int64_t all = 0;
  for (const engine::Candidate& candidate : candidates) {
    items.push_back(
        {candidate.bytes, candidate.cost_ns * importance_of(std::string(candidate.layer))});
    all += candidate.bytes;
  }
  const std::int64_t room = options_.keep_at_most
                                ? options_.keep_at_most->count()
                                : std::max<std::int64_t>(0, all - options_.free_at_least->count());
  const std::vector<bool> kept = policy::solve_knapsack(items, room);
  for (std::size_t i = 0; i < candidates.size(); ++i) candidates[i].keep = kept[i];
}

namespace {

// The selector of keep(): one for all, it has no state.
class KeepAll final : public engine::Selector {
 public:
  engine::Decision decide(const engine::Made& /*made*/) override {
    return engine::Decision::PreferSave;
  }
  void choose(std::span<engine::Candidate> /*candidates*/) override {}
  [[nodiscard]] bool chooses() const override { return false; }
};

}  // namespace

Region::Region(Kind kind) {
  static KeepAll keep_all;
  open(kind == Kind::Evicts ? nullptr : &keep_all, kind == Kind::Evicts, "");
}

Region::Region(const CheckpointOptions& options) {
  const bool says_something = !options.rules.empty() || options.policy || options.keep_at_most ||
                              options.free_at_least || !options.importance.empty();
  if (says_something) selection_ = std::make_unique<Selection>(options);
  open(selection_.get(), /*evicts=*/true, options.name);
}

// Inference mode saves nothing for a backward, so there is nothing to evict. And it puts the thread's dispatch keys
// back when it ends: storages evicted inside would not be brought back outside.
void Region::open(engine::Selector* selector, bool evicts, const std::string& name) {
  if (c10::InferenceMode::is_enabled()) return;
  engine::Engine& engine = checkpointing::ready_engine();
  if (evicts && engine.owner_here()) {
    checkpointing::PlannedSteps& planned = checkpointing::PlannedSteps::instance();
    if (selector == nullptr && planned.open()) return;
    planned.give_way();
  }
  open_ = engine.open_region(selector, evicts, name);
}

Region::~Region() {
  if (open_) engine::Engine::instance().abandon_region();
}

void Region::keep(const at::Tensor& output) {
  if (open_) engine::Engine::instance().keep(output);
}

void Region::close() {
  if (!std::exchange(open_, false)) return;
  engine::Engine::instance().close_region();
}

}  // namespace detail

const at::Tensor& tag(const at::Tensor& tensor, CheckpointPolicy policy) {
  checkpointing::ready_engine().tag(tensor, decision_of(policy));
  return tensor;
}

namespace detail {

void name_parameter(const at::Tensor& parameter, std::string_view name) {
  checkpointing::ready_engine().name_parameter(parameter, name);
}

}  // namespace detail
}  // namespace neap
