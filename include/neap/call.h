// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/call.h: how checkpoint() and similar functions call their argument. As in Python, an object
// with a forward() is called through it.
//
//   torch::nn::Sequential segment(torch::nn::Linear(8, 8), torch::nn::ReLU());
//   at::Tensor y = neap::detail::call(segment, x);  // also a module, a pointer to one, a lambda
//
// Users meet it through neap::checkpoint(). Includes nothing of torch/nn: it recognizes a module by
// its members.
// Threads: those of the function that is called. Cost: none above the call itself; a type look-up
// for an element of a ModuleList.
#pragma once

#include <neap/base.h>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <type_traits>
#include <utility>

namespace torch::nn {
class Module;
}

namespace neap::detail {

// Calls forward(x) of a module that is known by its base class only, as an element of a
// torch::nn::ModuleList. Works for a Sequential, and for LibTorch's own modules that take one
// tensor.
// Throws: InvalidArgument for null, and for a module of another type (with that type), because
// forward() is not virtual.
NEAP_EXPORT at::Tensor call_by_type(torch::nn::Module* module, const at::Tensor& x);

template <class T>
concept IsModule = requires(const T& module) {
  module.named_parameters();
  module.is_training();
};
// torch::nn::AnyModule
template <class T>
concept IsAnyModule = requires(const T& module) {
  module.type_info();
  module.is_empty();
  module.ptr();
};

// Dereferences a holder or a pointer; returns anything else unchanged. A const holder, as in a
// lambda that captured it by value, still leads to a module that can change.
template <class F>
auto& pointee(F& fn) {
  if constexpr (requires {
                  fn.operator->();
                  *fn.ptr();
                }) {
    return *fn.ptr();
  } else if constexpr (requires { *fn; }) {
    if constexpr (std::is_class_v<std::remove_cvref_t<decltype(*fn)>>) {
      return *fn;
    } else {
      return fn;
    }
  } else {
    return fn;
  }
}

template <class F, class... Args>
concept HasForward = requires(F& fn, Args&&... args) {
  fn.forward(std::forward<Args>(args)...);
};

enum class CallKind : std::uint8_t {
  Function,  // lambdas, functions, member pointers, objects with operator()
  Forward,   // forward() of `fn`, or of what it points to
  AnyModule,
  ByType,  // a torch::nn::Module whose derived type is unknown
  Nothing,
};

template <class F, class... Args>
constexpr CallKind call_kind() {
  using Object = std::remove_reference_t<F>;
  using Target = std::remove_reference_t<decltype(pointee(std::declval<Object&>()))>;
  constexpr bool kIsHeld = !std::is_same_v<std::remove_cv_t<Target>, std::remove_cv_t<Object>>;
  if constexpr (std::is_same_v<std::remove_cv_t<Target>, torch::nn::Module>) {
    return std::is_same_v<void(std::remove_cvref_t<Args>...), void(at::Tensor)> ? CallKind::ByType
                                                                                : CallKind::Nothing;
  } else if constexpr (IsModule<Target> && (kIsHeld || HasForward<Target, Args...>)) {
    // A holder's operator() accepts any arguments by its signature, and returns void for a
    // forward() that is a template. So it decides nothing.
    return HasForward<Target, Args...> ? CallKind::Forward : CallKind::Nothing;
  } else if constexpr (IsAnyModule<Object>) {
    return CallKind::AnyModule;
  } else if constexpr (std::is_invocable_v<F, Args...>) {
    return CallKind::Function;
  } else {
    return HasForward<Target, Args...> ? CallKind::Forward : CallKind::Nothing;
  }
}

template <class F, class... Args>
decltype(auto) call(F&& fn, Args&&... args) {
  constexpr CallKind kKind = call_kind<F, Args...>();
  static_assert(
      kKind != CallKind::Nothing,
      "neap cannot call this with these arguments. It calls functions and lambdas; modules with a "
      "forward() that takes the arguments, their holders, pointers to them, torch::nn::Sequential "
      "and torch::nn::AnyModule; an element of a torch::nn::ModuleList with one tensor. It calls "
      "no list of layers: give it the elements one by one, or all to "
      "neap::checkpoint_sequential().");
  if constexpr (kKind == CallKind::Function) {
    return std::invoke(std::forward<F>(fn), std::forward<Args>(args)...);
  } else if constexpr (kKind == CallKind::Forward) {
    return pointee(fn).forward(std::forward<Args>(args)...);
  } else if constexpr (kKind == CallKind::AnyModule) {
    if constexpr (std::is_const_v<std::remove_reference_t<F>>) {
      std::remove_cvref_t<F> module(fn);  // the copy shares the module; forward() is not const
      return module.forward(std::forward<Args>(args)...);
    } else {
      return fn.forward(std::forward<Args>(args)...);
    }
  } else if constexpr (kKind == CallKind::ByType) {
    if constexpr (requires { fn.get(); }) {
      return call_by_type(fn.get(), std::forward<Args>(args)...);  // may be null
    } else {
      return call_by_type(&pointee(fn), std::forward<Args>(args)...);
    }
  } else {
    return at::Tensor();  // keeps the static_assert the only error of the compiler
  }
}

}  // namespace neap::detail
