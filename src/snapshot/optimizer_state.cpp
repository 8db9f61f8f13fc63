// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "snapshot/optimizer_state.h"

#include "snapshot/optimizer_fields.h"

#include <algorithm>

namespace neap::snapshot {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using safetensors::File;

template <class Options>
json json_of(Options options) {
  json out = json::object();
  each_field(options, [&](const char* name, const auto& value) { out[name] = value; });
  return out;
}

[[noreturn]] void refuse_optimizer() {
  throw InvalidArgument(
      "the optimizer's state cannot be saved or loaded: it is none of SGD, Adam, AdamW, RMSprop "
      "and Adagrad; use one of these");
}

std::vector<std::string> parameters_of(const torch::optim::OptimizerParamGroup& group,
                                       const Names& names) {
  std::vector<std::string> parameters;
  for (const at::Tensor& parameter : group.params()) {
    const auto found = names.find(parameter.unsafeGetTensorImpl());
    if (found == names.end()) {
      throw InvalidArgument(
          "the optimizer has a parameter that is none of the model's, so it has no name in a "
          "snapshot; save them with a module that has all parameters");
    }
    parameters.push_back(found->second);
  }
  return parameters;
}

void record_groups(Record& record, const torch::optim::Optimizer& optimizer, const Names& names) {
  for (const torch::optim::OptimizerParamGroup& group : optimizer.param_groups()) {
    GroupRecord& saved = record.groups.emplace_back();
    saved.parameters = parameters_of(group, names);
    const bool known = with_kind_of(group.options(), [&](const auto& kind) {
      using Options = typename std::decay_t<decltype(kind)>::Options;
      record.optimizer = kind.name;
      saved.options = json_of(static_cast<const Options&>(group.options()));
    });
    if (!known) refuse_optimizer();
  }
}

void record_state(Record& record, Named& tensors, const std::string& parameter,
                  const torch::optim::OptimizerParamState& state) {
  const bool known = with_kind_of(state, [&](const auto& kind) {
    using State = typename std::decay_t<decltype(kind)>::State;
    State copy = static_cast<const State&>(state);  // its tensors are the same
    each_field(copy, [&](const char* field, const auto& value) {
      if constexpr (std::is_same_v<std::decay_t<decltype(value)>, at::Tensor>) {
        if (value.defined()) tensors.emplace_back(name_of(field, parameter), value);
      } else {
        record.numbers[parameter][field] = value;
      }
    });
  });
  if (!known) refuse_optimizer();
}

void check_groups(const fs::path& file, const Record& record,
                  const torch::optim::Optimizer& optimizer, const Names& names) {
  Record here;
  record_groups(here, optimizer, names);
  if (here.optimizer != record.optimizer) {
    refuse(file, "it is of " + record.optimizer + ", and the optimizer is " + here.optimizer);
  }
  if (!std::ranges::equal(here.groups, record.groups, {}, &GroupRecord::parameters,
                          &GroupRecord::parameters)) {
    refuse(file, "the optimizer's groups have other parameters");
  }
}

template <class State>
std::unique_ptr<torch::optim::OptimizerParamState> state_of(const Record& record, const File& file,
                                                            const std::string& parameter,
                                                            const at::Tensor& like) {
  auto state = std::make_unique<State>();
  const auto numbers = record.numbers.find(parameter);
  bool any = false;
  each_field(*state, [&](const char* field, auto& value) {
    if constexpr (std::is_same_v<std::decay_t<decltype(value)>, at::Tensor>) {
      const File::Entry* const entry = file.find(name_of(field, parameter));
      if (entry == nullptr) return;
      value = read_like(file, *entry, like);
      any = true;
    } else if (numbers != record.numbers.end() && numbers->second.contains(field)) {
      value = numbers->second.at(field);
      any = true;
    }
  });
  return any ? std::move(state) : nullptr;
}

template <class Options>
std::unique_ptr<torch::optim::OptimizerOptions> options_of(const fs::path& file, const json& saved,
                                                           const Options& now) {
  auto options = std::make_unique<Options>(now);
  try {
    each_field(*options, [&](const char* name, auto& value) {
      value = saved.at(name).template get<std::decay_t<decltype(value)>>();
    });
  } catch (const json::exception& wrong) {
    throw Error(file.string() + ": the optimizer's options: " + wrong.what() +
                "; take an older snapshot");
  }
  return options;
}

}  // namespace

std::string name_of(const std::string& field, const std::string& parameter) {
  return field + '.' + parameter;
}

void record_optimizer(Record& record, Named& tensors, const torch::optim::Optimizer& optimizer,
                      const Names& names) {
  record_groups(record, optimizer, names);
  // In the order of the groups, because the map of the state has none.
  for (const torch::optim::OptimizerParamGroup& group : optimizer.param_groups()) {
    for (const at::Tensor& parameter : group.params()) {
      const auto found = optimizer.state().find(parameter.unsafeGetTensorImpl());
      if (found == optimizer.state().end()) continue;
      record_state(record, tensors, names.at(parameter.unsafeGetTensorImpl()), *found->second);
    }
  }
}

LoadedState read_optimizer(const Record& record, const File& file,
                           const torch::optim::Optimizer& optimizer, const Names& names) {
  const fs::path record_file = file.path().parent_path() / kRecordFile;
  check_groups(record_file, record, optimizer, names);
  LoadedState loaded;
  for (std::size_t i = 0; i < record.groups.size(); ++i) {
    const torch::optim::OptimizerParamGroup& group = optimizer.param_groups()[i];
    with_kind_of(group.options(), [&](const auto& kind) {
      using Kind = std::decay_t<decltype(kind)>;
      const auto& now = static_cast<const typename Kind::Options&>(group.options());
      loaded.options_.push_back(options_of(record_file, record.groups[i].options, now));
      for (const at::Tensor& parameter : group.params()) {
        void* const key = parameter.unsafeGetTensorImpl();
        auto state = state_of<typename Kind::State>(record, file, names.at(key), parameter);
        if (state) loaded.states_.emplace_back(key, std::move(state));
      }
    });
  }
  return loaded;
}

void LoadedState::put_into(torch::optim::Optimizer& optimizer) && {
  optimizer.state().clear();
  for (auto& [key, state] : states_) optimizer.state()[key] = std::move(state);
  for (std::size_t i = 0; i < options_.size(); ++i) {
    optimizer.param_groups()[i].set_options(std::move(options_[i]));
  }
}

}  // namespace neap::snapshot
