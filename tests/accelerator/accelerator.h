// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A small accelerator on LibTorch's key PrivateUse1, emulated on the CPU. With it, neap is tested
// on a device that is not the CPU on machines that have none.
//
// What it has of a real one:
//   memory      of its own, behind addresses at which the host faults
//   streams     whose kernels write late, and events: see streams.h
//   a generator with a seed and an offset
//   a thread    in which LibTorch runs the device's part of a backward
// Its kernels are LibTorch's for the CPU, on the bytes of the device's memory.
#pragma once

#include "device/device.h"

#include <c10/core/Device.h>

#include <cstdint>
#include <utility>

namespace neap::test {

// accelerator:0, known to LibTorch from the start of the process.
c10::Device accelerator();
// For device::track(), before install().
device::Device& accelerator_for_neap();

// While it lives, factories that are told no device make tensors on the accelerator.
struct MakesTensors {
  MakesTensors();
  MakesTensors(const MakesTensors&) = delete;
  MakesTensors& operator=(const MakesTensors&) = delete;
  ~MakesTensors();
};

// The most bytes of memory that the device held when a kernel began, since the last call.
// Everything that its stream wrote before that moment is in memory then.
std::int64_t accelerator_most_bytes();
// The number of writes of late kernels.
std::int64_t accelerator_late_writes();
void seed_accelerator(std::uint64_t seed);
// The seed and the offset of its generator.
std::pair<std::uint64_t, std::uint64_t> accelerator_generator_state();

}  // namespace neap::test
