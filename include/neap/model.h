// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/model.h: what a trainer takes: a model, a loss, and the micro-batches of a loader.
//
//   neap::train::Model model(neap::nn::ResNet(neap::nn::ResNetOptions{}));
//   for (neap::train::Pass pass(loader); auto batch = pass.next();) {
//     auto loss = neap::train::cross_entropy(model.forward(batch->x), batch->y);
//   }
//
// B: rows of a micro-batch. Threads: one at a time for each object.
#pragma once

#include <neap/base.h>

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

namespace neap::train {

// x: (B, ...), y: (B, ...). Returns a scalar, the mean over the rows.
using Loss = std::function<at::Tensor(const at::Tensor& x, const at::Tensor& y)>;
// output: (B, ...), of the model; target: (B, ...). Returns a scalar, the mean over the rows.
using Criterion = std::function<at::Tensor(const at::Tensor& output, const at::Tensor& target)>;
// LibTorch's own. output: (B, classes, ...); target: (B, ...) int64, or (B, classes, ...).
NEAP_EXPORT at::Tensor cross_entropy(const at::Tensor& output, const at::Tensor& target);

// A module, and how to call it.
class NEAP_EXPORT Model {
 public:
  // A module holder, as neap::nn::ResNet or torch::nn::Sequential, or a shared pointer to a module.
  // Its forward takes x and returns the output. The module is shared.
  template <class Module>
  requires requires(Module& module, const at::Tensor& x) {
    { module->forward(x) } -> std::convertible_to<at::Tensor>;
    static_cast<torch::nn::Module&>(*module);
  }
  Model(Module module)  // NOLINT(google-explicit-constructor): who takes a model takes a module
      : Model(held_by(module),
              [module](const at::Tensor& x) mutable -> at::Tensor { return module->forward(x); }) {}
  // A module without a holder, as one on the stack. It must outlive the model.
  template <std::derived_from<torch::nn::Module> Module>
  requires requires(Module& module, const at::Tensor& x) {
    { module.forward(x) } -> std::convertible_to<at::Tensor>;
  }
  Model(Module& module)  // NOLINT(google-explicit-constructor): as above
      : module_(&module),
        forward_([&module](const at::Tensor& x) -> at::Tensor { return module.forward(x); }) {}
  // `module` must outlive the model. Throws: InvalidArgument when `forward` is empty; the first
  // constructor, when the holder is.
  Model(torch::nn::Module& module, std::function<at::Tensor(const at::Tensor& x)> forward);

  [[nodiscard]] torch::nn::Module& module() const { return *module_; }
  [[nodiscard]] at::Tensor forward(const at::Tensor& x) const { return forward_(x); }

 private:
  template <class Module>
  static torch::nn::Module& held_by(Module& module) {
    if (!module) refuse_empty();
    return *module;
  }
  [[noreturn]] static void refuse_empty();

  torch::nn::Module* module_;
  std::function<at::Tensor(const at::Tensor&)> forward_;
};

// Evaluation mode while it lives. Modules may be in different modes, as one with frozen statistics,
// so each mode is restored. `module` must outlive it.
class NEAP_EXPORT EvaluationMode {
 public:
  explicit EvaluationMode(torch::nn::Module& module);
  EvaluationMode(const EvaluationMode&) = delete;
  EvaluationMode& operator=(const EvaluationMode&) = delete;
  ~EvaluationMode();

 private:
  std::vector<std::pair<torch::nn::Module*, bool>> modes_;
};

// Rows that go through the model at once.
struct MicroBatch {
  at::Tensor x;  // (B, ...)
  at::Tensor y;  // (B, ...)
};

namespace detail {
// Throws: InvalidArgument when there are not exactly two tensors.
NEAP_EXPORT MicroBatch both_of(const std::vector<at::Tensor>& tensors);
}  // namespace detail

// Converts an element of a loader to a micro-batch: anything that converts to one, a struct with x
// and y, one with data and target as torch::data::Example, one with two tensors as data::Batch, or
// a pair.
template <class Element>
MicroBatch micro_batch(const Element& element) {
  if constexpr (std::convertible_to<const Element&, MicroBatch>) {
    return element;
  } else if constexpr (requires { MicroBatch{element.x, element.y}; }) {
    return {element.x, element.y};
  } else if constexpr (requires { MicroBatch{element.data, element.target}; }) {
    return {element.data, element.target};
  } else if constexpr (requires { detail::both_of(element.tensors); }) {
    return detail::both_of(element.tensors);
  } else {
    static_assert(
        requires {
          MicroBatch{element.first, element.second};
        },
        "a loader's elements are pairs of tensors, have tensors x and y, data and target, or a "
        "list of two, or convert to neap::train::MicroBatch");
    return {element.first, element.second};
  }
}

template <class T>
concept Loader = requires(T& loader) {
  std::begin(loader) != std::end(loader);
  *std::begin(loader);
};

// One iteration over a loader. It remembers its position, begins when the first element is
// requested, and requests each element in its turn. The loader must outlive it.
class Pass {
 public:
  template <Loader Range>
  explicit Pass(Range& loader) : source_(std::make_unique<Elements<Range>>(loader)) {
    if constexpr (requires { loader.batches(); }) {
      size_ = static_cast<std::int64_t>(loader.batches());
    } else if constexpr (requires { std::size(loader); }) {
      size_ = static_cast<std::int64_t>(std::size(loader));
    }
  }
  // nullopt at the end. Throws: what the loader throws.
  std::optional<MicroBatch> next() { return source_->next(); }
  // Micro-batches of a whole pass; absent when the loader has neither batches() nor size().
  [[nodiscard]] std::optional<std::int64_t> size() const { return size_; }

 private:
  struct Source {
    Source() = default;
    Source(const Source&) = delete;
    Source& operator=(const Source&) = delete;
    virtual ~Source() = default;
    virtual std::optional<MicroBatch> next() = 0;
  };
  template <class Range>
  struct Elements final : Source {
    explicit Elements(Range& range) : loader(range) {}
    std::optional<MicroBatch> next() override {
      if (!at) {
        at.emplace(std::begin(loader));
      } else if (*at != std::end(loader)) {
        ++*at;  // not earlier: it may wait, and may drop the batch in use
      }
      return *at != std::end(loader) ? std::optional(micro_batch(**at)) : std::nullopt;
    }
    Range& loader;
    std::optional<decltype(std::begin(std::declval<Range&>()))> at;
  };

  std::unique_ptr<Source> source_;
  std::optional<std::int64_t> size_;
};

}  // namespace neap::train
