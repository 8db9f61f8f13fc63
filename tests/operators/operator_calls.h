// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/operators/operator_calls.h: calls of one operator with given arguments, what a call returns
// and writes, and the bytes of both.
#pragma once

#include "support/bytes.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/torch.h>

#include <cstddef>
#include <string>
#include <vector>

namespace neap::test::operators {

using Values = std::vector<c10::IValue>;
using Tensors = std::vector<at::Tensor>;

inline constexpr std::size_t kSmallest = 512;  // bytes: a smaller storage is never evicted

template <class Visit>
void for_each_tensor(const Values& values, Visit visit) {
  for (const c10::IValue& value : values) {
    if (value.isTensor()) {
      if (value.toTensor().defined()) visit(value.toTensor());
    } else if (value.isList()) {
      for (const c10::IValue& element : value.toListRef()) {
        if (element.isTensor() && element.toTensor().defined()) visit(element.toTensor());
      }
    }
  }
}

template <class Change>
Values with_tensors(const Values& values, Change change) {
  Values result;
  for (const c10::IValue& value : values) {
    if (value.isTensor()) {
      result.emplace_back(value.toTensor().defined() ? change(value.toTensor()) : at::Tensor());
    } else if (value.isTensorList()) {
      c10::List<at::Tensor> list;
      for (const at::Tensor& element : value.toTensorVector()) {
        list.push_back(element.defined() ? change(element) : at::Tensor());
      }
      result.emplace_back(list);
    } else if (value.isList()) {
      const auto list = value.toList();
      c10::impl::GenericList copy(list.elementType());
      for (const c10::IValue& element : value.toListRef()) {
        copy.push_back(element.isTensor() ? c10::IValue(change(element.toTensor())) : element);
      }
      result.emplace_back(copy);
    } else {
      result.push_back(value);
    }
  }
  return result;
}

bool is_dense(const at::Tensor& tensor);

// The elements of the tensors as bytes. The layout of a tensor makes no difference.
ByteLists content(const Tensors& tensors);

// The values that are no tensors.
std::string text_of(const Values& values);

// The state of the default generator.
ByteLists generator_state();

bool is_evicted(const at::Tensor& tensor);

// One operator with its arguments.
struct Case {
  const c10::OperatorHandle& op;
  Values leaves;  // the arguments, as leaves of the graph
};

struct CallResult {
  Values arguments;
  Values returned;

  // The tensors that the operator returned, and those that it wrote.
  [[nodiscard]] Tensors outputs(const c10::FunctionSchema& schema) const;
  [[nodiscard]] Tensors argument_tensors() const;
};

// Calls the operator on copies of the leaves. An operator makes the copies, so they can be evicted.
CallResult call(const Case& c);

// A scalar that depends on each bit of the floating outputs, and whose backward reads them.
// Undefined when no output has a gradient.
at::Tensor loss_of(const Tensors& outputs);

// The gradients of the leaves, which have none afterwards.
Tensors take_gradients(const Case& c);

// Fills memory that the next operators take. So memory that an operator does not write has another
// value in each run.
void fill_free_memory(int byte);

// A tensor that is made from the output, and is large enough to be evicted.
at::Tensor repeated(const at::Tensor& output);

}  // namespace neap::test::operators
