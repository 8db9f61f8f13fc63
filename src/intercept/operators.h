// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// intercept/operators.h: properties of an operator, derived once from its schema and tags, then
// looked up.
#pragma once

#include <ATen/core/dispatch/Dispatcher.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace neap::intercept {

// Bit i of a mask is argument i.
struct OperatorTraits {
  c10::OperatorHandle op;
  std::uint64_t name_hash = 0;  // of the full name; the same in every process
  std::uint32_t arguments = 0;
  std::uint64_t writes = 0;   // arguments whose data is written
  std::uint64_t unread = 0;   // arguments of which only sizes, strides and dtype are read
  std::uint64_t scratch = 0;  // tensors among the results that a kernel does not write whole
  std::uint64_t once = 0;     // state that a training run updates; a replay gets it undefined
  bool decompose = false;     // intercepted as the operators that it calls
  bool view = false;          // touches no data: inputs may stay evicted
  bool empty = false;         // returns memory that it did not write
  bool factory = false;       // reads no tensor's data; programs often fill the result by hand
  bool zeros = false;         // a factory of zeros
  bool overwrites = false;    // overwrites its whole output, without reading it
  bool pointwise = false;     // elementwise: its bits do not depend on the precision of products
  bool random = false;        // draws from a generator
  bool replayable = false;    // same inputs and state give the same bits, without side effects
  const char* reason = "";    // why not replayable, or what is special
};

// Hot: once per operator. A thread-local table of recent operators avoids the locked map.
const OperatorTraits& traits_of(const c10::OperatorHandle& op);

// Whether `accepts` returns true for the name, without overload, of some operator. `composite`
// selects the operators: those that are decomposed, or the others. Of a name, the overload without
// a name decides, if there is one.
// Cost: half a millisecond, plus some thousand calls of `accepts`.
bool any_operator(const std::function<bool(const std::string& name)>& accepts, bool composite);

// For operators of the program; see neap/intercept.h.
void declare_replayable(std::string_view name);

// True when this call updates the arguments in `once`: batch norm in training.
bool updates_once(const OperatorTraits& traits, c10::ArrayRef<c10::IValue> arguments);

}  // namespace neap::intercept
