// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "machine/sync_folder.h"

#include <fcntl.h>
#include <unistd.h>

namespace neap::machine {

void sync_folder(const std::filesystem::path& folder) noexcept {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  ::fsync(descriptor);
  ::close(descriptor);
}

}  // namespace neap::machine
