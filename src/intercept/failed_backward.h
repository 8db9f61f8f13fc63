// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// intercept/failed_backward.h: what LibTorch keeps of a backward that ended by an exception.
//
// LibTorch's autograd engine keeps the nodes that were ready to run in a queue of the thread. An exception leaves them there, with
// all that they saved, until the thread's next backward takes them out.
#pragma once

namespace neap::intercept {

// Takes them out and drops them, by a backward of one node that does nothing: no operator runs, and no tensor is made.
// Inside a backward of this thread it does nothing: the queue is in use. Cost: about a microsecond.
void drop_failed_backward();

}  // namespace neap::intercept
