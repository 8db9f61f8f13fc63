// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// machine/input.h: opens a file or a pipe for reading from start to end.
#pragma once

#include <neap/base.h>

#include <filesystem>
#include <string>

namespace neap::machine {

// The system does not let a file be read now, which says nothing about what is in it.
class Unreadable : public Error {
 public:
  using Error::Error;
};

struct Opened {
  int descriptor = -1;   // the caller closes it
  std::string why = {};  // why it could not be opened, and what to do; empty: it was opened
  int error = 0;         // of errno, when the system refused it
};

// Never waits: a named pipe without a writer reads as empty. Refuses folders, and devices, which
// may have no end.
Opened open_to_read(const std::filesystem::path& path);

// Throws: Unreadable, or Error when there is no such file. REQUIRES: it was not opened.
[[noreturn]] void refuse_opening(const std::filesystem::path& path, const Opened& opened);

}  // namespace neap::machine
