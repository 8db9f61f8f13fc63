// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/scanner.h: finds the blocks that an operator reads and writes.
#pragma once

#include "engine/call.h"
#include "engine/session.h"
#include "engine/store.h"
#include "engine/tracker.h"

#include <cstddef>

namespace neap::engine {

// Hot: called once per operator. bench/micro.cpp measures it.
class Scanner {
 public:
  Scanner(Session& session, Store& store, Tracker& tracker)
      : session_(session), store_(store), tracker_(tracker) {}

  // Fills in the call's operands, reads, writes and storages, and what follows from them.
  void scan(Call& call);

 private:
  void scan_tensor(Call& call, const at::Tensor& tensor, std::size_t argument);
  [[nodiscard]] Block* block_of(Call& call, const at::Tensor& tensor, c10::StorageImpl& storage,
                                Use use);

  Session& session_;
  Store& store_;
  Tracker& tracker_;
};

}  // namespace neap::engine
