// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A plan may run an operator again only where the engine would. The engine keeps what nothing can
// make again, and what the program may have written by hand. In the trace, the operators of such
// storages are not replayable.
#include "checkpoint/tracing.h"
#include "memory/allocator.h"

#include <neap/neap.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace neap {
namespace {

using graph::Operator;
using namespace test::tracing;

constexpr std::int64_t kSide = 64;

// Each operator as NAME+ (replayable) or NAME- (not).
std::vector<std::string> replayable(const std::function<void()>& step) {
  const graph::Trace trace = neap::trace_step(step);
  EXPECT_EQ(read_back(trace), trace);
  std::vector<std::string> all;
  for (const Operator& op : operators_of(trace)) {
    all.push_back(op.name.substr(6) + (op.replayable ? "+" : "-"));
  }
  return all;
}
using Names = std::vector<std::string>;

void write_by_hand(const at::Tensor& tensor) { tensor.mutable_data_ptr<float>()[5] = 3; }

TEST(TraceReplayable, what_is_made_from_no_tensor_is_unless_a_hand_has_written_it) {
  const at::Tensor x = torch::randn({kSide, kSide});
  EXPECT_EQ(replayable([&] { (void)(x * torch::ones({kSide, kSide})); }), (Names{"ones+", "mul+"}));
  EXPECT_EQ(replayable([&] { (void)x.clone().mul_(torch::rand_like(x)); }),
            (Names{"clone+", "rand_like+", "mul_+"}));
  EXPECT_EQ(replayable([&] { (void)torch::ones_like(x).sin(); }), (Names{"ones_like+", "sin+"}));
  EXPECT_EQ(replayable([&] { (void)torch::arange(kSide).to(torch::kFloat); }),
            (Names{"arange+", "_to_copy+"}));
  EXPECT_EQ(replayable([&] {
              const at::Tensor made = torch::full({kSide, kSide}, 2.0);
              write_by_hand(made);
              (void)made.sin();
            }),
            (Names{"full-", "sin+"}));
}

// A recipe for it would take more bytes than the number.
TEST(TraceReplayable, a_number_that_is_made_from_no_tensor_is_not) {
  const at::Tensor x = torch::randn({kSide, kSide});
  EXPECT_EQ(replayable([&] { (void)(x * torch::full({}, 2.0)); }), (Names{"full-", "mul+"}));
}

TEST(TraceReplayable, memory_of_the_program_is_read_by_operators_that_are_not) {
  std::vector<float> own(kSide);
  EXPECT_EQ(replayable([&] { (void)torch::from_blob(own.data(), {kSide}).clone().sin(); }),
            (Names{"clone-", "sin+"}));
}

TEST(TraceReplayable, what_a_sparse_tensor_holds_is_not) {
  const at::Tensor places = torch::zeros({1, 4}, torch::kLong), x = torch::randn({4, kSide});
  const graph::Trace trace = neap::trace_step([&] {
    const at::Tensor values = x.sin();
    const at::Tensor sparse = torch::sparse_coo_tensor(places, values, {4, kSide});
    (void)sparse.to_dense();  // reads the sine, unseen
  });
  ASSERT_EQ(operators_of(trace)[0].name, "aten::sin");
  EXPECT_FALSE(operators_of(trace)[0].replayable);
}

TEST(TraceReplayable, empty_memory_is_when_an_operator_is_the_first_to_use_it_and_writes_it_whole) {
  const at::Tensor x = torch::randn({kSide, kSide});
  EXPECT_EQ(replayable([&] { (void)torch::dropout(x, 0.5, true); }),
            (Names{"empty_like+", "bernoulli_+", "div_+", "mul+"}));
  EXPECT_EQ(replayable([&] {
              const at::Tensor y = torch::empty_like(x);
              write_by_hand(y);
              (void)y.sin();
            }),
            (Names{"empty_like-", "sin+"}));
  EXPECT_EQ(replayable([&] {
              const at::Tensor y = torch::empty_like(x);
              write_by_hand(y);
              (void)y.sin();
              y.copy_(x);  // a replay of the sine must not start from here
            }),
            (Names{"empty_like-", "sin+", "copy_+"}));
  EXPECT_EQ(replayable([&] {
              const at::Tensor y = torch::empty_like(x);
              y.narrow(0, 0, 8).copy_(x.narrow(0, 0, 8));
              (void)y.sin();
            }),
            (Names{"empty_like-", "copy_-", "sin+"}));
}

TEST(TraceReplayable, zeros_are_as_long_as_they_are_zeros) {
  const at::Tensor x = torch::randn({kSide, kSide});
  EXPECT_EQ(replayable([&] { (void)(torch::zeros_like(x) + x); }), (Names{"zeros_like+", "add+"}));
  EXPECT_EQ(replayable([&] { (void)torch::zeros({kSide}).add_(1).sin(); }),
            (Names{"zeros+", "add_+", "sin+"}));
  EXPECT_EQ(replayable([&] {
              const at::Tensor y = torch::zeros({kSide});
              write_by_hand(y);
              y.add_(1);  // seen when an operator writes into it
            }),
            (Names{"zeros-", "add_-"}));
  EXPECT_EQ(replayable([&] {
              const at::Tensor y = torch::zeros({kSide});
              write_by_hand(y);
              (void)y.sin();  // seen when it dies
            }),
            (Names{"zeros-", "sin+"}));
  at::Tensor held;
  EXPECT_EQ(replayable([&] {
              held = torch::zeros({kSide});
              write_by_hand(held);  // seen at the end
            }),
            (Names{"zeros-"}));
}

TEST(TraceReplayable, gradients_and_what_the_optimizer_writes_are_not) {
  torch::nn::Linear layer(kSide, kSide);
  torch::optim::SGD optimizer(layer->parameters(), torch::optim::SGDOptions(0.1));
  const at::Tensor x = torch::randn({kSide, kSide});
  const graph::Trace trace = neap::trace_step([&] {
    layer->forward(x).tanh().sum().backward();
    optimizer.step();
    optimizer.zero_grad();
  });
  int backward = 0, optimizing = 0;
  for (const Operator& op : operators_of(trace)) {
    if (op.phase == graph::Phase::Forward) {
      EXPECT_EQ(op.replayable, op.name != "aten::ones_like") << op.name;
    } else {
      ++(op.phase == graph::Phase::Backward ? backward : optimizing);
      EXPECT_FALSE(op.replayable) << op.name;
    }
  }
  EXPECT_GT(backward, 0);
  EXPECT_GT(optimizing, 0);
}

// The forward of a custom function writes in this way: see Note [Writes with grad mode off].
TEST(TraceReplayable, what_was_made_since_grad_mode_went_off_can_be_made_again) {
  const at::Tensor x = torch::randn({kSide, kSide});
  EXPECT_EQ(replayable([&] {
              const at::Tensor made = x.tanh();
              const at::NoGradGuard guard;
              at::Tensor y = made.clone();
              y.mul_(2).add_(made);
            }),
            (Names{"tanh+", "clone+", "mul_+", "add_+"}));
  EXPECT_EQ(replayable([&] {
              const at::NoGradGuard guard;
              at::Tensor y = x.clone();
              y.mul_(2);
            }),
            (Names{"clone+", "mul_-"}))
      << "a batch would be held for it";
}

TEST(TraceReplayable, what_is_made_from_a_gradient_with_grad_mode_off_is_not) {
  const at::Tensor x = torch::randn({kSide, kSide}).requires_grad_();
  const at::Tensor y = x.tanh().sum();
  EXPECT_EQ(replayable([&] {
              const at::Tensor gradient = torch::autograd::grad({y}, {x}, {}, true)[0];
              const at::NoGradGuard guard;
              torch::zeros_like(x).add_(gradient);
            }).back(),
            "add_-");
}

TEST(TraceReplayable, what_is_written_where_nobody_records_stays_so) {
  const at::Tensor x = torch::randn({kSide, kSide});
  EXPECT_EQ(replayable([&] {
              at::Tensor y = x.clone();
              {
                const at::NoGradGuard guard;
                y.mul_(2);
              }
              y.add_(x);
            }),
            (Names{"clone+", "mul_-", "add_-"}));
}

// All cases at once, compared with the engine: what a scope with a budget could evict at the end of
// a forward is what the trace's operators could make again.
TEST(TraceReplayable, is_what_a_scope_with_a_budget_can_evict) {
  const at::Tensor x = torch::randn({kSide, kSide}), weight = torch::randn({kSide, kSide});
  std::vector<float> own(kSide * kSide);
  const auto forward = [&](std::vector<at::Tensor>& held) {
    const auto hold = [&](at::Tensor tensor) {
      held.push_back(tensor);
      return tensor;
    };
    at::Tensor y = hold(x.mm(weight));
    y = hold(torch::dropout(hold(y.tanh()), 0.3, true));
    hold(y.clone().mul_(2).add_(x));
    hold(y.clone().resize_({kSide, kSide + 1}));  // not known to be replayable
    hold(torch::ones({kSide, kSide}));
    hold(torch::zeros({kSide, kSide}));
    hold(torch::zeros_like(x).index_add_(0, torch::arange(kSide), y));
    write_by_hand(hold(torch::empty({kSide, kSide})));
    hold(torch::from_blob(own.data(), {kSide, kSide}).sin());
    hold(torch::empty_like(x).copy_(y));
    const at::Tensor before = y.clone();
    const at::NoGradGuard guard;
    hold(y.exp());
    hold(before.mul_(2));  // may be a state that outlives the step
    hold(y.clone().mul_(2).add_(weight));
  };
  using Counts = std::map<std::pair<std::string, bool>, int>;
  Counts engine, traced;
  {
    const Scope scope({.budget = Bytes(memory::usage().live + (64 << 20))});
    std::vector<at::Tensor> held;
    forward(held);
    const SavedReport report = saved_report(torch::ones({1}).requires_grad_());
    for (const SavedStorage& one : report.storages) {
      if (one.op.empty() || one.bytes < 4 * kSide * kSide) continue;
      ++engine[{one.op, one.state == SavedStorage::State::Kept}];
    }
  }
  std::vector<at::Tensor> held;
  const graph::Trace trace = neap::trace_step([&] { forward(held); });
  std::map<graph::StorageId, std::pair<std::string, bool>> storages;
  std::set<graph::StorageId> large;
  for (const Operator& op : operators_of(trace)) {
    for (const graph::Made& made : op.makes) {
      storages[made.storage] = {op.name, op.replayable};
      if (made.bytes >= 4 * kSide * kSide) large.insert(made.storage);
    }
    for (const graph::StorageId id : op.mutates) {
      if (!storages.contains(id)) continue;
      // The engine names the operator that wrote the whole storage.
      if (storages.at(id).first.starts_with("aten::empty")) storages.at(id).first = op.name;
      storages.at(id).second = storages.at(id).second && op.replayable;
    }
  }
  for (const graph::StorageId id : trace.keep) {
    if (large.contains(id)) ++traced[storages.at(id)];
  }
  EXPECT_EQ(engine, traced);
  EXPECT_GT((engine[{"aten::clone", true}]), 0);
  EXPECT_GT((engine[{"aten::clone", false}]), 0);
}

}  // namespace
}  // namespace neap
