// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/stack_tensors.h: the tensors among the values of a stack, also those in lists.
#pragma once

#include <ATen/core/ivalue.h>
#include <ATen/core/ivalue_inl.h>
#include <c10/util/ArrayRef.h>

#include <cstddef>

namespace neap::engine {

// Calls visit(tensor, value) for each place of a tensor, in order: the tensor may be undefined.
// `value` is the number of the value that it is, or is in.
template <class Visit>
void for_each_tensor(c10::ArrayRef<c10::IValue> values, Visit visit) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    const c10::IValue& value = values[i];
    if (value.isTensor()) {
      visit(value.toTensor(), i);
    } else if (value.isTensorList() || value.isOptionalTensorList()) {
      for (const c10::IValue& element : value.toListRef()) {
        if (element.isTensor()) visit(element.toTensor(), i);
      }
    }
  }
}

}  // namespace neap::engine
