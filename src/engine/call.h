// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/call.h: what the engine knows about one operator while the operator runs.
#pragma once

#include "engine/call_codec.h"
#include "engine/records.h"

#include <ATen/core/stack.h>
#include <c10/core/GradMode.h>
#include <c10/util/SmallVector.h>

#include <cstdint>
#include <memory>

namespace neap::engine {

// One operator on its way through the engine.
struct Call {
  // A constructor, because aggregate initialization would fill all members with zeros first.
  Call(const intercept::OperatorTraits& its_traits, torch::jit::Stack* its_stack)
      : traits(its_traits),
        stack(its_stack),
        first_argument(its_stack->size() - its_traits.arguments),
        grad_mode(c10::GradMode::is_enabled()) {}

  const intercept::OperatorTraits& traits;
  torch::jit::Stack* stack;
  std::size_t first_argument;
  bool grad_mode;
  c10::SmallVector<Operand, 8> operands;
  c10::SmallVector<Block*, 8> reads;
  c10::SmallVector<Block*, 4> writes;
  c10::SmallVector<Block*, 2> once_writes;
  c10::SmallVector<c10::StorageImpl*, 8> storages;  // of all operands
  std::shared_ptr<const device::GeneratorState> generator;
  std::uint64_t signature = 0;  // a hash of the operator and its sizes
  float cost_ns = 0;
  // Of this run; 0 when it was not timed, which never happens under an observer.
  std::int64_t ns = 0;
  // The allocator's counters, for an observer only: allocations and live bytes before the kernel
  // ran, and the peak of live bytes while it ran.
  std::int64_t allocations = 0, live = 0, peak = 0;
  std::uint64_t operator_sequence = 0;  // of its node, if it gets one
  std::uint16_t state = 0;
  // It reads memory that is not LibTorch's own, or tensors that are not dense ones.
  bool foreign = false;
  // A sparse tensor or the like may hold the operands' storages now. The engine cannot see who
  // reads them there.
  bool keeps_operands = false;
  bool whole = false;  // writes its only written block whole
  bool once = false;
  bool gradient = false;  // see Note [Gradients]
  bool encoded = false;   // may become a node
  // What the operator makes or writes can be made again by it. In a scope that only observes, this
  // is known although there is no node.
  bool replayable = false;

  c10::ArrayRef<c10::IValue> arguments() const {
    return c10::ArrayRef<c10::IValue>(*stack).slice(first_argument);
  }
};

}  // namespace neap::engine
