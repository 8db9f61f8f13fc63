// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "engine/block_copies.h"

#include "device/device.h"
#include "memory/allocator.h"
#include "offload/tier.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

namespace neap::engine {
namespace {

// Without a directory, a device of its own memory has that of the host.
std::unique_ptr<offload::Tier> tier_of(const Offload& where) {
  if (!where.directory.empty()) {
    // A limit says what may be used at most. A step seldom needs more than this.
    constexpr std::int64_t kLikely = std::int64_t{1} << 30;  // bytes
    return offload::open_tier(where.directory,
                              where.limit ? std::min(where.limit->count(), kLikely) : kLikely);
  }
  if (!device::tracked().is_host_memory()) return offload::open_host_tier();
  throw InvalidArgument(
      "Offload::directory is empty: name the directory for the file that storages are copied to");
}

}  // namespace

void BlockCopies::open(const Offload& where) {
  const std::int64_t limit =
      where.limit ? where.limit->count() : std::numeric_limits<std::int64_t>::max();
  if (limit <= 0) {
    throw InvalidArgument("Offload::limit of " + std::to_string(limit) +
                          " bytes: expected more than 0; leave it out for what the disk gives");
  }
  if (!copies_ || where.directory != directory_ || limit != copies_->limit()) {
    if (in_use() > 0) {
      throw ScopeConflict("storages are still in " + directory_.string() + " (" +
                          Bytes(in_use()).text() +
                          "), where an earlier scope has moved them: name that directory with its "
                          "limit, or bring them back by operators first");
    }
    copies_ = std::make_unique<offload::Copies>(tier_of(where), limit);
    directory_ = where.directory;
  }
  copies_->reset_peak();
  open_ = true;
}

bool BlockCopies::is_copyable(const Block& block) noexcept {
  if (block.bytes < kSmallestCopy || block.unseen || block.uncopied || block.storage == nullptr) {
    return false;
  }
  if (block.blank == Blank::Watched) return false;
  switch (block.pinned) {
    case PinReason::Outside:
      return block.version > 0;
    case PinReason::Empty:
    case PinReason::Factory:
    case PinReason::Exposed:
      return false;
    default:
      return true;
  }
}

BlockCopies::Speed BlockCopies::speed() const noexcept {
  const auto per_second = [](double ns_per_byte) {
    constexpr double kNs = 1e9, kFastest = 1e12;
    return static_cast<std::int64_t>(std::clamp(kNs / ns_per_byte, 1.0, kFastest));
  };
  return {per_second(copies_->out_ns_per_byte()), per_second(copies_->in_ns_per_byte())};
}

std::optional<Bytes> BlockCopies::limit() const noexcept {
  if (copies_->limit() == std::numeric_limits<std::int64_t>::max()) return std::nullopt;
  return Bytes(copies_->limit());
}

double BlockCopies::price_ns(const Block& block) const noexcept {
  const auto bytes = static_cast<double>(block.bytes);
  const double in = kCallNs + bytes * copies_->in_ns_per_byte();
  if (block.copy != nullptr) return in;
  if (!can_copy(block) || !copies_->has_room(block.bytes)) {
    return std::numeric_limits<double>::infinity();
  }
  return in + kCallNs + bytes * copies_->out_ns_per_byte();
}

bool BlockCopies::begin(Block& block) {
  if (block.copy != nullptr) return true;
  block.copy = copies_->begin(block.data, block.bytes);
  if (block.copy == nullptr) return false;
  ++counts_.stats.offloads;
  counts_.stats.offloaded_bytes += block.bytes;
  return true;
}

bool BlockCopies::settle(Block& block) noexcept {
  const Timed waiting(counts_, &Stats::offload_wait_ns);
  if (!copies_->wait_written(*block.copy)) {
    block.uncopied = true;
    drop(block);
    return false;
  }
  if (may_be_written_by_hand(block) && !copies_->is_same(*block.copy, block.data)) {
    drop(block);
    return false;
  }
  return true;
}

void BlockCopies::drop(Block& block) noexcept {
  if (block.copy == nullptr) return;
  copies_->drop(*std::exchange(block.copy, nullptr));
}

void BlockCopies::release_memory(Block& block) noexcept {
  if (block.copy != nullptr && !copies_->wait_written(*block.copy)) drop(block);
}

void BlockCopies::load(Block& block) { copies_->load(*block.copy, block.arriving); }

bool BlockCopies::finish_load(Block& block) noexcept {
  const Timed waiting(counts_, &Stats::offload_wait_ns);
  if (copies_->wait_loaded(*block.copy)) {
    ++counts_.stats.loads;
    counts_.stats.loaded_bytes += block.bytes;
    return true;
  }
  copies_->drop(*std::exchange(block.copy, nullptr));
  return false;
}

std::string BlockCopies::why_not() const {
  return copies_ && !copies_->has_room(kSmallestCopy) ? copies_->why_not() : std::string();
}
std::string BlockCopies::why_lost() const { return copies_ ? copies_->why_lost() : std::string(); }

void BlockCopies::abandon_in_child() noexcept {
  if (copies_) copies_->abandon_in_child();
  static_cast<void>(copies_.release());  // its threads are the parent's
  open_ = false;
}

}  // namespace neap::engine
