// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// machine/input.h: opens a file or a pipe for reading from start to end.
#pragma once

#include <filesystem>
#include <string>

namespace neap::machine {

struct Opened {
  int descriptor = -1;   // the caller closes it
  std::string why = {};  // why it could not be opened, and what to do; empty: it was opened
};

// Never waits: a named pipe without a writer reads as empty. Refuses folders, and devices, which
// may have no end.
Opened open_to_read(const std::filesystem::path& path);

}  // namespace neap::machine
