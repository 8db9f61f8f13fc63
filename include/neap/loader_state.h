// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/loader_state.h: the position of a loader. A page of neap/data.h. Does not depend on
// LibTorch. Threads: a value.
#pragma once

#include <cstdint>

namespace neap::data {

// Restored into a loader with the same set and options, it continues with the same batches.
struct LoaderState {
  std::uint64_t seed = 0;
  std::int64_t epoch = 0;
  std::int64_t position = 0;  // samples of the epoch already handed out
};

}  // namespace neap::data
