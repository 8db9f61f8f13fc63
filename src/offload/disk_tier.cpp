// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "offload/disk_tier.h"

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

namespace neap::offload {

DiskTier::DiskTier(const std::filesystem::path& directory, const How& how, device::Device& device)
    : name_(directory.string()),
      file_(directory, how.name),
      device_(device),
      way_(how.way),
      speed_(how.speed) {}

DiskTier::DiskTier(const std::filesystem::path& directory, std::int64_t expected)
    : DiskTier(directory, How{}) {
  const DiskSpeed speed = remembered_speed(file_, fits_in_cache(expected));
  way_ = speed.faster();
  speed_ = speed.of(way_);
}

DiskTier::Stage::Stage(DiskTier& tier) : tier_(tier) {
  std::unique_lock lock(tier_.mutex_);
  tier_.given_back_.wait(lock, [&] { return tier_.free_stages_ > 0; });
  memory_ = std::move(tier_.stages_[--tier_.free_stages_]);
  lock.unlock();
  if (memory_.start() == nullptr) memory_ = HostMemory(kStageBytes);
  if (memory_.start() != nullptr) return;
  lock.lock();
  ++tier_.free_stages_;
  tier_.given_back_.notify_one();
  throw std::system_error(ENOMEM, std::generic_category());
}

DiskTier::Stage::~Stage() {
  const std::lock_guard lock(tier_.mutex_);
  tier_.stages_[tier_.free_stages_++] = std::move(memory_);
  tier_.given_back_.notify_one();
}

void DiskTier::write(std::int64_t offset, const void* from, std::size_t bytes) {
  if (device_.is_host_memory()) {
    file_.write(offset, from, bytes, way_);
    return;
  }
  const Stage stage(*this);
  for (std::size_t done = 0; done < bytes; done += kStageBytes) {
    const std::size_t now = std::min(kStageBytes, bytes - done);
    device_.to_host(stage.start(), static_cast<const char*>(from) + done, now);
    file_.write(offset + static_cast<std::int64_t>(done), stage.start(), now, way_);
  }
}

void DiskTier::read(std::int64_t offset, void* to, std::size_t bytes) {
  if (device_.is_host_memory()) {
    file_.read(offset, to, bytes, way_);
    return;
  }
  const Stage stage(*this);
  for (std::size_t done = 0; done < bytes; done += kStageBytes) {
    const std::size_t now = std::min(kStageBytes, bytes - done);
    file_.read(offset + static_cast<std::int64_t>(done), stage.start(), now, way_);
    device_.from_host(static_cast<char*>(to) + done, stage.start(), now);
  }
}

std::unique_ptr<Tier> open_tier(const std::filesystem::path& directory, std::int64_t expected) {
  return std::make_unique<DiskTier>(directory, expected);
}

}  // namespace neap::offload
