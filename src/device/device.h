// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// device/device.h: what neap must know of a kind of device. The modules memory, intercept and
// engine name none, but for the host's part in intercept/failed_backward.cpp.
//
// neap tracks the tensors of one kind of device in a process: tracked(). Tensors elsewhere are
// foreign: no budget counts them, and nothing is made again from them.
#pragma once

#include "device/content_hash.h"
#include "device/pages.h"

#include <c10/core/Allocator.h>
#include <c10/core/Device.h>
#include <c10/core/DispatchKeySet.h>

#include <cstddef>
#include <cstdint>
#include <memory>

namespace at {
struct Generator;
}

namespace neap::device {

class GeneratorState;

// One instance for each kind of device. Threads: any.
class Device {
 public:
  virtual ~Device() = default;

  // ---- Tensors ----
  [[nodiscard]] virtual c10::Device where() const noexcept = 0;
  // The dispatch key of its kernels, and of a dense tensor on it.
  [[nodiscard]] virtual c10::DispatchKey key() const noexcept = 0;
  // All keys that a tensor may have whose bytes are just the storage's: those of a dense tensor, of
  // autograd and autocast, and of lazy conjugation and negation.
  [[nodiscard]] virtual c10::DispatchKeySet plain_keys() const noexcept = 0;

  // LibTorch runs the device's part of a backward in a thread of its own, unless it is told not to.
  [[nodiscard]] virtual bool runs_backward_apart() const noexcept = 0;

  // ---- Memory ----
  [[nodiscard]] virtual Pages& pages() = 0;
  // Of each block, in bytes: a power of two, at most 512.
  [[nodiscard]] virtual std::int64_t alignment() const noexcept = 0;
  // LibTorch's own allocator: memory from before install() is its.
  [[nodiscard]] virtual c10::Allocator& system_allocator() const = 0;
  // LibTorch allocates by `allocator` from now on. It must live as long as the process.
  virtual void register_allocator(c10::Allocator& allocator) = 0;
  virtual void copy(void* to, const void* from, std::size_t bytes) const = 0;
  // Whether the host reads and writes the device's memory at the same addresses.
  [[nodiscard]] virtual bool is_host_memory() const noexcept = 0;
  // Between the device's memory and the host's, after the work that may still use these bytes of
  // the device. The bytes are there when they return.
  virtual void to_host(void* host, const void* from, std::size_t bytes) const = 0;
  virtual void from_host(void* to, const void* host, std::size_t bytes) const = 0;

  // ---- Streams ----
  // Work that any stream is given from now on runs after all work that any stream was given before.
  // The host does not wait. neap calls it before it allocates, before each operator that it sees,
  // and when it sees no more of them. Then a block may be used by one stream after another, and
  // what one stream has made again is there for all: the program's own events do not order that. A
  // host has no streams and does nothing.
  virtual void join_streams() {}

  // ---- Contents ----
  // Both read all bytes, after the work that may still write them.
  [[nodiscard]] virtual bool is_zero(const void* data, std::size_t bytes) const = 0;
  [[nodiscard]] virtual ContentHash hash_of(const void* data, std::size_t bytes) const = 0;

  // ---- Random numbers ----
  [[nodiscard]] virtual at::Generator default_generator() const = 0;
  // Whether save() knows this kind of generator.
  [[nodiscard]] virtual bool can_save(const at::Generator& generator) const = 0;
  // REQUIRES: can_save(generator).
  [[nodiscard]] virtual std::shared_ptr<const GeneratorState> save(
      const at::Generator& generator) const = 0;
};

// Host memory.
Device& cpu() noexcept;

// cpu(), unless track() named another one.
Device& tracked() noexcept;
// REQUIRES: before any other call of neap: several remember the device.
void track(Device& device) noexcept;

}  // namespace neap::device
