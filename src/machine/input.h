// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// machine/input.h: a file, or a pipe, to be read from its start to its end.
#pragma once

#include <filesystem>
#include <string>

namespace neap::machine {

struct Opened {
  int descriptor = -1;   // the caller closes it
  std::string why = {};  // it could not be opened, and what to do; empty: it was
};

// Never waits: a pipe with a name that nobody writes into is empty. Folders, and devices, which may have no end, are refused.
Opened open_to_read(const std::filesystem::path& path);

}  // namespace neap::machine
