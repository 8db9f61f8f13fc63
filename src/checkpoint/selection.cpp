// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "checkpoint/selection.h"

#include "autoplan/planned_steps.h"
#include "checkpoint/nearest_name.h"
#include "intercept/operators.h"
#include "policy/knapsack.h"
#include "policy/ready_engine.h"

#include <neap/intercept.h>

#include <fnmatch.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <mutex>
#include <set>
#include <span>
#include <sstream>
#include <string>
#include <vector>

namespace neap {
namespace {

bool matches(const std::string& pattern, const std::string& text) {
  return pattern == "*" || ::fnmatch(pattern.c_str(), text.c_str(), 0) == 0;
}

void require_not_negative(const char* option, const std::optional<Bytes>& bytes) {
  if (!bytes || bytes->count() >= 0) return;
  throw InvalidArgument(std::string("CheckpointOptions: ") + option + " is " +
                        std::to_string(bytes->count()) + " bytes; expected 0 or more");
}

// ---------------------------------------------------------------- patterns

bool some_operator(const std::string& pattern, bool composite = false) {
  return intercept::any_operator([&](const std::string& name) { return matches(pattern, name); },
                                 composite);
}

[[noreturn]] void refuse_pattern(const std::string& pattern, const std::string& what) {
  throw InvalidArgument("CheckpointOptions: '" + pattern + "' " + what);
}

// Guesses which operator's name is meant by a spelling of other places, such as `mm.out`, `mm` or
// `torch.ops.aten.mm`.
std::vector<std::string> other_spellings(const std::string& pattern) {
  const std::size_t start = pattern.find("::");
  const std::size_t from = start == std::string::npos ? 0 : start + 2;
  const std::size_t dot = pattern.find('.', from);
  std::vector<std::string> names;
  if (start == std::string::npos) names.push_back("aten::" + pattern);
  if (dot == std::string::npos) return names;
  if (start != std::string::npos) {
    names.push_back(pattern.substr(0, dot));  // without the overload
  } else {
    const std::string rest = pattern.substr(dot + 1);
    names.push_back(pattern.substr(0, dot) + "::" + rest);
    names.push_back(pattern.substr(0, dot) + "::" + rest.substr(0, rest.find('.')));
    names.push_back("aten::" + pattern.substr(pattern.rfind('.') + 1));
  }
  return names;
}

// Refuses a pattern that matches no operator that is seen, and says what may have been meant.
[[noreturn]] void refuse_operator(const std::string& pattern) {
  if (pattern.empty()) {
    refuse_pattern(pattern,
                   "is an empty pattern of operators and matches none; leave it out for all, or "
                   "name some as aten::mm");
  }
  const auto composite = [&](const std::string& name) {
    refuse_pattern(pattern, "names " + (name == pattern ? "an operator" : name + ", an operator") +
                                " that is made of others, and it is those that are seen: a linear "
                                "layer is aten::addmm, a product aten::mm or aten::bmm; "
                                "neap::saved_report() and neap trace show the names");
  };
  if (some_operator(pattern, /*composite=*/true)) composite(pattern);
  for (const std::string& name : other_spellings(pattern)) {
    if (some_operator(name)) {
      refuse_pattern(pattern, "is no operator's name; write " + name +
                                  ": names have their namespace, and no overload");
    }
    if (some_operator(name, /*composite=*/true)) composite(name);
  }
  std::vector<std::string> names;
  for (const OperatorRule& rule : operator_rules()) {
    if (!rule.decomposed) names.push_back(rule.name.substr(0, rule.name.find('.')));
  }
  const bool plain = pattern.find("::") == std::string::npos;
  refuse_pattern(pattern, "matches no operator; the nearest is " +
                              detail::nearest_name(plain ? "aten::" + pattern : pattern, names));
}

// Remembers good patterns, because a search looks at all operators and regions open often.
void require_operator(const std::string& pattern) {
  if (pattern == "*") return;
  static std::mutex mutex;
  static std::set<std::string, std::less<>> known;
  const std::lock_guard lock(mutex);
  if (known.contains(pattern)) return;
  if (!some_operator(pattern)) refuse_operator(pattern);
  known.insert(pattern);
}

void require_layer(const std::string& pattern) {
  if (pattern == "*") return;
  if (pattern.empty()) {
    refuse_pattern(pattern, "is an empty pattern of layers and matches none; leave it out for all");
  }
  const std::span<const std::string> layers =
      std::span(policy::ready_engine().layers().names()).subspan(1);
  const auto fits = [&](const std::string& layer) { return matches(pattern, layer); };
  if (std::ranges::any_of(layers, fits)) return;
  refuse_pattern(
      pattern,
      layers.empty()
          ? "is a pattern of layers, and no layer has a name; call neap::name_layers(model) once"
          : "matches no layer that neap::name_layers() was told; the nearest is '" +
                detail::nearest_name(pattern, layers) + "'");
}

void add_new(std::vector<std::string>& names, const std::string& name) {
  if (std::ranges::find(names, name) == names.end()) names.push_back(name);
}

}  // namespace

CheckpointOptions CheckpointOptions::save_compute() {
  CheckpointOptions options;
  for (const char* const op :
       {"aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::addbmm", "aten::addmv",
        "aten::mv", "aten::dot", "aten::*convolution*", "aten::*conv_transpose*",
        "aten::slow_conv*", "aten::mkldnn_linear", "aten::_scaled_dot_product*"}) {
    options.rules.push_back({.op = op, .optional = true});
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
  for (const CheckpointRule& rule : options.rules) {
    matched_.push_back(rule.optional);
    if (rule.optional) continue;
    require_operator(rule.op);
    require_layer(rule.layer);
    ++unmatched_;
  }
  for (const auto& [pattern, weight] : options.importance) require_layer(pattern);
}

std::optional<CheckpointPolicy> Selection::decide(const engine::Made& made) {
  const std::string& op = made.traits.op.schema().name();
  const std::string layer(made.layer);
  if (unmatched_ > 0) see(op, layer);
  for (const CheckpointRule& rule : options_.rules) {
    if (matches(rule.op, op) && matches(rule.layer, layer)) return rule.policy;
  }
  if (!options_.policy) return std::nullopt;
  return options_.policy({.op = op,
                          .layer = made.layer,
                          .sizes = made.sizes,
                          .bytes = made.bytes,
                          .cost_ns = made.cost_ns});
}

// A rule also counts as matched when an earlier rule has already decided.
void Selection::see(const std::string& op, const std::string& layer) {
  add_new(ops_, op);
  if (!layer.empty()) add_new(layers_, layer);
  for (std::size_t i = 0; i < matched_.size(); ++i) {
    const CheckpointRule& rule = options_.rules[i];
    if (matched_[i] || !matches(rule.op, op) || !matches(rule.layer, layer)) continue;
    matched_[i] = true;
    --unmatched_;
  }
}

std::string Selection::unmatched() const {
  std::string text;
  // Nothing can be said about a region that made nothing.
  if (unmatched_ == 0 || ops_.empty()) return text;
  const std::string where = options_.name.empty() ? "a region" : "region '" + options_.name + "'";
  for (std::size_t i = 0; i < matched_.size(); ++i) {
    if (matched_[i]) continue;
    const CheckpointRule& rule = options_.rules[i];
    const auto none = [](const std::string& pattern, const std::vector<std::string>& names) {
      return std::ranges::none_of(names,
                                  [&](const std::string& one) { return matches(pattern, one); });
    };
    if (!text.empty()) text += '\n';
    text += where + ": the rule for ";
    if (rule.op != "*") text += "operator " + rule.op;
    if (rule.layer != "*") text += (rule.op != "*" ? " in layer " : "layer ") + rule.layer;
    text += " matched nothing; ";
    if (none(rule.op, ops_)) {
      text += "the nearest operator there is " + nearest_name(rule.op, ops_);
    } else if (layers_.empty()) {
      text += "what was made there belongs to no layer that neap::name_layers() was told";
    } else if (none(rule.layer, layers_)) {
      text += "the nearest layer there is " + nearest_name(rule.layer, layers_);
    } else {
      text += "both are there, not together";
    }
  }
  return text;
}

RuleNotes& RuleNotes::instance() {
  static RuleNotes notes;
  return notes;
}

void RuleNotes::add(const std::string& lines) {
  std::istringstream in(lines);
  constexpr std::size_t kMost = 32;
  for (std::string line; lines_.size() < kMost && std::getline(in, line);) add_new(lines_, line);
}

std::string RuleNotes::text() const {
  std::string text;
  for (const std::string& line : lines_) text += (text.empty() ? "" : "\n") + line;
  return text;
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

// The selector of keep_results(). It has no state, so one object serves all regions.
class KeepAll final : public engine::Selector {
 public:
  std::optional<CheckpointPolicy> decide(const engine::Made& /*made*/) override {
    return CheckpointPolicy::PreferSave;
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

// Inference mode saves nothing for a backward, so there is nothing to evict. It also puts the
// thread's dispatch keys back when it ends, so storages that were evicted inside would not be
// restored outside.
void Region::open(engine::Selector* selector, bool evicts, const std::string& name) {
  if (c10::InferenceMode::is_enabled()) return;
  engine::Engine& engine = policy::ready_engine();
  if (autoplan::PlannedSteps& planned = autoplan::PlannedSteps::instance();
      evicts && engine.owner_here() && planned.is_active()) {
    if (selector == nullptr) return;
    // No plan can know what a memory limit will choose when the region closes.
    if (selector->chooses()) planned.stop();
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
  if (selection_ && engine::Engine::instance().scopes() > 0) {
    RuleNotes::instance().add(selection_->unmatched());
  }
}

}  // namespace detail

at::Tensor set_checkpoint_policy(const at::Tensor& tensor, CheckpointPolicy policy) {
  policy::ready_engine().set_checkpoint_policy(tensor, policy);
  return tensor;
}

namespace detail {

void name_parameter(const at::Tensor& parameter, std::string_view name) {
  policy::ready_engine().name_parameter(parameter, name);
}

}  // namespace detail
}  // namespace neap
