// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/position.h: how far a training is. A page of neap/snapshot.h. Does not depend on LibTorch.
// Threads: a value.
#pragma once

#include <neap/loader_state.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace neap::train {

struct Position {
  std::int64_t step = 0;                          // optimizer steps done
  std::optional<data::LoaderState> loader = {};   // of the training's loader
  std::map<std::string, std::string> notes = {};  // the program's own, such as its options
};

}  // namespace neap::train
