// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/call.h: what is known of one operator while it runs.
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
  // Without it, all would be filled with zeros first.
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
  std::shared_ptr<const intercept::GeneratorState> generator;
  std::uint64_t signature = 0;  // of the operator and its sizes
  float cost_ns = 0;
  std::int64_t ns = 0;  // this time; 0: it was not timed, never while there is an observer
  // Of the allocator, for an observer only: before it ran, and the most that was live while it did.
  std::int64_t allocations = 0, live = 0, peak = 0;
  std::uint64_t sequence = 0;  // of its node, should it get one
  std::uint16_t state = 0;
  // Reads memory that is not LibTorch's own, or tensors that are no plain dense ones.
  bool foreign = false;
  // A sparse tensor or the like may hold the operands' storages now, where nobody sees who reads them.
  bool keeps_operands = false;
  bool whole = false;  // writes its one block whole
  bool once = false;
  bool gradient = false;  // see Note [Gradients]
  bool encoded = false;   // may become a node
  // What it makes or writes could be made again. Known without a node too, in a scope that observes.
  bool replayable = false;

  c10::ArrayRef<c10::IValue> arguments() const {
    return c10::ArrayRef<c10::IValue>(*stack).slice(first_argument);
  }
};

}  // namespace neap::engine
