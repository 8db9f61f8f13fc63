// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Models of libraries that users name: see neap/plugin.h.
#pragma once

#include <neap/plugin.h>

#include <string>

namespace neap::app {

// Loads the library, for the rest of the process. Its code runs only when it was built with this neap and this LibTorch.
// Throws: Error with the path and the reason: unreadable, no library, no NEAP_MODEL, another version, unresolved symbols.
plugin::Definition load_own_model(const std::string& path);

}  // namespace neap::app
