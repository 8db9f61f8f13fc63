// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// offload/backing_file.h: the file of a tier on disk. It never has a name for longer than it takes
// to remove it, so nothing of it is left, however the process ends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

namespace neap::offload {

// Of the file and of memory, for direct I/O: no disk and no file system asks for more than a page.
inline constexpr std::int64_t kPageBytes = 4096;

enum class Way : std::uint8_t {
  Buffered,  // through the system's cache of files
  Direct     // past it, where the memory is at a multiple of kPageBytes
};

// Threads: any.
class BackingFile {
 public:
  enum class Name { NoneIfPossible, Always };
  // Throws: Error, with the directory, what the system says, and what to do.
  explicit BackingFile(const std::filesystem::path& directory, Name name = Name::NoneIfPossible);
  BackingFile(const BackingFile&) = delete;
  BackingFile& operator=(const BackingFile&) = delete;

  // Throws: std::system_error. What cannot go directly is buffered: the end of `bytes` that is no
  // whole page, and memory that does not begin at one.
  void write(std::int64_t offset, const void* from, std::size_t bytes, Way way);
  void read(std::int64_t offset, void* to, std::size_t bytes, Way way);
  // Gives the disk's blocks of whole pages back. False: the file system cannot.
  bool release(std::int64_t offset, std::int64_t bytes) noexcept;
  // Writes what is in the system's cache to the disk, and empties the cache. False: it could not.
  bool drop_cache() noexcept;
  void clear() noexcept;

  [[nodiscard]] bool has_direct() const noexcept { return direct_.number >= 0; }
  // It never had a name. A named one would stay if the process ended between the two calls that
  // make it and remove its name.
  [[nodiscard]] bool is_unnamed() const noexcept { return unnamed_; }
  [[nodiscard]] int descriptor() const noexcept { return buffered_.number; }

 private:
  struct Descriptor {
    Descriptor() = default;
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    ~Descriptor();
    int number = -1;
  };

  void open_unnamed(const std::string& directory);
  void open_named(const std::string& directory);
  // How many bytes of a call may go directly.
  [[nodiscard]] std::size_t direct_part(std::int64_t offset, const void* memory, std::size_t bytes,
                                        Way way) const noexcept;

  bool unnamed_ = false;
  Descriptor buffered_;
  Descriptor direct_;  // the same file; an open file is either direct or not
};

}  // namespace neap::offload
