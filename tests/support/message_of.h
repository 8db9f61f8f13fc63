// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <string>

namespace neap::test {

// The text of the error with which `step` was refused.
template <class Exception, class Step>
std::string message_of(Step step) {
  try {
    step();
  } catch (const Exception& error) {
    return error.what();
  }
  return "nothing was thrown";
}

}  // namespace neap::test
