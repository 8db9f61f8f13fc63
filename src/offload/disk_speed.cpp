// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "offload/disk_speed.h"

#include "device/content_hash.h"
#include "offload/host_memory.h"

#include <neap/machine.h>

#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <system_error>
#include <tuple>

namespace neap::offload {
namespace {

constexpr int kPieces = 4;
constexpr int kPasses = 2;  // the first one allocates blocks and pages, as a first step does

using Clock = std::chrono::steady_clock;

// ns a byte of the better pass. `step` gets the number of a piece.
template <class Step>
double best_of_passes(Step step) {
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const Clock::time_point begin = Clock::now();
    for (int piece = 0; piece < kPieces; ++piece) step(piece);
    const double ns = std::chrono::duration<double, std::nano>(Clock::now() - begin).count();
    const double each = ns / static_cast<double>(kPieces * kPieceBytes);
    best = pass == 0 ? each : std::min(best, each);
  }
  return best;
}

// Hashes each piece, as copies do.
Speed measure_way(BackingFile& file, const HostMemory& memory, Way way, bool to_disk) noexcept {
  const auto offset = [](int piece) { return piece * static_cast<std::int64_t>(kPieceBytes); };
  try {
    device::RunningContentHash hash;
    Speed speed;
    speed.out = best_of_passes([&](int piece) {
      hash.update(memory.start() + offset(piece), kPieceBytes);
      file.write(offset(piece), memory.start() + offset(piece), kPieceBytes, way);
      if (to_disk && piece + 1 == kPieces) file.drop_cache();
    });
    speed.in = best_of_passes([&](int piece) {
      if (to_disk && piece == 0) file.drop_cache();
      file.read(offset(piece), memory.start() + offset(piece), kPieceBytes, way);
      hash.update(memory.start() + offset(piece), kPieceBytes);
    });
    return speed;
  } catch (const std::exception&) {
    return {};  // a full disk, say: the first copy will tell
  }
}

}  // namespace

// Where the cache does not hold what is written, it only takes memory from others. There direct I/O
// may take a tenth longer.
Way DiskSpeed::faster() const noexcept {
  constexpr double kPriceOfCache = 1.1;
  const double price = in_cache ? 1 : kPriceOfCache;
  const bool is_known = direct.out > 0 && buffered.out > 0;
  return is_known && direct.out + direct.in < price * (buffered.out + buffered.in) ? Way::Direct
                                                                                   : Way::Buffered;
}

DiskSpeed measure(BackingFile& file, bool in_cache) noexcept {
  DiskSpeed speed{.in_cache = in_cache};
  const HostMemory memory(kPieces * kPieceBytes);
  if (memory.start() == nullptr) return speed;
  // Neither zeros nor anything that a file system could compress.
  std::uint64_t random = 0x9E3779B97F4A7C15;
  for (std::size_t at = 0; at < memory.bytes(); at += sizeof(random)) {
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    std::copy_n(reinterpret_cast<const char*>(&random), sizeof(random), memory.start() + at);
  }
  speed.buffered = measure_way(file, memory, Way::Buffered, !in_cache);
  if (file.has_direct()) speed.direct = measure_way(file, memory, Way::Direct, /*to_disk=*/false);
  file.clear();
  return speed;
}

DiskSpeed remembered_speed(BackingFile& file, bool in_cache) {
  static std::mutex mutex;
  static auto* const known = new std::map<std::tuple<dev_t, bool>, DiskSpeed>;  // never destroyed
  struct stat status {};
  if (::fstat(file.descriptor(), &status) != 0) return {.in_cache = in_cache};
  const std::lock_guard lock(mutex);
  const auto [at, is_new] = known->try_emplace({status.st_dev, in_cache});
  if (is_new) at->second = measure(file, in_cache);
  return at->second;
}

bool fits_in_cache(std::int64_t bytes) { return machine::memory().left() >= bytes; }

}  // namespace neap::offload
