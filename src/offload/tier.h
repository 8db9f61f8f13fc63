// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// offload/tier.h: a place outside of the budget that holds copies of storages: a file, or memory
// that LibTorch does not hold. It knows bytes and offsets only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

namespace neap::offload {

// ns a byte; 0: unknown.
struct Speed {
  double out = 0;
  double in = 0;
};

// Threads: any; two of them may write and read different bytes at the same time.
class Tier {
 public:
  virtual ~Tier() = default;
  // Copies memory of the tracked device to the tier and back. Throws std::system_error with the
  // errno of the system; what the tier has there is then unknown.
  virtual void write(std::int64_t offset, const void* from, std::size_t bytes) = 0;
  virtual void read(std::int64_t offset, void* to, std::size_t bytes) = 0;
  // The content of these bytes is of no use any more: the system gets what is behind them. False:
  // it does not, and they still take room.
  virtual bool release(std::int64_t /*offset*/, std::int64_t /*bytes*/) noexcept { return false; }
  // Offsets are multiples of it, in bytes: a power of two, at least 512. A size may be any; the
  // rest up to the next multiple belongs to nobody else.
  [[nodiscard]] virtual std::int64_t alignment() const noexcept = 0;
  // As it was measured when the tier was opened.
  [[nodiscard]] virtual Speed measured() const noexcept { return {}; }
  // For messages: the directory, or what kind of memory.
  [[nodiscard]] virtual const std::string& name() const noexcept = 0;
};

// A file without a name in the directory, which is gone when the process is, however it ends.
// `expected`: about how many bytes it will hold. Where memory for so many is left, they stay in the
// system's cache of files, and the tier is as fast as that; else it is as fast as the disk.
// Throws: Error, with the directory, what the system says, and what to do.
// Cost: writes and reads some MiB, once for each file system in a process.
std::unique_ptr<Tier> open_tier(const std::filesystem::path& directory,
                                std::int64_t expected = std::int64_t{1} << 30);
// Memory of the host, for a device whose own memory is elsewhere. Throws: Error.
std::unique_ptr<Tier> open_host_tier();

}  // namespace neap::offload
