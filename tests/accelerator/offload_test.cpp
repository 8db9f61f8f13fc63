// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Copies of a device whose memory the host cannot touch, and whose kernels write late.
#include "accelerator/accelerator.h"
#include "offload/copies.h"
#include "offload/disk_tier.h"
#include "offload/host_tier.h"
#include "support/bytes.h"
#include "support/scratch_folder.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace neap::test {
namespace {

using offload::Copies;
using offload::Copy;

class OffloadAccelerator : public ScratchFolder, public testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<offload::Tier> open() {
    if (GetParam() == "host") return offload::open_host_tier();
    return offload::open_tier(folder_);
  }
};

INSTANTIATE_TEST_SUITE_P(Tiers, OffloadAccelerator, testing::Values("host", "disk"),
                         [](const auto& info) { return info.param; });

TEST_P(OffloadAccelerator, brings_back_what_its_kernels_wrote) {
  Copies copies(open(), std::int64_t{64} << 20);
  // Below a piece, and several pieces with a rest.
  for (const std::int64_t items : {3, 1'000, 1'500'001}) {
    SCOPED_TRACE(items);
    const at::Tensor host = torch::arange(items, at::kFloat);
    const at::Tensor x = host.to(accelerator());
    at::Tensor y = x * 3;  // written late
    const auto bytes = static_cast<std::int64_t>(y.nbytes());
    Copy* const copy = copies.begin(y.const_data_ptr(), bytes);
    ASSERT_NE(copy, nullptr) << copies.why_not();
    ASSERT_TRUE(copies.wait_written(*copy)) << copies.why_not();
    EXPECT_TRUE(copies.is_same(*copy, y.const_data_ptr()));
    const at::Tensor z = torch::zeros({items}, x.options());  // written late, before the load
    copies.load(*copy, z.mutable_data_ptr());
    ASSERT_TRUE(copies.wait_loaded(*copy)) << copies.why_lost();
    EXPECT_EQ(first_difference(bytes_of({host * 3}), bytes_of({z.cpu()})), std::nullopt);
    y.add_(1);
    EXPECT_FALSE(copies.is_same(*copy, y.const_data_ptr()));
    copies.drop(*copy);
  }
  EXPECT_EQ(copies.in_use(), 0);
}

// Both threads and the caller copy at the same time, each through a buffer of its own.
TEST_P(OffloadAccelerator, several_copies_are_under_way_at_the_same_time) {
  Copies copies(open(), std::int64_t{256} << 20);
  constexpr std::int64_t kItems = 700'000;
  constexpr int kTensors = 12;
  std::vector<at::Tensor> tensors, expected;
  std::vector<Copy*> all;
  for (int i = 0; i < kTensors; ++i) {
    expected.push_back(torch::full({kItems}, i, at::kFloat));
    tensors.push_back(expected.back().to(accelerator()));
    all.push_back(copies.begin(tensors.back().const_data_ptr(), kItems * 4));
    ASSERT_NE(all.back(), nullptr);
  }
  for (std::size_t i = kTensors; i-- > 0;) {
    ASSERT_TRUE(copies.wait_written(*all[i]));  // the last ones by the caller
    tensors[i].zero_();
    copies.load(*all[i], tensors[i].mutable_data_ptr());
  }
  for (std::size_t i = 0; i < kTensors; ++i) {
    ASSERT_TRUE(copies.wait_loaded(*all[i])) << copies.why_lost();
    EXPECT_EQ(first_difference(bytes_of({expected[i]}), bytes_of({tensors[i].cpu()})),
              std::nullopt);
  }
}

}  // namespace
}  // namespace neap::test
