// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// python/src/guarded.h: how a function that Python calls reports an error.
#pragma once

#define NEAP_PYTHON extern "C" __attribute__((visibility("default")))

#include <string>

namespace neap::python {

// Notes the exception that is being handled, for neap_error_text() and the like in this thread.
// Returns the number of its class.
int note_current() noexcept;

// Returns 0, or what note_current() returns.
template <class Work>
int guarded(Work work) noexcept {
  try {
    work();
    return 0;
  } catch (...) {
    return note_current();
  }
}

// The text, until the next call in this thread.
const char* lasting(std::string text);

}  // namespace neap::python
