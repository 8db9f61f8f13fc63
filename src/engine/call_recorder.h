// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/call_recorder.h: writes the recipe of an operator that has run, or notes why it has none.
#pragma once

#include "device/execution_state.h"
#include "device/generator_state.h"
#include "engine/call.h"
#include "engine/call_codec.h"
#include "engine/counts.h"
#include "engine/layer_names.h"
#include "engine/recipes.h"
#include "engine/regions.h"
#include "engine/session.h"
#include "engine/store.h"
#include "engine/tracker.h"

#include <c10/util/SmallVector.h>

#include <cstdint>
#include <memory>
#include <span>

namespace neap::engine {

// Hot: called once per operator. bench/micro.cpp measures it.
class CallRecorder {
 public:
  CallRecorder(Session& session, Counts& counts, Recipes& recipes, Store& store, Tracker& tracker,
               Regions& regions, const LayerNames& layers, device::ExecutionStates& states);

  // Before the kernel runs, which may write into its arguments: encodes them, if the operator can
  // be replayed.
  void encode(Call& call);
  // After the kernel.
  void record(Call& call);
  // The kernel or its recording has thrown. It may have written anything.
  void failed(const Call& call);
  void forget_generator() noexcept { last_generator_.reset(); }

 private:
  // A result of an operator on a storage of its own.
  struct NewStorage {
    c10::StorageImpl* storage;
    const at::Tensor* tensor;  // the first on it
    std::uint16_t result;      // its number among the results
  };
  using NewStorages = c10::SmallVector<NewStorage, 4>;
  using NewBlocks = c10::SmallVector<Block*, 4>;

  [[nodiscard]] bool hangs_on_what_stays(const Call& call) const;
  [[nodiscard]] bool may_write_again(const Call& call, const Block& block) const;
  [[nodiscard]] bool may_run_again(Call& call) const;
  void save_generator(Call& call);

  void record_all(Call& call);
  NewStorages new_storages(Call& call) const;
  void pin_operands(const Call& call);
  PinReason pin_reason_of(Call& call, const NewStorages& made) const;
  Node* create_node(Call& call, std::span<const Recipes::NewWrite> writes);
  void record_made(Call& call, const NewStorages& made);
  NewBlocks create_blocks(const Call& call, const NewStorages& made, PinReason pinned);
  void record_recipe(Call& call, const NewStorages& made, const NewBlocks& blocks);
  void record_writes(Call& call, bool makes_blocks);
  void record_write(Call& call, Block& block);
  void written_whole(const Call& call, Block& block);
  void wrote_unrecorded(const Call& call, bool makes_blocks);
  void wrote_unseen(Block& block);
  static void wrote_observed(Block& block);
  void tell(const Call& call, std::span<Block* const> made);
  [[nodiscard]] std::uint16_t layer_of(const Call& call) const;

  Session& session_;
  Counts& counts_;
  Recipes& recipes_;
  Store& store_;
  Tracker& tracker_;
  Regions& regions_;
  const LayerNames& layers_;
  device::ExecutionStates& states_;
  std::shared_ptr<const device::GeneratorState> last_generator_;
  Code code_;  // the encoded arguments of the current call
};

}  // namespace neap::engine
