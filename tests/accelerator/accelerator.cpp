// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "accelerator/accelerator.h"

#include "accelerator/device_memory.h"
#include "accelerator/generator.h"
#include "accelerator/streams.h"
#include "device/generator_state.h"

#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/torch.h>

#include <cstring>
#include <memory>
#include <stdexcept>
#include <utility>

namespace neap::test {
namespace {

constexpr c10::DeviceType kType = c10::DeviceType::PrivateUse1;

struct SavedGenerator final : device::GeneratorState {
  explicit SavedGenerator(const at::Generator& generator)
      : GeneratorState(generator),
        seed(impl_of(generator).current_seed()),
        offset(impl_of(generator).get_offset()) {}
  [[nodiscard]] bool is_current() const override {
    return impl_of(generator()).current_seed() == seed &&
           impl_of(generator()).get_offset() == offset;
  }
  void restore() const override {
    impl_of(generator()).set_current_seed(seed);
    impl_of(generator()).set_offset(offset);
  }
  std::uint64_t seed, offset;
};

// ---------------------------------------------------------------- for neap

class Accelerator final : public device::Device {
 public:
  [[nodiscard]] c10::Device where() const noexcept override { return accelerator(); }
  [[nodiscard]] c10::DispatchKey key() const noexcept override {
    return c10::DispatchKey::PrivateUse1;
  }
  [[nodiscard]] c10::DispatchKeySet plain_keys() const noexcept override {
    return c10::DispatchKeySet({c10::DispatchKey::PrivateUse1,
                                c10::DispatchKey::AutogradPrivateUse1,
                                c10::DispatchKey::ADInplaceOrView, c10::DispatchKey::Conjugate,
                                c10::DispatchKey::Negative, c10::DispatchKey::AutocastPrivateUse1});
  }
  [[nodiscard]] std::int64_t alignment() const noexcept override { return 512; }
  [[nodiscard]] bool runs_backward_apart() const noexcept override { return true; }
  [[nodiscard]] device::Pages& pages() override { return DeviceMemory::instance(); }
  [[nodiscard]] c10::Allocator& system_allocator() const override { return *before_; }
  void register_allocator(c10::Allocator& allocator) override {
    c10::SetAllocator(kType, &allocator, 200);
  }
  void join_streams() override { Streams::instance().join_all(); }
  void copy(void* to, const void* from, std::size_t bytes) const override {
    Streams::instance().wait_for_all();
    std::memcpy(inside(to), inside(from), bytes);
  }
  [[nodiscard]] bool is_host_memory() const noexcept override { return false; }
  void to_host(void* host, const void* from, std::size_t bytes) const override {
    Streams::instance().wait_for_all();
    std::memcpy(host, inside(from), bytes);
  }
  void from_host(void* to, const void* host, std::size_t bytes) const override {
    Streams::instance().wait_for_all();
    std::memcpy(inside(to), host, bytes);
  }
  [[nodiscard]] bool is_zero(const void* data, std::size_t bytes) const override {
    Streams::instance().wait_for_all();
    return device::cpu().is_zero(inside(data), bytes);
  }
  [[nodiscard]] device::ContentHash hash_of(const void* data, std::size_t bytes) const override {
    Streams::instance().wait_for_all();
    return device::cpu().hash_of(inside(data), bytes);
  }
  [[nodiscard]] at::Generator default_generator() const override {
    return test::default_generator();
  }
  [[nodiscard]] bool can_save(const at::Generator& generator) const override {
    return generator.defined() && generator.device() == accelerator();
  }
  [[nodiscard]] std::shared_ptr<const device::GeneratorState> save(
      const at::Generator& generator) const override {
    return std::make_shared<const SavedGenerator>(generator);
  }

 private:
  static char* inside(const void* address) { return DeviceMemory::instance().inside(address); }

  // Refuses to allocate before neap::install(). Its blocks have no memory, so its deleter does
  // nothing.
  struct Before final : c10::Allocator {
    c10::DataPtr allocate(std::size_t bytes) override {
      if (bytes == 0) return {nullptr, accelerator()};
      throw std::runtime_error("the accelerator has no memory before neap::install()");
    }
    [[nodiscard]] c10::DeleterFnPtr raw_deleter() const override {
      return [](void*) {};
    }
    void copy_data(void* /*to*/, const void* /*from*/, std::size_t /*bytes*/) const override {}
  };
  Before* before_ = new Before;
};

// ---------------------------------------------------------------- for LibTorch

struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return kType; }
  c10::Device exchangeDevice(c10::Device) const override { return accelerator(); }
  c10::Device getDevice() const override { return accelerator(); }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
  c10::Stream getStream(c10::Device) const override { return of(Streams::current()); }
  c10::Stream getDefaultStream(c10::Device) const override { return of(0); }
  c10::Stream getNewStream(c10::Device, int) const override {
    return of(Streams::instance().next_of_pool());
  }
  c10::Stream getStreamFromGlobalPool(c10::Device, bool) const override {
    return of(Streams::instance().next_of_pool());
  }
  c10::Stream exchangeStream(c10::Stream stream) const override {
    return of(Streams::exchange_current(stream.id()));
  }
  bool queryStream(const c10::Stream& stream) const override {
    return Streams::instance().has_run(Streams::instance().record(stream.id()));
  }
  void synchronizeStream(const c10::Stream& stream) const override {
    Streams::instance().wait(Streams::instance().record(stream.id()));
  }
  void synchronizeDevice(const c10::DeviceIndex) const override {
    Streams::instance().wait_for_all();
  }

  // An event of LibTorch has no memory before it is recorded for the first time.
  void record(void** event, const c10::Stream& stream, const c10::DeviceIndex,
              const c10::EventFlag) const override {
    if (*event == nullptr) *event = new Event;
    *static_cast<Event*>(*event) = Streams::instance().record(stream.id());
  }
  void block(void* event, const c10::Stream& stream) const override {
    if (event != nullptr) Streams::instance().block(stream.id(), *static_cast<Event*>(event));
  }
  bool queryEvent(void* event) const override {
    return event == nullptr || Streams::instance().has_run(*static_cast<Event*>(event));
  }
  void synchronizeEvent(void* event) const override {
    if (event != nullptr) Streams::instance().wait(*static_cast<Event*>(event));
  }
  void destroyEvent(void* event, const c10::DeviceIndex) const noexcept override {
    delete static_cast<Event*>(event);
  }

 private:
  static c10::Stream of(c10::StreamId stream) {
    return c10::Stream(c10::Stream::UNSAFE, accelerator(), stream);
  }
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex) const override {
    return default_generator();
  }
  at::Generator getNewGenerator(c10::DeviceIndex) const override {
    return at::make_generator<Generator>();
  }
};
const bool hooks_are_registered = [] {
  c10::register_privateuse1_backend("accelerator");
  at::RegisterPrivateUse1HooksInterface(new Hooks);
  return true;
}();

}  // namespace

c10::Device accelerator() { return {kType, 0}; }

at::Generator& default_generator() {
  static auto* const generator = new at::Generator(at::make_generator<Generator>());
  return *generator;
}

device::Device& accelerator_for_neap() {
  static auto* const instance = new Accelerator;
  return *instance;
}

std::int64_t accelerator_late_writes() { return Streams::instance().writes(); }
void seed_accelerator(std::uint64_t seed) { impl_of(default_generator()).set_current_seed(seed); }
std::pair<std::uint64_t, std::uint64_t> accelerator_generator_state() {
  const Generator& generator = impl_of(default_generator());
  return {generator.current_seed(), generator.get_offset()};
}

}  // namespace neap::test
