// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// saved_report() lists what is held for the backward, each storage once, with the allocator's
// totals.
#include "checkpoint/squares.h"
#include "support/bytes.h"
#include "support/message_of.h"

#include <neap/neap.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <string>
#include <utility>
#include <vector>

namespace neap {
namespace {

using namespace squares;

TEST(SavedReport, a_report_counts_each_storage_once_and_its_totals_are_the_allocators) {
  Net net;
  name_layers(net);
  const at::Tensor x = square(1);
  const std::int64_t before = live();
  Scope scope({.observe = true});
  CheckpointOptions options{.name = "middle", .rules = {{.layer = "layer1"}}};
  at::Tensor y = x.sin();
  y = custom_checkpoint(
      options, [&](const at::Tensor& in) { return net.forward(in); }, y);
  const at::Tensor view = y.t();
  const at::Tensor loss = y.exp().sum();
  const SavedReport report = saved_report(loss);
  EXPECT_EQ(report.live, live());
  EXPECT_EQ(report.kept + report.pinned + report.other, report.live);
  std::int64_t made = 0, evicted = 0, tanh_kept = 0;
  for (const SavedStorage& storage : report.storages) {
    if (storage.state == SavedStorage::State::Evicted) {
      evicted += storage.bytes;
      EXPECT_EQ(storage.region, "middle");
      EXPECT_EQ(storage.op, "aten::tanh");
      EXPECT_TRUE(storage.layer == "layer0" || storage.layer == "layer2") << storage.layer;
    } else if (!storage.op.empty()) {
      made += storage.bytes;
    }
    if (storage.op == "aten::tanh" && storage.state == SavedStorage::State::Kept) {
      ++tanh_kept;
      EXPECT_EQ(storage.layer, "layer1");
      EXPECT_EQ(storage.region, "middle");
    }
    if (storage.op.empty()) {
      EXPECT_EQ(storage.state, SavedStorage::State::Pinned);
      EXPECT_NE(storage.reason, "");
    }
  }
  EXPECT_EQ(made, live() - before) << "what operators made is what the allocator gave";
  EXPECT_EQ(evicted, 2 * kTensor);
  EXPECT_EQ(report.evicted, evicted);
  EXPECT_EQ(tanh_kept, 1);
  const std::string text = report.text();
  for (const char* const part :
       {"live ", "evicted 32.0 KiB", "middle", "layer0", "aten::tanh", "parameter"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " is missing in\n" << text;
  }
  loss.backward();
}

TEST(SavedReport, an_observing_scope_gives_the_bits_and_the_bytes_of_none) {
  const auto step = [](bool observe) {
    Net net;
    const at::Tensor x = square(1);
    memory::reset_peak();
    const std::int64_t before = live();
    {
      Scope scope({.observe = observe});
      net.forward(x).sum().backward();
      scope.end();
      EXPECT_EQ(scope.stats().evictions, 0);
    }
    const std::int64_t peak = memory::usage().peak - before;
    std::vector<at::Tensor> gradients;
    for (const at::Tensor& parameter : net.parameters()) gradients.push_back(parameter.grad());
    return std::pair(peak, test::bytes_of(gradients));
  };
  const auto plain = step(false), observed = step(true);
  EXPECT_EQ(plain.first, observed.first);
  EXPECT_EQ(test::first_difference(plain.second, observed.second), std::nullopt);
}

TEST(SavedReport, a_report_needs_a_graph_and_a_scope_that_follows) {
  EXPECT_EQ(
      test::message_of<InvalidArgument>([] { saved_report(square(1)); }),
      "saved_report: the loss has no graph, so nothing is kept for its backward; call it after "
      "a forward with grad mode on, and before the backward");
  const at::Tensor loss = square(1).requires_grad_().sum();
  try {
    saved_report(loss);
    FAIL() << "not refused";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what())
                  .find("inside a Scope with a budget, or one with Options::observe"),
              std::string::npos);
  }
}

TEST(SavedReport, a_refused_budget_brings_the_report_along) {
  const at::Tensor x = square(1).requires_grad_();
  memory::trim();
  try {
    Scope scope({.budget = Bytes(live() + 4 * kTensor), .policy = Online{}});
    std::vector<at::Tensor> all = {x};
    for (int i = 0; i < 12; ++i) all.push_back(pin(all.back().sin()));
    FAIL() << "twelve pinned tensors fit into four";
  } catch (const BudgetExceeded& error) {
    ASSERT_NE(error.saved, nullptr);
    EXPECT_EQ(error.saved->kept + error.saved->pinned + error.saved->other, error.saved->live);
    int pinned = 0;
    for (const SavedStorage& storage : error.saved->storages) {
      if (storage.op == "aten::sin" && storage.reason == "neap::pin") ++pinned;
    }
    EXPECT_GE(pinned, 3);
  }
}

}  // namespace
}  // namespace neap
