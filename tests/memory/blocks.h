// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/memory/blocks.h: blocks of the allocator, and a fixture that restores the allocator's
// settings after each test.
#pragma once

#include "memory/allocator.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <optional>

namespace neap::test {

inline c10::DataPtr take(std::int64_t bytes) {
  return memory::allocator().allocate(static_cast<std::size_t>(bytes));
}

class Allocator : public testing::Test {
 protected:
  void SetUp() override {
    memory::trim();
    before_ = memory::usage();
    memory::reset_peak();
  }
  void TearDown() override {
    memory::set_budget(std::nullopt);
    memory::set_reclaimer(nullptr);
    memory::fail_allocation(0, false);
    memory::validate();
    EXPECT_EQ(memory::usage().live, before_.live) << "a test leaked";
  }
  memory::Usage before_;
};

}  // namespace neap::test
