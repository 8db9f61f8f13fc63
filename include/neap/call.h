// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/call.h: how checkpoint() and its kin call what they are given: as Python does, whatever has a forward() is called by it.
//
//   torch::nn::Sequential segment(torch::nn::Linear(8, 8), torch::nn::ReLU());
//   at::Tensor y = neap::detail::call(segment, x);  // a holder; a module, a pointer to one and a lambda go in alike
//
// Users meet it through neap::checkpoint(). Includes nothing of torch/nn: what is a module is seen by what it has.
// Threads: as what is called. Cost: none above the call; a look-up for an element of a ModuleList.
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

// Calls forward(x) of a module of which only the base class is known, as of an element of a torch::nn::ModuleList: a Sequential,
// and those of LibTorch's own modules that take one tensor.
// Throws: InvalidArgument for null, and, with the module's type, for one of another type: forward() is not virtual.
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

// What a holder or a pointer leads to, else the thing itself. A holder leads to a module that can change also when it is const
// itself, as in a lambda that has captured it by value.
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
  Function,  // lambdas, functions, members, objects with operator()
  Forward,   // of what `fn` is or leads to
  AnyModule,
  ByType,  // torch::nn::Module, and nothing more is known
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
    // A holder has an operator() that promises any arguments, and returns void for a forward() that is a template.
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
      std::remove_cvref_t<F> module(fn);  // shares what it holds, and its forward() is not const
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
    return at::Tensor();  // so that the sentence above is all that the compiler says
  }
}

}  // namespace neap::detail
