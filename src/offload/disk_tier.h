// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// offload/disk_tier.h: copies in a file. Memory of the host goes to the file as it is; that of
// another device goes through buffers of the host.
#pragma once

#include "device/device.h"
#include "offload/backing_file.h"
#include "offload/disk_speed.h"
#include "offload/host_memory.h"
#include "offload/tier.h"

#include <array>
#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <string>

namespace neap::offload {

class DiskTier final : public Tier {
 public:
  struct How {
    BackingFile::Name name = BackingFile::Name::NoneIfPossible;
    Way way = Way::Buffered;
    Speed speed = {};  // of that way
  };
  // Throws: Error.
  DiskTier(const std::filesystem::path& directory, const How& how,
           device::Device& device = device::tracked());
  // Takes the faster way. As open_tier(). Throws: Error.
  DiskTier(const std::filesystem::path& directory, std::int64_t expected);

  void write(std::int64_t offset, const void* from, std::size_t bytes) override;
  void read(std::int64_t offset, void* to, std::size_t bytes) override;
  bool release(std::int64_t offset, std::int64_t bytes) noexcept override {
    return file_.release(offset, bytes);
  }
  [[nodiscard]] std::int64_t alignment() const noexcept override { return kPageBytes; }
  [[nodiscard]] Speed measured() const noexcept override { return speed_; }
  [[nodiscard]] const std::string& name() const noexcept override { return name_; }
  [[nodiscard]] Way way() const noexcept { return way_; }

 private:
  // One for each of the two threads of Copies and its caller, and one more.
  static constexpr std::size_t kStages = 4;
  static constexpr std::size_t kStageBytes = kPieceBytes;

  // Takes a buffer for as long as it lives. Waits for one. Throws: std::system_error.
  class Stage {
   public:
    explicit Stage(DiskTier& tier);
    Stage(const Stage&) = delete;
    Stage& operator=(const Stage&) = delete;
    ~Stage();
    [[nodiscard]] char* start() const noexcept { return memory_.start(); }

   private:
    DiskTier& tier_;
    HostMemory memory_;
  };

  std::string name_;
  BackingFile file_;
  device::Device& device_;
  Way way_ = Way::Buffered;
  Speed speed_;

  std::mutex mutex_;
  std::condition_variable given_back_;
  std::array<HostMemory, kStages> stages_;  // those that are not in use; mapped when first used
  std::size_t free_stages_ = kStages;
};

}  // namespace neap::offload
