// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// intercept/operators.h: what neap knows of an operator, derived from its schema and tags once, then looked up.
#pragma once

#include <ATen/core/dispatch/Dispatcher.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace neap::intercept {

// Bit i of a mask stands for argument i.
struct OperatorTraits {
  c10::OperatorHandle op;
  std::uint64_t name_hash = 0;  // of its full name; the same in every process
  std::uint32_t arguments = 0;
  std::uint64_t writes = 0;  // the argument's data is written
  std::uint64_t unread = 0;  // only sizes, strides and dtype of the argument are looked at
  std::uint64_t once = 0;    // state that a training run updates; a replay gets it undefined
  bool decompose = false;    // seen as the operators that it calls
  bool view = false;         // touches no data: inputs may stay evicted
  bool empty = false;        // returns memory that it did not write
  bool factory = false;      // makes a tensor from no tensor: programs write into those by hand
  bool zeros = false;        // a factory of zeros
  bool overwrites = false;   // what it writes, it writes whole and without reading it
  bool pointwise = false;    // number by number: no precision of products is in its bits
  bool random = false;       // draws from a generator
  bool replayable = false;   // same inputs and state, same bits, no effect elsewhere
  const char* reason = "";   // why not replayable, or what is special
};

// Hot: once per operator. A thread-local table of the last operators stands before a locked map.
const OperatorTraits& traits_of(const c10::OperatorHandle& op);

// Whether some operator has a name, without overload, that the function accepts: one that is seen, or, `composite`, one that is
// seen as the operators that it calls. What has an overload without a name is what that is. Cost: half a millisecond, and what the function takes for some thousand names.
bool any_operator(const std::function<bool(const std::string& name)>& accepts, bool composite);

// For operators of the program; see neap/engine.h.
void declare_replayable(std::string_view name);

// True when the call at hand updates the arguments in `once`: batch norm in training. `stack` holds the arguments.
bool updates_once(const OperatorTraits& traits, c10::ArrayRef<c10::IValue> arguments);

}  // namespace neap::intercept
