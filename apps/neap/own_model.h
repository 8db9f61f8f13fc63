// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Models of libraries that users name: see neap/plugin.h.
#pragma once

#include <neap/plugin.h>

#include <c10/util/Exception.h>

#include <exception>
#include <string>
#include <utility>

namespace neap::app {

// Loads the library, for the rest of the process. Its code runs only when it was built with this neap and this LibTorch.
// Throws: Error with the path and the reason: unreadable, no library, no NEAP_MODEL, another version, unresolved symbols.
plugin::Definition load_own_model(const std::string& path);

// Returns what call() returns, which runs code of a library. Its exceptions come out with `where`, but for those of neap, which
// say enough.
template <class Call>
auto at_library(const std::string& where, const Call& call) {
  try {
    return call();
  } catch (const Error&) {
    throw;
  } catch (const c10::Error& error) {
    throw Error(where + ": " + error.what_without_backtrace());
  } catch (const std::exception& error) {
    throw Error(where + ": " + error.what());
  }
}

}  // namespace neap::app
