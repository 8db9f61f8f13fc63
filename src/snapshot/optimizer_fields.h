// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// snapshot/optimizer_fields.h: the fields of LibTorch's optimizers by name. LibTorch itself writes
// them to archives only, which hold code.
#pragma once

#include <torch/torch.h>

#include <concepts>
#include <string>
#include <string_view>
#include <tuple>

namespace neap::snapshot {

// Calls visit(name, field) for each. A field is a double, a bool, an int64_t, a Tensor, or the pair
// of betas.
template <class Visit>
void each_field(torch::optim::SGDOptions& of, const Visit& visit) {
  visit("lr", of.lr());
  visit("momentum", of.momentum());
  visit("dampening", of.dampening());
  visit("weight_decay", of.weight_decay());
  visit("nesterov", of.nesterov());
}
template <class Visit>
void each_field(torch::optim::SGDParamState& of, const Visit& visit) {
  visit("momentum_buffer", of.momentum_buffer());
}

template <class T, class... Kinds>
concept OneOf = (std::same_as<T, Kinds> || ...);

template <OneOf<torch::optim::AdamOptions, torch::optim::AdamWOptions> Options, class Visit>
void each_field(Options& of, const Visit& visit) {
  visit("lr", of.lr());
  visit("betas", of.betas());
  visit("eps", of.eps());
  visit("weight_decay", of.weight_decay());
  visit("amsgrad", of.amsgrad());
}
template <OneOf<torch::optim::AdamParamState, torch::optim::AdamWParamState> State, class Visit>
void each_field(State& of, const Visit& visit) {
  visit("step", of.step());
  visit("exp_avg", of.exp_avg());
  visit("exp_avg_sq", of.exp_avg_sq());
  visit("max_exp_avg_sq", of.max_exp_avg_sq());
}

template <class Visit>
void each_field(torch::optim::RMSpropOptions& of, const Visit& visit) {
  visit("lr", of.lr());
  visit("alpha", of.alpha());
  visit("eps", of.eps());
  visit("weight_decay", of.weight_decay());
  visit("momentum", of.momentum());
  visit("centered", of.centered());
}
template <class Visit>
void each_field(torch::optim::RMSpropParamState& of, const Visit& visit) {
  visit("step", of.step());
  visit("square_avg", of.square_avg());
  visit("momentum_buffer", of.momentum_buffer());
  visit("grad_avg", of.grad_avg());
}

template <class Visit>
void each_field(torch::optim::AdagradOptions& of, const Visit& visit) {
  visit("lr", of.lr());
  visit("lr_decay", of.lr_decay());
  visit("weight_decay", of.weight_decay());
  visit("initial_accumulator_value", of.initial_accumulator_value());
  visit("eps", of.eps());
}
template <class Visit>
void each_field(torch::optim::AdagradParamState& of, const Visit& visit) {
  visit("step", of.step());
  visit("sum", of.sum());
}

// One kind of optimizer.
template <class OptionsOfKind, class StateOfKind>
struct Kind {
  using Options = OptionsOfKind;
  using State = StateOfKind;
  std::string_view name;
};

inline constexpr std::tuple kKinds{
    Kind<torch::optim::SGDOptions, torch::optim::SGDParamState>{"SGD"},
    Kind<torch::optim::AdamOptions, torch::optim::AdamParamState>{"Adam"},
    Kind<torch::optim::AdamWOptions, torch::optim::AdamWParamState>{"AdamW"},
    Kind<torch::optim::RMSpropOptions, torch::optim::RMSpropParamState>{"RMSprop"},
    Kind<torch::optim::AdagradOptions, torch::optim::AdagradParamState>{"Adagrad"}};

// Calls use(kind) with the kind for which fits(kind) is true. False: there is none.
template <class Fits, class Use>
bool with_kind(const Fits& fits, const Use& use) {
  const auto one = [&](const auto& kind) {
    if (!fits(kind)) return false;
    use(kind);
    return true;
  };
  return std::apply([&](const auto&... kind) { return (one(kind) || ...); }, kKinds);
}

// The same by the class of an object of LibTorch's: OptimizerOptions or OptimizerParamState.
template <class Use>
bool with_kind_of(const torch::optim::OptimizerOptions& options, const Use& use) {
  return with_kind(
      [&](const auto& kind) {
        using Options = typename std::decay_t<decltype(kind)>::Options;
        return dynamic_cast<const Options*>(&options) != nullptr;
      },
      use);
}
template <class Use>
bool with_kind_of(const torch::optim::OptimizerParamState& state, const Use& use) {
  return with_kind(
      [&](const auto& kind) {
        using State = typename std::decay_t<decltype(kind)>::State;
        return dynamic_cast<const State*>(&state) != nullptr;
      },
      use);
}

}  // namespace neap::snapshot
