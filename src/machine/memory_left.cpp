// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// How to find the control group of this process:
//   /proc/self/cgroup     0::/GROUP          version 2
//                         N:NAMES:/GROUP     version 1, memory among the names
//   /proc/self/mountinfo  ... ROOT FOLDER ... - TYPE SOURCE OPTIONS
// Its files are in FOLDER/GROUP, with ROOT removed from the front of GROUP: a container that sees
// the host's names has only its own group mounted.
#include "machine/memory_left.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

namespace neap::machine {
namespace {

namespace fs = std::filesystem;

// Names of the same things in the two versions.
struct Version {
  const char* type;  // of the mount
  const char* limit;
  const char* used;
  // in memory.stat: files in memory, which the kernel drops when it needs room
  std::vector<const char*> files;
};

const Version& version_1() {
  static const Version version{"cgroup",
                               "memory.limit_in_bytes",
                               "memory.usage_in_bytes",
                               {"total_inactive_file", "total_active_file"}};
  return version;
}

const Version& version_2() {
  static const Version version{
      "cgroup2", "memory.max", "memory.current", {"inactive_file", "active_file"}};
  return version;
}

std::optional<std::int64_t> number_in(const fs::path& file) {
  std::ifstream in(file);
  std::int64_t number = 0;
  if (in >> number) return number;
  return std::nullopt;  // "max", or nothing
}

// Reads lines "NAME NUMBER ...". 0 when the name is missing.
std::int64_t number_of(const fs::path& file, std::string_view name) {
  std::ifstream in(file);
  std::string line, word;
  while (std::getline(in, line)) {
    std::istringstream words(line);
    std::int64_t number = 0;
    if (words >> word >> number && word == name) return number;
  }
  return 0;
}

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, at);) parts.push_back(part);
  return parts;
}

bool names_memory(const std::string& list) {
  return std::ranges::count(split(list, ','), "memory") > 0;
}

struct Mount {
  std::string group;  // the root of the mount within the hierarchy
  fs::path folder;
};

std::optional<Mount> find_mount(const fs::path& root, const Version& version) {
  std::ifstream in(root / "proc/self/mountinfo");
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string skipped, group, folder, word, type, source, options;
    words >> skipped >> skipped >> skipped >> group >> folder;
    while (words >> word && word != "-") continue;
    words >> type >> source >> options;
    if (type != version.type) continue;
    if (&version == &version_1() && !names_memory(options)) continue;
    return Mount{group, folder};
  }
  return std::nullopt;
}

class Groups {
 public:
  Groups(const fs::path& root, Memory& memory) : root_(root), memory_(memory) {}

  void read() {
    std::ifstream in(root_ / "proc/self/cgroup");
    for (std::string line; std::getline(in, line);) {
      const std::size_t first = line.find(':');
      const std::size_t second = line.find(':', first + 1);
      if (first == std::string::npos || second == std::string::npos) continue;
      const std::string names = line.substr(first + 1, second - first - 1);
      const std::string group = line.substr(second + 1);
      if (names.empty()) read_all(version_2(), group);
      if (names_memory(names)) read_all(version_1(), group);
    }
  }

 private:
  // Reads the process's own group, and all groups above it up to the mount's.
  void read_all(const Version& version, std::string group) {
    const std::optional<Mount> mount = find_mount(root_, version);
    if (!mount) return;
    if (mount->group != "/" && group.starts_with(mount->group)) {
      group.erase(0, mount->group.size());
    }
    for (;;) {
      read_one(version, root_ / mount->folder.relative_path() / fs::path(group).relative_path());
      const std::size_t slash = group.rfind('/');
      if (group.empty() || group == "/" || slash == std::string::npos) return;
      group.resize(slash);
    }
  }

  void read_one(const Version& version, const fs::path& folder) {
    const std::optional<std::int64_t> limit = number_in(folder / version.limit);
    // Version 1 writes the largest number of whole pages for no limit.
    constexpr std::int64_t kNone = std::numeric_limits<std::int64_t>::max() >> 1;
    if (!limit || *limit >= kNone) return;
    std::int64_t used = number_in(folder / version.used).value_or(0);
    for (const char* const name : version.files) used -= number_of(folder / "memory.stat", name);
    const std::int64_t left = std::max<std::int64_t>(0, *limit - std::max<std::int64_t>(0, used));
    memory_.limit_left = memory_.limit ? std::min(memory_.limit_left, left) : left;
    memory_.limit = memory_.limit ? std::min(*memory_.limit, *limit) : *limit;
  }

  const fs::path& root_;
  Memory& memory_;
};

}  // namespace

std::int64_t Memory::left() const {
  if (!limit) return available;
  return available > 0 ? std::min(available, limit_left) : limit_left;
}

Memory read_memory(const fs::path& root) {
  Memory memory;
  memory.total = number_of(root / "proc/meminfo", "MemTotal:") << 10;
  memory.available = number_of(root / "proc/meminfo", "MemAvailable:") << 10;
  Groups(root, memory).read();
  return memory;
}

Memory memory() { return read_memory("/"); }

}  // namespace neap::machine
