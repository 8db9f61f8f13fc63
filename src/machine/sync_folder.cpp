// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "machine/sync_folder.h"

#include <fcntl.h>
#include <unistd.h>

#include <system_error>

namespace neap::machine {

void sync_folder(const std::filesystem::path& folder) noexcept {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  ::fsync(descriptor);
  ::close(descriptor);
}

void sync_folders_above(const std::filesystem::path& folder) {
  // Links are followed first: `..` behind one leads elsewhere than the text says.
  std::error_code error;
  std::filesystem::path one = std::filesystem::canonical(folder, error);
  while (one.has_relative_path()) {
    one = one.parent_path();
    sync_folder(one);
  }
}

}  // namespace neap::machine
