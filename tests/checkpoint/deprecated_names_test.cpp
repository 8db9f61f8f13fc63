// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The names of the previous version still work.
#include "support/bytes.h"

#include <neap/neap.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

namespace neap::test {
namespace {

TEST(DeprecatedNames, do_what_the_new_ones_do) {
  torch::nn::Linear model(8, 8);
  neap::name(model, "old.");
  const at::Tensor x = torch::randn({256, 8});
  const graph::Trace trace = neap::trace([&] { (void)x.tanh(); });
  EXPECT_EQ(first_difference(bytes_of({neap::tag(x, CheckpointPolicy::MustSave)}), bytes_of({x})),
            std::nullopt);
  EXPECT_FALSE(trace.events.empty());
  EXPECT_TRUE(neap::Policy(Online{}).online());
  EXPECT_TRUE(planner::repeats_of(graph::plain_plan(trace)).empty());
  const CheckpointOptions options{.rules = {{.layer = "old"}}};
  at::Tensor kept;
  EXPECT_NO_THROW(custom_checkpoint(options, [&] { return x; })) << "the layer has its name";
  checkpoint([&] { kept = neap::keep([&] { return x * 2; }); });
  EXPECT_NO_THROW((void)kept.const_data_ptr());
}

}  // namespace
}  // namespace neap::test
