// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/machine.h: files that are there whole or not at all, and how much memory the machine or the container around leaves.
// Knows nothing of LibTorch.
//
//   neap::OutputFile file("peaks.csv");  // refused here when it cannot be written
//   file.append(table.csv());
//   file.finish();                       // only now is it there, and what stood there before is gone
//
//   std::cout << neap::Bytes(neap::machine::memory().left()).text() << " are left\n";
//
// Units: bytes. Threads: an OutputFile belongs to one thread at a time; the functions any.
#pragma once

#include <neap/base.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace neap {

// Writes a file aside and gives it its name at the end. Neither an error, nor a full disk, nor a signal leaves a part of it, and
// what stood there before stays until finish(). Until then it has no name at all; where the file system knows no files without
// one, it is .neap-XXXXXX in the same folder while it is written, which a signal that cannot be caught leaves behind.
// A path that ends in .gz: what is written is packed by gzip. A link: what it leads to is replaced. Pipes and devices, and what
// lies in /dev and /proc, cannot be replaced: they are written into as it comes.
class NEAP_EXPORT OutputFile {
 public:
  // Shared: a new file has the mode that the umask leaves, one that is replaced hands on its own.
  // Private: only this user may read and write it, and a link is replaced itself, wherever it leads.
  enum class Access : std::uint8_t { Shared, Private };
  // Throws: Error, with the path and the reason, when it is a folder, must not be written, or its folder must not.
  explicit OutputFile(const std::filesystem::path& path, Access access = Access::Shared);
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;
  // Without finish(), nothing has changed.
  ~OutputFile();

  // Throws: Error, with the path and the reason: a full disk, a limit of the system, a pipe that nobody reads.
  void append(std::string_view bytes);
  // After it nothing can be appended. Throws: as append(). Cost: waits for the disk.
  void finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

namespace machine {

// Why something could not be written, and what to do then: "No space left on device; free the disk, or write elsewhere".
// `error`: of errno.
NEAP_EXPORT std::string why_not_written(int error);

// What can be had of memory. Control groups of version 1 and 2 are read, those around this process's too.
struct NEAP_EXPORT Memory {
  std::int64_t total = 0;             // of the machine; 0: not known
  std::int64_t available = 0;         // of it, without swapping
  std::optional<std::int64_t> limit;  // the tightest of the control groups; absent: none
  std::int64_t limit_left =
      0;  // below the group's limit that leaves least; files in memory are no use of it

  // The smaller of the two; 0 when nothing is known.
  [[nodiscard]] std::int64_t left() const;
};
// Cost: reads some files of /proc and /sys, 0.2 ms.
NEAP_EXPORT Memory memory();

}  // namespace machine
}  // namespace neap
