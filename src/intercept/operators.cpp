// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "intercept/operators.h"

#include "base/stable_hash.h"
#include "device/device.h"
#include "intercept/dispatch.h"

#include <neap/intercept.h>

#include <ATen/core/enum_tag.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>

namespace neap::intercept {
namespace {

using std::string_view;

// What neither schema nor tags say, each with its reason.
struct Exception {
  string_view name;  // without overload; a trailing * matches any rest
  enum class Kind { Opaque, View, Moves, Shares, Once, Empty, Unread, Overwrites, Scratch } kind;
  const char* reason;
};
using Kind = Exception::Kind;

constexpr std::array kExceptions = {
    Exception{"aten::resize_", Kind::Moves, "may put other memory below its argument"},
    Exception{"aten::resize_as_", Kind::Moves, "may put other memory below its argument"},
    Exception{"aten::_resize_output_", Kind::Moves, "may put other memory below its argument"},
    Exception{"aten::set_", Kind::View, "exchanges the storage, touches no data"},
    Exception{"aten::set_data", Kind::View, "exchanges the storage, touches no data"},
    Exception{"aten::_unsafe_view", Kind::View, "a view whose schema does not say so"},
    Exception{"aten::unsafe_split", Kind::View, "views whose schema does not say so"},
    Exception{"aten::unsafe_split_with_sizes", Kind::View, "views whose schema does not say so"},
    Exception{"aten::_lazy_clone", Kind::Shares, "shares its input's memory until one is written"},
    Exception{"aten::from_file", Kind::Opaque, "its memory is a file"},
    Exception{"aten::native_batch_norm", Kind::Once,
              "writes running statistics that its schema does not mark"},
    Exception{"aten::_native_batch_norm_legit", Kind::Once, "writes running statistics"},
    Exception{"aten::_batch_norm_with_update", Kind::Once, "writes running statistics"},
    Exception{"aten::batch_norm_update_stats", Kind::Once,
              "writes running statistics that its schema does not mark"},
    Exception{"aten::cudnn_batch_norm", Kind::Opaque, "writes running statistics"},
    Exception{"aten::miopen_batch_norm", Kind::Opaque, "writes running statistics"},
    Exception{"aten::batch_norm_gather_stats*", Kind::Opaque, "writes running statistics"},
    Exception{"aten::record_stream", Kind::Opaque, "talks to the allocator"},
    Exception{"aten::_fused_moving_avg_obs_fq_helper*", Kind::Opaque, "keeps state"},
    Exception{"aten::empty_like", Kind::Unread, "looks at the shape only"},
    Exception{"aten::zeros_like", Kind::Unread, "looks at the shape only"},
    Exception{"aten::ones_like", Kind::Unread, "looks at the shape only"},
    Exception{"aten::full_like", Kind::Unread, "looks at the shape only"},
    Exception{"aten::rand_like", Kind::Unread, "looks at the shape only"},
    Exception{"aten::randn_like", Kind::Unread, "looks at the shape only"},
    Exception{"aten::randint_like", Kind::Unread, "looks at the shape only"},
    Exception{"aten::new_empty*", Kind::Unread, "looks at dtype and device only"},
    Exception{"aten::new_zeros", Kind::Unread, "looks at dtype and device only"},
    Exception{"aten::new_ones", Kind::Unread, "looks at dtype and device only"},
    Exception{"aten::new_full", Kind::Unread, "looks at dtype and device only"},
    Exception{"aten::_ctc_loss", Kind::Scratch,
              "its last result has gaps where the targets differ in length"},
    Exception{"aten::mkldnn_rnn_layer", Kind::Scratch,
              "its last result is oneDNN's workspace, which has gaps"},
    Exception{"aten::fill_", Kind::Overwrites, "writes its argument whole"},
    Exception{"aten::zero_", Kind::Overwrites, "writes its argument whole"},
    Exception{"aten::copy_", Kind::Overwrites, "writes its argument whole"},
    Exception{"aten::bernoulli_", Kind::Overwrites, "writes its argument whole"},
    Exception{"aten::normal_", Kind::Overwrites, "writes its argument whole"},
    Exception{"aten::uniform_", Kind::Overwrites, "writes its argument whole"},
    Exception{"aten::random_", Kind::Overwrites, "writes its argument whole"},
    Exception{"aten::exponential_", Kind::Overwrites, "writes its argument whole"},
    Exception{"aten::geometric_", Kind::Overwrites, "writes its argument whole"},
    Exception{"aten::cauchy_", Kind::Overwrites, "writes its argument whole"},
    Exception{"aten::log_normal_", Kind::Overwrites, "writes its argument whole"},
};

bool matches(string_view pattern, string_view name) {
  return pattern.ends_with('*') ? name.starts_with(pattern.substr(0, pattern.size() - 1))
                                : name == pattern;
}

bool holds_tensors(const c10::Argument& argument) {
  const std::string type = argument.type()->str();
  return type.find("Tensor") != std::string::npos;
}

struct Registry final : c10::OpRegistrationListener {
  std::mutex mutex;
  std::unordered_map<const c10::FunctionSchema*, std::unique_ptr<OperatorTraits>> traits;
  std::vector<std::unique_ptr<OperatorTraits>> retired;  // a thread may still read them
  std::set<std::string, std::less<>> declared;
  std::atomic<std::uint64_t> epoch{1};
  std::optional<c10::RegistrationHandleRAII> listening;

  void onOperatorRegistered(const c10::OperatorHandle& /*op*/) override {}
  // Called when a library is unloaded, or an operator defined anew. The address of its schema may
  // be used again.
  void onOperatorDeregistered(const c10::OperatorHandle& op) override {
    const std::lock_guard lock(mutex);
    const auto found = traits.find(op.hasSchema() ? &op.schema() : nullptr);
    if (found == traits.end()) return;
    retired.push_back(std::move(found->second));
    traits.erase(found);
    epoch.fetch_add(1, std::memory_order_release);
  }
};

Registry& registry() {
  static auto* const instance = [] {
    auto* const made = new Registry;  // leaked: operators still run while the process ends
    made->listening.emplace(c10::Dispatcher::singleton().addRegistrationListener(
        std::unique_ptr<c10::OpRegistrationListener>(made)));
    return made;
  }();
  return *instance;
}

void apply_exceptions(OperatorTraits& traits, string_view name) {
  for (const Exception& exception : kExceptions) {
    if (!matches(exception.name, name)) continue;
    traits.reason = exception.reason;
    switch (exception.kind) {
      case Kind::Opaque:
        traits.replayable = false;
        break;
      case Kind::View:
        traits.view = traits.view || !traits.overwrites;  // not the variant that writes into `out`
        break;
      case Kind::Moves:
        traits.view = false;
        traits.replayable = false;
        break;
      case Kind::Shares:  // later owners and writers of the memory cannot be seen
        traits.writes |= 1;
        traits.replayable = false;
        break;
      case Kind::Once: {
        const auto& arguments = traits.op.schema().arguments();
        for (std::size_t i = 0; i < arguments.size(); ++i) {
          if (arguments[i].name() == "running_mean" || arguments[i].name() == "running_var") {
            traits.once |= std::uint64_t{1} << i;
          }
        }
        traits.writes &= ~traits.once;
        break;
      }
      case Kind::Unread:
        traits.unread |= 1;
        break;
      case Kind::Overwrites:
        traits.overwrites = true;
        break;
      case Kind::Scratch:
        traits.scratch |= std::uint64_t{1} << (traits.op.schema().returns().size() - 1);
        break;
      case Kind::Empty:
        traits.empty = true;
        break;
    }
  }
}

// std::hash may differ between processes, and plans are kept on disk.
std::uint64_t hash_of(const c10::OperatorName& name) {
  const std::string whole = name.name + '.' + name.overload_name;
  return stable_hash(whole.data(), whole.size());
}

OperatorTraits derive(const c10::OperatorHandle& op, bool declared) {
  OperatorTraits traits{op};
  traits.name_hash = hash_of(op.operator_name());
  const c10::FunctionSchema& schema = op.schema();
  const string_view name = schema.name();
  const auto& arguments = schema.arguments();
  traits.arguments = static_cast<std::uint32_t>(arguments.size());
  const bool own = name.starts_with("aten::");
  if (arguments.size() > 64) {
    traits.reason = "more than 64 arguments";
    return traits;
  }

  bool reads_tensors = false;
  bool takes_generator = false;
  bool out = false;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const c10::AliasInfo* const alias = arguments[i].alias_info();
    if (alias != nullptr && alias->isWrite()) {
      traits.writes |= std::uint64_t{1} << i;
      out = out || arguments[i].is_out();
    } else if (holds_tensors(arguments[i])) {
      reads_tensors = true;
    }
    takes_generator =
        takes_generator || arguments[i].type()->str().find("Generator") != std::string::npos;
  }
  bool aliases = false;
  for (const c10::Argument& result : schema.returns()) {
    aliases = aliases || (result.alias_info() != nullptr && !result.alias_info()->isWrite());
  }

  traits.pointwise = own && op.hasTag(at::Tag::pointwise);
  traits.random = takes_generator || op.hasTag(at::Tag::nondeterministic_seeded);
  // LibTorch's composite kernels only call operators; those of a program may keep state.
  traits.decompose = own &&
                     op.hasKernelForDispatchKey(c10::DispatchKey::CompositeImplicitAutograd) &&
                     !op.hasKernelForDispatchKey(device::tracked().key()) &&
                     !op.hasKernelForDispatchKey(c10::DispatchKey::CompositeExplicitAutograd);
  traits.view = (own && aliases && traits.writes == 0) || op.hasTag(at::Tag::inplace_view);
  traits.empty = own && (name.starts_with("aten::empty") || name.starts_with("aten::new_empty") ||
                         name.starts_with("aten::_empty"));
  traits.factory = !reads_tensors && traits.writes == 0;
  traits.overwrites = own && out;
  traits.replayable = own || declared;
  if (!traits.replayable) {
    traits.reason =
        "not known to be replayable; if it only reads its inputs and keeps no state, "
        "neap::declare_replayable";
  }
  if (own) apply_exceptions(traits, name);
  if (traits.unread != 0) traits.factory = true;  // ones_like, rand_like and similar
  traits.zeros = name == "aten::zeros" || name == "aten::zeros_like" || name == "aten::new_zeros";
  return traits;
}

// Recent operators of this thread, by the address of their schema.
struct Recent {
  static constexpr std::size_t kSlots = 512;
  std::uint64_t epoch = 0;
  std::array<std::pair<const c10::FunctionSchema*, const OperatorTraits*>, kSlots> slots{};
};
thread_local Recent recent;

const OperatorTraits& look_up(const c10::OperatorHandle& op) {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  auto& entry = all.traits[&op.schema()];
  if (!entry) {
    const bool declared = all.declared.contains(op.schema().name());
    entry = std::make_unique<OperatorTraits>(derive(op, declared));
  }
  return *entry;
}

}  // namespace

const OperatorTraits& traits_of(const c10::OperatorHandle& op) {
  static Registry& all = registry();
  const std::uint64_t epoch = all.epoch.load(std::memory_order_acquire);
  if (recent.epoch != epoch) {
    recent = Recent{};
    recent.epoch = epoch;
  }
  const c10::FunctionSchema* const schema = &op.schema();
  auto& slot = recent.slots[(reinterpret_cast<std::uintptr_t>(schema) >> 6) % Recent::kSlots];
  if (slot.first != schema) slot = {schema, &look_up(op)};
  return *slot.second;
}

bool any_operator(const std::function<bool(const std::string& name)>& accepts, bool composite) {
  c10::Dispatcher& dispatcher = c10::Dispatcher::singleton();
  return std::ranges::any_of(dispatcher.getAllOpNames(), [&](const c10::OperatorName& name) {
    // A program calls aten::linear; how aten::linear.out is implemented does not matter.
    if (!name.overload_name.empty() && dispatcher.findOp({name.name, ""})) return false;
    if (!accepts(name.name)) return false;
    const auto op = dispatcher.findOp(name);
    return op && op->hasSchema() && traits_of(*op).decompose == composite;
  });
}

void declare_replayable(string_view name) {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  all.declared.emplace(name);
  for (auto it = all.traits.begin(); it != all.traits.end();) {
    if (it->second->op.schema().name() == name) {
      all.retired.push_back(std::move(it->second));
      it = all.traits.erase(it);
    } else {
      ++it;
    }
  }
  all.epoch.fetch_add(1, std::memory_order_release);
}

bool updates_once(const OperatorTraits& traits, c10::ArrayRef<c10::IValue> arguments) {
  if (traits.once == 0) return false;
  const auto& schema = traits.op.schema().arguments();
  for (std::size_t i = 0; i < schema.size(); ++i) {
    if (schema[i].name() == "training" || schema[i].name() == "train") {
      return arguments[i].isBool() && arguments[i].toBool();
    }
  }
  return true;  // an operator that always updates
}

}  // namespace neap::intercept

namespace neap {

void declare_replayable(std::string_view name) {
  if (name.find("::") == std::string_view::npos) {
    throw InvalidArgument("declare_replayable(\"" + std::string(name) +
                          "\"): expected namespace::name, as \"my_ops::gate\"");
  }
  intercept::declare_replayable(name);
  intercept::ensure_registered();  // it may have been defined just now, inside a scope
}

std::vector<OperatorRule> operator_rules() {
  std::vector<OperatorRule> rules;
  for (const c10::OperatorName& name : c10::Dispatcher::singleton().getAllOpNames()) {
    const auto op = c10::Dispatcher::singleton().findOp(name);
    if (!op || !op->hasSchema()) continue;
    const intercept::OperatorTraits& traits = intercept::traits_of(*op);
    rules.push_back({c10::toString(name), traits.replayable, traits.random, traits.view,
                     traits.decompose, traits.reason});
  }
  std::ranges::sort(rules, {}, &OperatorRule::name);
  return rules;
}

}  // namespace neap
