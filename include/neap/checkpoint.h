// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/checkpoint.h: train inside a budget, or mark the regions whose inside is made again.
//
//   neap::install();
//   neap::Options options;
//   options.budget = neap::Bytes::parse("1.5 GiB");
//   {
//     neap::Scope scope(options);
//     auto loss = loss_of(model->forward(x), y);
//     loss.backward();
//     optimizer.step();
//   }
//
// Guarantees: the bits of plain LibTorch; no code of the program runs twice; with a budget, the bytes
// that LibTorch holds never pass it. Units: bytes. Threads: a scope belongs to the thread that opened it, and one
// thread at a time can have scopes or regions; another one gets ScopeConflict.
#pragma once

#include <neap/engine.h>
#include <neap/memory.h>

#include <ATen/core/Tensor.h>

#include <concepts>
#include <cstddef>
#include <iterator>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace neap {

struct Options {
  // The most that LibTorch may hold, in bytes, cached blocks included. Absent: no limit; nothing is evicted
  // but the insides of checkpoint() regions.
  std::optional<Bytes> budget = {};
};

// While it is open, the thread's operators are recorded, and storages are evicted and replayed so that the
// budget holds. Cost to open: a few microseconds. Scopes nest when the inner one names no budget or the same.
class NEAP_EXPORT Scope {
 public:
  // Throws: ScopeConflict (another thread has a scope, or another budget is set); BudgetExceeded when more
  // is in use already than the budget allows; Error when install() was not called.
  explicit Scope(const Options& options = {});
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;
  // As end(). When an exception is under way nothing is thrown, and what does not fit stays evicted: each
  // access to it throws.
  ~Scope() noexcept(false);

  // Brings everything back that the program still holds, then stops recording. Idempotent.
  // Throws: BudgetExceeded when it does not fit; the scope stays open then, so the program can release
  // tensors and call it again.
  void end();

  [[nodiscard]] Stats stats() const;

 private:
  void close(bool completed);

  bool open_ = false;
  int exceptions_ = 0;
  Stats base_;  // when it was opened
  Stats last_;  // when it ended
};

namespace detail {

// A region whose inside is evicted when it closes. Used through checkpoint().
class NEAP_EXPORT Region {
 public:
  Region();
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;
  ~Region();  // abandons: nothing is evicted
  void keep(const at::Tensor& output);
  void close();

 private:
  std::size_t start_ = 0;
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

}  // namespace detail

// Runs fn(args...) and returns what it returns. What fn made inside and autograd saved is evicted, and
// brought back by replaying operators when the backward asks for it; each operator at most once a backward, unless a
// budget evicts it again. fn itself runs once. Tensors in the result, also inside containers, tuples, pairs and
// optionals, stay resident; a tensor inside a class of the program comes back when an operator reads it. In inference mode
// it only calls fn: nothing is saved there.
// Cost: a few microseconds and one record an operator.
// Throws: what fn throws; ScopeConflict when another thread has a scope or a region open.
template <class F, class... Args>
std::invoke_result_t<F, Args...> checkpoint(F&& fn, Args&&... args) {
  detail::Region region;
  if constexpr (std::is_void_v<std::invoke_result_t<F, Args...>>) {
    std::invoke(std::forward<F>(fn), std::forward<Args>(args)...);
    region.close();
  } else {
    decltype(auto) result = std::invoke(std::forward<F>(fn), std::forward<Args>(args)...);
    detail::keep_tensors(region, result);
    region.close();
    return result;
  }
}

// Splits a torch::nn::Sequential (or any sized range of callables or modules) into `segments` runs of
// layers whose sizes differ by one at most, longer ones first, and checkpoints each but the last, whose inside the
// backward needs at once.
// Throws: InvalidArgument when segments is not in [1, number of layers].
template <class Sequential>
at::Tensor checkpoint_sequential(Sequential& sequential, std::int64_t segments, at::Tensor x);

namespace detail {
// [begin, end) of segment `index`; sizes differ by one at most.
NEAP_EXPORT std::pair<std::int64_t, std::int64_t> segment_bounds(std::int64_t layers,
                                                                 std::int64_t segments,
                                                                 std::int64_t index);

template <class Layer>
at::Tensor run_layer(Layer& layer, const at::Tensor& x) {
  if constexpr (requires { layer.template forward<at::Tensor>(x); }) {
    return layer.template forward<at::Tensor>(x);  // torch::nn::AnyModule
  } else if constexpr (requires { layer->forward(x); }) {
    return layer->forward(x);
  } else {
    return layer(x);
  }
}

template <class Layers>
decltype(auto) layers_of(Layers& layers) {
  if constexpr (requires {
                  layers->begin();
                  layers->size();
                }) {
    return *layers;  // a module holder
  } else {
    return (layers);
  }
}

// Runs the layers in segments, each up to the layer before its end, and checkpoints each but the last.
// REQUIRES: ends rise, and the last is the number of layers.
template <class Layers>
at::Tensor run_segments(Layers& layers, const std::vector<std::int64_t>& ends, at::Tensor x) {
  std::int64_t begin = 0;
  for (const std::int64_t end : ends) {
    const auto run = [&](at::Tensor value) {
      for (auto it = std::next(layers.begin(), begin); it != std::next(layers.begin(), end); ++it) {
        value = run_layer(*it, value);
      }
      return value;
    };
    x = end != ends.back() ? checkpoint(run, x) : run(x);
    begin = end;
  }
  return x;
}
}  // namespace detail

template <class Sequential>
at::Tensor checkpoint_sequential(Sequential& sequential, std::int64_t segments, at::Tensor x) {
  auto& layers = detail::layers_of(sequential);
  const auto count = static_cast<std::int64_t>(layers.size());
  std::vector<std::int64_t> ends;
  for (std::int64_t segment = 0; segment < segments || segment == 0; ++segment) {
    ends.push_back(detail::segment_bounds(count, segments, segment).second);
  }
  return detail::run_segments(layers, ends, std::move(x));
}

}  // namespace neap
