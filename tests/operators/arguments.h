// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/operators/arguments.h: arguments for any operator of LibTorch, made from its schema.
//
// The value of an argument comes from the table (tests/operators/argument_table.cpp) if the table
// names it, then from the schema's default, then from its type and name. Where nothing says what a
// float tensor looks like, several forms are tried in turn: a matrix, an image, a vector, integers,
// booleans, complex numbers.
#pragma once

#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/torch.h>

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace neap::test {

// Values are written as
//   -  1  0.5  true  'text'  @long  [1,2]  [f(2,3) f(2)]  f(2,3)
// The letter of a tensor: f uniform in (-0.95, 0.95), u uniform in (0.05, 0.95), d as f in double,
// n normal, H half and B bfloat16 as f, c complex, b bool, z zeros, o ones, p positive definite, w
// well conditioned, t lower triangular, a 0, 1, 2, ...; iK int64 below K, jK int32 below K, yK
// uint8 and xK int8 below K, sK sorted int64 below K, qK int64 that are K, J int32 1, 2, ....
struct TableRow {
  std::string_view
      operators;  // without overload and the _ of in-place ones; `a|b`, a last * matches any rest
  std::string_view values;  // name=value, separated by spaces
};
std::span<const TableRow> table();

// The reason why the sweep must not call an operator; empty when it may.
std::string_view why_not_to_call(std::string_view name);

// The arguments of one attempt, including out= arguments of the right sizes; nullopt: there is no
// attempt with this number. Draws from LibTorch's generator. With out= arguments, throws what the
// operator throws.
std::optional<std::vector<c10::IValue>> arguments_for(const c10::OperatorHandle& op,
                                                      std::size_t attempt);

}  // namespace neap::test
