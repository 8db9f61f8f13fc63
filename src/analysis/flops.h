// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// analysis/flops.h: the floating point operations of an operator, from the sizes of its arguments.
//
// The convention is that of torch.utils.flop_counter: a multiply-add counts 2, and only products of
// matrices, convolutions, attention and recurrent layers count. Sums, biases, activations and norms
// count 0, because they take memory traffic and hardly any arithmetic.
#pragma once

#include <ATen/core/ivalue.h>

#include <cstdint>
#include <optional>
#include <string_view>

namespace neap::analysis {

// name: with its namespace, as `aten::addmm`. Returns nothing for an operator without a rule. An
// operator with one must not be counted again by the operators that it calls.
std::optional<std::int64_t> flops_of(std::string_view name,
                                     c10::ArrayRef<const c10::IValue> inputs);

}  // namespace neap::analysis
