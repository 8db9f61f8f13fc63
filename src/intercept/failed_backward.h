// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// intercept/failed_backward.h: frees what LibTorch keeps of a backward that ended with an
// exception.
//
// LibTorch's autograd engine keeps the nodes that are ready to run in a queue of the thread. After
// an exception they stay there, with all that they saved, until the thread's next backward removes
// them.
#pragma once

namespace neap::intercept {

// Runs a backward of one node that does nothing, which makes the engine remove and free the old
// nodes. No operator runs, and no storage is allocated. Inside a backward of this thread it does
// nothing, because the queue is in use. Cost: about a microsecond.
void drop_failed_backward();

}  // namespace neap::intercept
