// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "device/cpu/cpu_pages.h"
#include "device/cpu/mersenne_twister.h"
#include "device/device.h"

#include <ATen/CPUGeneratorImpl.h>
#include <c10/core/CPUAllocator.h>

#include <cstdint>
#include <cstring>

namespace neap::device {
namespace {

class CpuDevice final : public Device {
 public:
  [[nodiscard]] c10::Device where() const noexcept override {
    return c10::Device(c10::DeviceType::CPU);
  }
  [[nodiscard]] c10::DispatchKey key() const noexcept override { return c10::DispatchKey::CPU; }
  [[nodiscard]] c10::DispatchKeySet plain_keys() const noexcept override {
    return c10::DispatchKeySet({c10::DispatchKey::CPU, c10::DispatchKey::AutogradCPU,
                                c10::DispatchKey::ADInplaceOrView, c10::DispatchKey::Conjugate,
                                c10::DispatchKey::Negative, c10::DispatchKey::AutocastCPU});
  }

  [[nodiscard]] bool runs_backward_apart() const noexcept override { return false; }

  [[nodiscard]] Pages& pages() override { return pages_; }
  // The largest that vector instructions ask for.
  [[nodiscard]] std::int64_t alignment() const noexcept override { return 64; }
  [[nodiscard]] c10::Allocator& system_allocator() const override {
    return *c10::GetDefaultCPUAllocator();
  }
  void register_allocator(c10::Allocator& allocator) override {
    // Higher than LibTorch's default and the mobile allocators, which register at 0 and 100.
    constexpr std::uint8_t kPriority = 200;
    c10::SetCPUAllocator(&allocator, kPriority);
  }
  void copy(void* to, const void* from, std::size_t bytes) const override {
    std::memcpy(to, from, bytes);
  }
  [[nodiscard]] bool is_host_memory() const noexcept override { return true; }
  void to_host(void* host, const void* from, std::size_t bytes) const override {
    std::memcpy(host, from, bytes);
  }
  void from_host(void* to, const void* host, std::size_t bytes) const override {
    std::memcpy(to, host, bytes);
  }

  [[nodiscard]] bool is_zero(const void* data, std::size_t bytes) const override {
    const auto* const first = static_cast<const char*>(data);
    return bytes == 0 || (first[0] == 0 && std::memcmp(first, first + 1, bytes - 1) == 0);
  }
  [[nodiscard]] ContentHash hash_of(const void* data, std::size_t bytes) const override {
    return ContentHash::of(data, bytes);
  }

  [[nodiscard]] at::Generator default_generator() const override {
    return at::detail::getDefaultCPUGenerator();
  }
  [[nodiscard]] bool can_save(const at::Generator& generator) const override {
    return MersenneTwisterState::is_of(generator);
  }
  [[nodiscard]] std::shared_ptr<const GeneratorState> save(
      const at::Generator& generator) const override {
    return std::make_shared<const MersenneTwisterState>(generator);
  }

 private:
  CpuPages pages_;
};

}  // namespace

Device& cpu() noexcept {
  static auto* const device = new CpuDevice;  // leaked: deleters run after static destruction
  return *device;
}

}  // namespace neap::device
