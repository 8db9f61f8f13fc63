// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/operators/arguments.h: arguments for any operator of LibTorch, made from its schema.
//
// An argument's value comes from the table (tests/operators/argument_table.cpp) when it names it,
// then from the schema's default, then from its type and name. What a float tensor looks like where
// nothing says so is tried in turn: a matrix, an image, a vector, integers, booleans, complex
// numbers.
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
// uint8 and xK int8 below K, sK sorted int64 below K.
struct TableRow {
  std::string_view
      operators;  // without overload and the _ of in-place ones; `a|b`, a last * matches any rest
  std::string_view values;  // name=value, separated by spaces
};
std::span<const TableRow> table();

// Why an operator must not be called by the sweep; empty when it may.
std::string_view why_not_to_call(std::string_view name);

// The arguments of one attempt, out= arguments of the right sizes included; nullopt: no attempt of
// this number is left. Draws from LibTorch's generator. Throws what the operator throws, when it
// has out= arguments.
std::optional<std::vector<c10::IValue>> arguments_for(const c10::OperatorHandle& op,
                                                      std::size_t attempt);

}  // namespace neap::test
