// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/machine.h: files that are written whole or not at all, and how much memory the machine or
// its container has left. Does not depend on LibTorch.
//
//   neap::OutputFile file("peaks.csv");  // throws here when it cannot be written
//   file.append(table.csv());
//   file.finish();                       // replaces peaks.csv
//
//   std::cout << neap::Bytes(neap::machine::memory().left()).text() << " are left\n";
//
// Units: bytes. Threads: an OutputFile belongs to one thread at a time; the functions, any.
#pragma once

#include <neap/base.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace neap {

// Writes a temporary file, and gives it its name in finish(). An error, a full disk or a signal
// leaves no partial file, and the file that was there before stays until finish(). Until then the
// new file has no name. On a file system without unnamed files it is .neap-XXXXXX in the same
// folder; a signal that cannot be caught leaves that behind.
// A path that ends in .gz: the contents are compressed by gzip. A link: its target is replaced.
// Pipes, devices, and paths in /proc and in /dev but /dev/shm cannot be replaced: they are written
// directly.
class NEAP_EXPORT OutputFile {
 public:
  // Shared: a new file has the mode of the umask; a replaced one keeps its mode.
  // Private: only this user may read and write it. A link itself is replaced, not its target.
  enum class Access : std::uint8_t { Shared, Private };
  // Throws: Error, with the path and the reason, when the path is a folder, or when it or its
  // folder is not writable.
  explicit OutputFile(const std::filesystem::path& path, Access access = Access::Shared);
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;
  // Without finish(), nothing has changed.
  ~OutputFile();

  // Throws: Error, with the path and the reason: a full disk, a limit of the system, a pipe without
  // a reader.
  void append(std::string_view bytes);
  // Nothing can be appended afterwards. Throws: as append(). Cost: waits for the disk.
  void finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

namespace machine {

// Why a write failed, and what to do: "No space left on device; free the disk, or write elsewhere".
// `error`: a value of errno.
NEAP_EXPORT std::string why_not_written(int error);

// The memory of the machine and of its control groups, version 1 and 2, those around this process's
// group included.
struct NEAP_EXPORT Memory {
  std::int64_t total = 0;             // of the machine; 0: unknown
  std::int64_t available = 0;         // of `total`, without swapping
  std::optional<std::int64_t> limit;  // the tightest of the control groups; absent: none
  // Below the limit of the group that leaves the least; cached files do not count as used.
  std::int64_t limit_left = 0;

  // The smaller of `available` and `limit_left`, of those that are known; 0 when neither is.
  [[nodiscard]] std::int64_t left() const;
};
// Cost: reads some files of /proc and /sys, 0.2 ms.
NEAP_EXPORT Memory memory();

}  // namespace machine
}  // namespace neap
