// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/checkpoint.h: marks regions whose insides are evicted and recomputed.
//
//   y = neap::checkpoint([&](torch::Tensor in) { return model->forward(in); }, x);
//   y = neap::checkpoint(layer, x);
//   y = neap::checkpoint_sequential(layers, 4, x);
//
// Guarantees: the results have the bits of plain LibTorch, and no code of the program runs twice.
// Works with a budget (neap/scope.h) and without one. Threads: one thread at a time can have scopes
// or regions open; another thread gets ScopeConflict.
#pragma once

#include <neap/call.h>
#include <neap/engine.h>
#include <neap/scope.h>
#include <neap/selection.h>
#include <neap/trace.h>

#include <ATen/core/Tensor.h>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace neap {

namespace engine {
class Selector;
}

namespace detail {

class Selection;

// A region. When it closes, what was made in it is evicted (Kind::Evicts) or stays (Kind::Keeps).
// checkpoint() and keep_results() use it.
class NEAP_EXPORT Region {
 public:
  enum class Kind { Evicts, Keeps };
  explicit Region(Kind kind = Kind::Evicts);
  // Throws: InvalidArgument for a memory limit below 0, for two memory limits, for importance
  // without a memory limit, for a weight that is negative or not finite, and for a pattern that
  // cannot match anything.
  explicit Region(const CheckpointOptions& options);
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;
  ~Region();  // if it was not closed: nothing is evicted
  void keep(const at::Tensor& output);
  void close();

 private:
  void open(engine::Selector* selector, bool evicts, const std::string& name);

  std::unique_ptr<Selection> selection_;
  bool open_ = false;
};

inline void keep_tensors(Region& region, const at::Tensor& value) { region.keep(value); }
template <class T>
requires requires(const T& value) {
  std::begin(value);
  std::end(value);
}
void keep_tensors(Region& region, const T& values);
template <class... Ts>
void keep_tensors(Region& region, const std::tuple<Ts...>& values);
template <class A, class B>
void keep_tensors(Region& region, const std::pair<A, B>& values);
template <class T>
void keep_tensors(Region& region, const std::optional<T>& value);
template <class T>
requires(!std::convertible_to<const T&, const at::Tensor&> && !requires(const T& value) {
  std::begin(value);
}) void keep_tensors(Region& /*region*/, const T& /*value*/) {}

template <class T>
requires requires(const T& value) {
  std::begin(value);
  std::end(value);
}
void keep_tensors(Region& region, const T& values) {
  if constexpr (!std::is_arithmetic_v<std::remove_cvref_t<decltype(*std::begin(values))>> &&
                !std::is_same_v<std::remove_cvref_t<decltype(*std::begin(values))>, T>) {
    for (const auto& value : values) keep_tensors(region, value);
  }
}
template <class... Ts>
void keep_tensors(Region& region, const std::tuple<Ts...>& values) {
  std::apply([&](const Ts&... value) { (keep_tensors(region, value), ...); }, values);
}
template <class A, class B>
void keep_tensors(Region& region, const std::pair<A, B>& values) {
  keep_tensors(region, values.first);
  keep_tensors(region, values.second);
}
template <class T>
void keep_tensors(Region& region, const std::optional<T>& value) {
  if (value) keep_tensors(region, *value);
}

template <class F, class... Args>
decltype(auto) run_in(Region& region, F&& fn, Args&&... args) {
  // Qualified, because the arguments' namespaces may have a call() of their own.
  if constexpr (std::is_void_v<decltype(detail::call(std::forward<F>(fn),
                                                     std::forward<Args>(args)...))>) {
    detail::call(std::forward<F>(fn), std::forward<Args>(args)...);
    region.close();
  } else {
    decltype(auto) result = detail::call(std::forward<F>(fn), std::forward<Args>(args)...);
    keep_tensors(region, result);
    region.close();
    return result;
  }
}

}  // namespace detail

// Runs fn(args...) and returns its result.
//
// `fn` is a function, a lambda or, as in Python, a module: its holder, the module itself, a pointer
// to it, a torch::nn::Sequential, a torch::nn::AnyModule, or an element of a torch::nn::ModuleList
// (see neap/call.h). `fn` runs once.
//
// What fn made and autograd saved is evicted when fn returns. When the backward needs it, its
// operators are replayed. Each runs at most once per backward, unless a budget evicts the result
// again. Tensors in the result of fn stay in memory, also inside containers, tuples, pairs and
// optionals. A tensor inside a class of the program is restored when an operator reads it.
//
// Only calls fn in inference mode, because nothing is saved there. Also only calls fn in a scope
// with a budget and plans, where the plan decides what is evicted: see Planned.
//
// Cost: a few microseconds and one record per operator.
// Throws: what fn throws; ScopeConflict when another thread has a scope or a region open;
// InvalidArgument for an element of a ModuleList whose forward() cannot be called without its type.
template <class F, class... Args>
decltype(auto) checkpoint(F&& fn, Args&&... args) {
  detail::Region region;
  return detail::run_in(region, std::forward<F>(fn), std::forward<Args>(args)...);
}

// Like checkpoint(), and the options choose what stays: see neap/selection.h. Without options it is
// checkpoint(). Throws: as checkpoint(). Also throws InvalidArgument for options that contradict
// each other, and for a pattern that matches no operator that is seen below autograd, or no layer
// that name_layers() was told.
template <class F, class... Args>
decltype(auto) custom_checkpoint(const CheckpointOptions& options, F&& fn, Args&&... args) {
  detail::Region region(options);
  return detail::run_in(region, std::forward<F>(fn), std::forward<Args>(args)...);
}
template <class F, class... Args>
requires(!std::convertible_to<F, const CheckpointOptions&>) decltype(auto)
    custom_checkpoint(F&& fn, Args&&... args) {
  return checkpoint(std::forward<F>(fn), std::forward<Args>(args)...);
}

// For use inside a checkpoint(): runs fn() and returns its result. The results of fn's operators
// stay when the region closes, as if a rule said PreferSave for all of them. The rest of the region
// is replayed from them. Outside of a region it only calls fn.
//
//   y = neap::checkpoint([&](torch::Tensor in) {
//     auto q = neap::keep_results([&] { return attention->forward(in); });
//     return feed_forward->forward(q);
//   }, x);
template <class F>
std::invoke_result_t<F> keep_results(F&& fn) {
  detail::Region region(detail::Region::Kind::Keeps);
  return std::invoke(std::forward<F>(fn));
}
template <class F>
[[deprecated("it is neap::keep_results() now")]] std::invoke_result_t<F> keep(F&& fn) {
  return keep_results(std::forward<F>(fn));
}

// Splits a torch::nn::Sequential (or a ModuleList, or any sized range of what checkpoint() takes)
// into `segments` runs of layers. Their sizes differ by one at most, longer runs first. Checkpoints
// each run except the last, because the backward needs the inside of the last one at once. Throws:
// InvalidArgument when segments is not in [1, number of layers].
template <class Sequential>
at::Tensor checkpoint_sequential(Sequential& sequential, std::int64_t segments, at::Tensor x,
                                 const CheckpointOptions& options = {});

namespace detail {
// Returns [begin, end) of segment `index`. Sizes differ by one at most.
NEAP_EXPORT std::pair<std::int64_t, std::int64_t> segment_bounds(std::int64_t layers,
                                                                 std::int64_t segments,
                                                                 std::int64_t index);

// Runs the layers in segments and checkpoints each segment except the last. `ends` has, for each
// segment, the index after its last layer. REQUIRES: `ends` rises, and ends at the number of
// layers.
template <class Layers>
at::Tensor run_segments(Layers& layers, const std::vector<std::int64_t>& ends, at::Tensor x,
                        const CheckpointOptions& options = {}) {
  std::int64_t begin = 0;
  for (const std::int64_t end : ends) {
    const auto run = [&](at::Tensor value) {
      for (auto it = std::next(layers.begin(), begin); it != std::next(layers.begin(), end); ++it) {
        value = detail::call(*it, value);
      }
      return value;
    };
    x = end != ends.back() ? custom_checkpoint(options, run, x) : run(x);
    begin = end;
  }
  return x;
}
}  // namespace detail

template <class Sequential>
at::Tensor checkpoint_sequential(Sequential& sequential, std::int64_t segments, at::Tensor x,
                                 const CheckpointOptions& options) {
  auto& layers = detail::pointee(sequential);
  const auto count = static_cast<std::int64_t>(layers.size());
  std::vector<std::int64_t> ends;
  for (std::int64_t segment = 0; segment < segments || segment == 0; ++segment) {
    ends.push_back(detail::segment_bounds(count, segments, segment).second);
  }
  return detail::run_segments(layers, ends, std::move(x), options);
}

}  // namespace neap
