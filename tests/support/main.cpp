// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The main() of every test program. It installs neap's allocator before the first tensor, and sets
// one thread unless a test says otherwise.
#include <neap/memory.h>

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

int main(int argc, char** argv) {
  neap::install();
  at::set_num_threads(1);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
