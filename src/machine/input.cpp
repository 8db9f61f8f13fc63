// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "machine/input.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace neap::machine {

Opened open_to_read(const std::filesystem::path& path) {
  const auto failed = [] {
    const int error = errno;
    return Opened{-1,
                  "cannot be opened: " + std::generic_category().message(error) +
                      "; check the name and the permissions",
                  error};
  };
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return failed();
  if (S_ISDIR(status.st_mode)) return {-1, "is a folder; name the file in it"};
  if (!S_ISREG(status.st_mode) && !S_ISFIFO(status.st_mode)) {
    return {-1, "is a device, and no file; name a file"};
  }
  // Without O_NONBLOCK, open() of a pipe would wait for a writer, perhaps forever.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) return failed();
  ::fcntl(descriptor, F_SETFL, ::fcntl(descriptor, F_GETFL) & ~O_NONBLOCK);
  return {descriptor};
}

void refuse_opening(const std::filesystem::path& path, const Opened& opened) {
  const std::string text = path.string() + " " + opened.why;
  if (opened.error == 0 || opened.error == ENOENT || opened.error == ENOTDIR) throw Error(text);
  throw Unreadable(text);
}

}  // namespace neap::machine
