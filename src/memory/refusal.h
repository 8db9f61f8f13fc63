// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// memory/refusal.h: the last BudgetExceeded of a thread. A kernel of the program may be written in
// Python. Then the refusal of an allocation in it comes out as an exception of Python's, with the
// same text.
#pragma once

#include <exception>

namespace neap::memory {

// REQUIRES: a BudgetExceeded is being handled, which an allocation throws.
void note_refusal();

// The last one that was noted in this thread; null when there is none.
std::exception_ptr last_refusal() noexcept;

// REQUIRES: an exception is being handled. Throws the last refusal, if that exception is Python's
// word for it, and else the exception.
[[noreturn]] void rethrow_refusal();

}  // namespace neap::memory
