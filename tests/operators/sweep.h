// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/operators/sweep.h: one operator of LibTorch, called plainly and under neap.
#pragma once

#include <ATen/core/dispatch/Dispatcher.h>

#include <functional>
#include <string>

namespace neap::test {

enum class Result { Replayed, Pinned, View, NoTensor, PlainDiffers, NotCalled, Differs };

struct Row {
  Result forward = Result::NotCalled;
  std::string backward = "none";
  std::string note;
};

// Calls the operator with the first arguments that it accepts, and with gradients when it accepts
// those. It runs plainly, then in regions that evict its arguments and results, which a later
// operator or the backward brings back. `reached` is called before the first region.
Row sweep(const c10::OperatorHandle& op, const std::function<void()>& reached);

}  // namespace neap::test
