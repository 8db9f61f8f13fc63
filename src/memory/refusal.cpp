// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "memory/refusal.h"

#include <neap/memory.h>

#include <string>
#include <string_view>

namespace neap::memory {
namespace {

struct Refusal {
  std::exception_ptr error;
  std::string text;
};
thread_local Refusal last;

// As Python's exceptions are called in C++: the class, the text, and the places in the program.
bool tells_of_last(std::string_view text) {
  for (const std::string_view its_class : {"RuntimeError: ", "OutOfMemoryError: "}) {
    if (text.starts_with(its_class) && text.substr(its_class.size()).starts_with(last.text)) {
      return true;
    }
  }
  return false;
}

}  // namespace

void note_refusal() {
  try {
    throw;
  } catch (const BudgetExceeded& error) {
    last = {std::current_exception(), error.what()};
  }
}

std::exception_ptr last_refusal() noexcept { return last.error; }

void rethrow_refusal() {
  try {
    throw;
  } catch (const std::exception& error) {
    if (last.error && tells_of_last(error.what())) std::rethrow_exception(last.error);
    throw;
  }
}

}  // namespace neap::memory
