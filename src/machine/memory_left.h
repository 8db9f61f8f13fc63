// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// machine/memory_left.h: machine::memory() below any folder, so that tests can simulate a system.
#pragma once

#include <neap/machine.h>

#include <filesystem>

namespace neap::machine {

// `root`: the folder that contains proc/ and sys/. Missing and malformed files are ignored.
Memory read_memory(const std::filesystem::path& root);

}  // namespace neap::machine
