// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "offload/backing_file.h"
#include "offload/disk_speed.h"

#include <neap/offload.h>

#include <sys/statvfs.h>

#include <fstream>
#include <sstream>
#include <string>
#include <system_error>

namespace neap::offload {
namespace {

namespace fs = std::filesystem;

// Undoes the \040 for a space in a path of /proc/self/mountinfo.
std::string unescaped(const std::string& text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      plain += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                                 (text[i + 3] - '0'));
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

// Of the mount that holds the directory: the one with the longest path that leads there, of equal
// ones the last, which lies over the others. Not by the device's number: btrfs has several.
std::string file_system_of(const fs::path& directory) {
  std::error_code error;
  const std::string path = fs::canonical(directory, error).string() + '/';
  std::ifstream mounts("/proc/self/mountinfo");
  std::string line, found;
  std::size_t longest = 0;
  while (!error && std::getline(mounts, line)) {
    std::istringstream words(line);
    std::string id, parent, device, root, at, word, kind;
    words >> id >> parent >> device >> root >> at;
    at = unescaped(at);
    if (!at.ends_with('/')) at += '/';
    while (words >> word && word != "-") {
    }
    if (!(words >> kind) || !path.starts_with(at) || at.size() < longest) continue;
    longest = at.size();
    found = kind;
  }
  return found;
}

Rates rates_of(const Speed& speed) {
  constexpr double kNsPerSecond = 1e9;
  return {.out = speed.out > 0 ? kNsPerSecond / speed.out : 0,
          .in = speed.in > 0 ? kNsPerSecond / speed.in : 0};
}

}  // namespace

Survey survey(const fs::path& directory, std::int64_t expected) {
  BackingFile file(directory);
  Survey found;
  struct statvfs status {};
  if (::fstatvfs(file.descriptor(), &status) == 0) {
    found.free = static_cast<std::int64_t>(status.f_bavail * status.f_frsize);
  }
  found.file_system = file_system_of(directory);
  found.unnamed = file.is_unnamed();
  found.in_memory = found.file_system == "tmpfs" || found.file_system == "ramfs";
  const DiskSpeed speed = measure(file, fits_in_cache(expected));
  found.in_cache = speed.in_cache;
  found.buffered = rates_of(speed.buffered);
  if (file.has_direct()) found.direct = rates_of(speed.direct);
  found.uses_direct = speed.faster() == Way::Direct;
  return found;
}

}  // namespace neap::offload
