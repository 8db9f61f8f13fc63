// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/memory/tracked_phases.h: a fixture with a tracker, and the bytes that were in use before
// it.
#pragma once

#include "memory/allocator.h"
#include "memory/blocks.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace neap::test {

inline constexpr std::int64_t kMiB = 1 << 20;

// The live bytes of a block of `mib` MiB.
inline std::int64_t taken(std::int64_t mib) { return memory::footprint(mib * kMiB); }

class Tracker : public testing::Test {
 protected:
  void SetUp() override {
    memory::trim();
    base_ = memory::usage().live;
    reserved_ = memory::usage().reserved;
  }
  MemoryTracker tracker_;
  std::int64_t base_ = 0;
  std::int64_t reserved_ = 0;
};

}  // namespace neap::test
