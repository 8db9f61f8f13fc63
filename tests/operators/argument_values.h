// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/operators/argument_values.h: values from the text that stands for them in the table of
// arguments. TableRow in operators/arguments.h describes the text.
#pragma once

#include <ATen/core/ivalue.h>
#include <ATen/core/jit_type.h>

#include <string_view>

namespace neap::test {

// One value of this type. Tensors draw from LibTorch's generator.
// Throws: std::invalid_argument when the text does not fit the type.
c10::IValue parse_value(std::string_view text, const c10::TypePtr& type);

}  // namespace neap::test
