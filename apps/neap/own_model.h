// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Loads models from libraries of users: see neap/plugin.h.
#pragma once

#include <neap/plugin.h>

#include <c10/util/Exception.h>

#include <exception>
#include <string>
#include <utility>

namespace neap::app {

// Loads the library for the rest of the process. Its code runs only if it was built with this neap
// and this LibTorch. Throws: Error with the path and the reason: the file is unreadable, is no
// library, has no NEAP_MODEL, was built for another version, or has unresolved symbols.
plugin::Definition load_own_model(const std::string& path);

// Calls `call`, which runs code of a library, and returns its result. Exceptions of the library get
// `where` as a prefix. Those of neap do not, because they already say enough.
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
