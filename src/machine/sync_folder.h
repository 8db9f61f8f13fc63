// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// machine/sync_folder.h: makes the names in a folder last through a power cut.
#pragma once

#include <filesystem>

namespace neap::machine {

// The files themselves are whole either way, so what a file system says against it is no error.
// Cost: waits for the disk.
void sync_folder(const std::filesystem::path& folder) noexcept;
// The names of the folder itself and of those that it lies in. REQUIRES: the folder exists.
void sync_folders_above(const std::filesystem::path& folder);

}  // namespace neap::machine
