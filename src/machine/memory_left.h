// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// machine/memory_left.h: machine::memory() of any folder, so that tests can say what the system says.
#pragma once

#include <neap/machine.h>

#include <filesystem>

namespace neap::machine {

// `root`: what holds proc/ and sys/. Files that are missing or cannot be understood are left out.
Memory read_memory(const std::filesystem::path& root);

}  // namespace neap::machine
