// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/intercept.h: which operators can be replayed, and how neap knows.
//
//   neap::declare_replayable("my_ops::gate");  // it only reads its inputs and has no state
//   for (const neap::OperatorRule& rule : neap::operator_rules()) {
//     if (!rule.replayable) std::cout << rule.name << ": " << rule.reason << '\n';
//   }
//
// Threads: any.
#pragma once

#include <neap/base.h>

#include <string>
#include <string_view>
#include <vector>

namespace neap {

// Declares that an operator of the program, `namespace::name`, only reads its inputs, keeps no
// state and gives equal bits for equal inputs. Without this, its results are never evicted.
// Throws: InvalidArgument when `name` has no `::`.
NEAP_EXPORT void declare_replayable(std::string_view name);

// What neap knows of one registered operator, for reports.
struct OperatorRule {
  std::string name;    // aten::add.Tensor
  bool replayable;     // its outputs can be evicted
  bool random;         // replayed with the generator state of its first run
  bool view;           // touches no data
  bool decomposed;     // intercepted as the operators that it calls
  std::string reason;  // why it is not replayable, or what is special
};
NEAP_EXPORT std::vector<OperatorRule> operator_rules();

// The dispatch key that the interception took, as `Fake`; throws Error when none could be taken.
NEAP_EXPORT std::string interception_key();

}  // namespace neap
