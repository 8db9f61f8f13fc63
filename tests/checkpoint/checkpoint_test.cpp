// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// checkpoint() and checkpoint_sequential(): what is evicted, what comes back, and how often. Counts
// are exact, because an operator that runs once too often costs time in every step.
#include "checkpoint/squares.h"
#include "engine/engine.h"
#include "memory/allocator.h"
#include "support/bytes.h"

#include <neap/neap.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

namespace neap {
namespace {

using namespace squares;

class Checkpoint : public testing::Test {
 protected:
  void TearDown() override {
    EXPECT_EQ(engine::Engine::instance().recorder_bytes(), 0) << "records are left behind";
    engine::Engine::instance().validate();
  }
};

// Runs `step` plainly and with regions, and compares what both return.
template <class Step>
void expect_equal_bits(Step step) {
  torch::manual_seed(3);
  const test::ByteLists plain = test::bytes_of(step(false));
  torch::manual_seed(3);
  const test::ByteLists found = test::bytes_of(step(true));
  EXPECT_EQ(test::first_difference(plain, found), std::nullopt);
}

template <class F, class... Args>
auto maybe(bool checkpointed, F&& fn, Args&&... args) {
  return checkpointed ? checkpoint(fn, args...) : fn(args...);
}

TEST_F(Checkpoint, evicts_the_inside_and_keeps_the_result) {
  const at::Tensor x = square(1).requires_grad_();
  const std::int64_t before = live();
  at::Tensor y = checkpoint([](const at::Tensor& in) { return in.tanh().sigmoid().exp(); }, x);
  // exp saves its result, which is the output. The outputs of tanh and sigmoid, saved inside, are
  // evicted.
  EXPECT_EQ(live() - before, kTensor);
  Scope scope;
  y.sum().backward();
  EXPECT_EQ(scope.stats().replays, 2) << "tanh and sigmoid, once each; exp is there";
}

TEST_F(Checkpoint, replays_only_what_the_backward_asks_for) {
  const at::Tensor x = square(1).requires_grad_();
  Scope scope;
  at::Tensor y = checkpoint(
      [](const at::Tensor& in) {
        at::Tensor a = in + 1;    // not saved, but tanh is made from it
        at::Tensor b = a.tanh();  // saved
        return b * 2;             // saves nothing
      },
      x);
  const at::Tensor z = y + 1;
  z.sum().backward();
  EXPECT_EQ(scope.stats().replays, 2) << "the sum and tanh; the product nobody needs again";
}

TEST_F(Checkpoint, runs_each_operator_once_more_a_backward_however_many_read_it) {
  const at::Tensor x = square(1).requires_grad_();
  Scope scope;
  at::Tensor y = checkpoint(
      [](const at::Tensor& in) {
        const at::Tensor a = in.sin();
        at::Tensor sum = a * a;
        for (int i = 0; i < 6; ++i) sum = sum + a.cos() * a.exp();
        return sum;
      },
      x);
  y.sum().backward();
  // sin runs once; cos and exp run six times each, because their products read them. No operator
  // saves the sums and the products.
  EXPECT_EQ(scope.stats().replays, 1 + 6 * 2);
}

TEST_F(Checkpoint, frees_what_it_brings_back_as_soon_as_nothing_needs_it) {
  constexpr int kLayers = 8;
  std::vector<at::Tensor> weights;
  for (int i = 0; i < kLayers; ++i) weights.push_back(square(static_cast<std::uint64_t>(i)));
  const at::Tensor x = square(9).requires_grad_();
  at::Tensor y = x;
  for (const at::Tensor& weight : weights) {
    y = checkpoint([&](const at::Tensor& in) { return in.mm(weight).tanh().mm(weight).sigmoid(); },
                   y);
  }
  const at::Tensor loss = y.sum();
  memory::reset_peak();
  const std::int64_t before = live();
  y = at::Tensor();
  loss.backward();
  // Only one segment is restored at a time. Of eight segments with three inner tensors each, never
  // more than one is back.
  EXPECT_LE(memory::usage().peak - before, 8 * kTensor);
}

TEST_F(Checkpoint, takes_and_returns_any_number_of_tensors_in_any_form) {
  expect_equal_bits([](bool checkpointed) {
    const at::Tensor a = square(1).requires_grad_(), b = square(2).requires_grad_();
    const auto pair = maybe(
        checkpointed,
        [](const at::Tensor& p, const at::Tensor& q) {
          return std::pair(p.tanh() * q, std::vector<at::Tensor>{q.sigmoid(), p.mm(q).relu()});
        },
        a, b);
    const auto triple = maybe(
        checkpointed,
        [](const std::vector<at::Tensor>& all, double factor) {
          return std::tuple(all[0].exp() * factor, std::optional(all[1].sin()), 7);
        },
        pair.second, 0.25);
    EXPECT_EQ(std::get<2>(triple), 7);
    (pair.first.sum() + (std::get<0>(triple) * *std::get<1>(triple)).sum()).backward();
    return std::vector<at::Tensor>{a.grad(), b.grad(), pair.first, std::get<0>(triple)};
  });
}

TEST_F(Checkpoint, works_with_captured_weights_and_inputs_that_need_no_gradient) {
  expect_equal_bits([](bool checkpointed) {
    const at::Tensor weight = square(1).requires_grad_(), x = square(2);
    at::Tensor y = x;
    for (int i = 0; i < 3; ++i) {
      y = maybe(
          checkpointed, [&](const at::Tensor& in) { return in.mm(weight).tanh() * 0.5; }, y);
    }
    y.pow(2).sum().backward();
    return std::vector<at::Tensor>{y, weight.grad()};
  });
}

TEST_F(Checkpoint, nests) {
  expect_equal_bits([](bool checkpointed) {
    const at::Tensor x = square(1).requires_grad_();
    const auto inner = [](const at::Tensor& in) {
      return torch::dropout(in.tanh(), 0.3, true).exp();
    };
    const auto outer = [&](const at::Tensor& in) {
      return maybe(checkpointed, inner, maybe(checkpointed, inner, in).sin()).cos();
    };
    const at::Tensor y = maybe(checkpointed, outer, maybe(checkpointed, outer, x));
    y.sum().backward();
    return std::vector<at::Tensor>{x.grad(), y};
  });
}

TEST_F(Checkpoint, lets_the_result_of_an_inner_one_go_with_the_outer_one) {
  const at::Tensor x = square(1).requires_grad_();
  const std::int64_t before = live();
  const at::Tensor y = checkpoint(
      [](const at::Tensor& outer) {
        return checkpoint([](const at::Tensor& inner) { return inner.tanh().sin(); }, outer)
            .cos()
            .tanh();
      },
      x);
  EXPECT_EQ(live() - before, kTensor) << "y alone";
}

TEST_F(Checkpoint, in_inference_mode_evicts_nothing_that_could_be_read_outside) {
  const at::Tensor x = square(1);
  at::Tensor inner, y;
  const std::int64_t before = live();
  {
    const c10::InferenceMode inference;
    y = checkpoint(
        [&](const at::Tensor& t) {
          inner = t.tanh();
          return inner.sin();
        },
        x);
  }
  EXPECT_EQ(live() - before, 2 * kTensor);
}

TEST_F(Checkpoint, under_no_grad_leaves_nothing_but_the_result) {
  const at::Tensor x = square(1);
  const std::int64_t before = live();
  const torch::NoGradGuard no_grad;
  const at::Tensor y = checkpoint([](const at::Tensor& in) { return in.tanh().exp(); }, x);
  EXPECT_EQ(live() - before, kTensor);
  EXPECT_TRUE(torch::equal(y, x.tanh().exp()));
}

TEST_F(Checkpoint, serves_double_backward) {
  expect_equal_bits([](bool checkpointed) {
    const at::Tensor x = square(1).requires_grad_();
    const at::Tensor y = maybe(
        checkpointed, [](const at::Tensor& in) { return in.tanh().mm(in.sigmoid()); }, x);
    const at::Tensor g = torch::autograd::grad({y.pow(2).sum()}, {x}, {}, true, true)[0];
    g.pow(2).sum().backward();
    return std::vector<at::Tensor>{x.grad(), g};
  });
}

TEST_F(Checkpoint, gives_back_a_graph_that_is_never_run) {
  const at::Tensor x = square(1).requires_grad_();
  const std::int64_t before = live();
  {
    const at::Tensor y = checkpoint([](const at::Tensor& in) { return in.tanh().exp().sin(); }, x);
  }
  EXPECT_EQ(live(), before);
}

TEST_F(Checkpoint, runs_the_users_code_once) {
  int calls = 0, hooks = 0;
  const at::Tensor x = square(1).requires_grad_();
  const at::Tensor y = checkpoint(
      [&](const at::Tensor& in) {
        ++calls;
        at::Tensor a = in.tanh();
        a.register_hook([&](const at::Tensor& gradient) {
          ++hooks;
          return gradient;
        });
        return a.exp();
      },
      x);
  y.sum().backward({}, /*retain_graph=*/true);
  y.sum().backward();
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(hooks, 2) << "one a backward";
}

TEST_F(Checkpoint, that_throws_evicts_nothing_and_leaves_the_thread_clean) {
  struct Mine {};
  const at::Tensor x = square(1).requires_grad_();
  at::Tensor kept;
  EXPECT_THROW(checkpoint(
                   [&](const at::Tensor& in) -> at::Tensor {
                     kept = in.tanh();
                     throw Mine();
                   },
                   x),
               Mine);
  EXPECT_NO_THROW((void)kept.const_data_ptr());
  EXPECT_EQ(test::first_difference(test::bytes_of({kept}), test::bytes_of({x.tanh()})),
            std::nullopt);
}

TEST_F(Checkpoint, a_tensor_kept_by_reference_comes_back_when_an_operator_reads_it) {
  at::Tensor inside;
  const at::Tensor x = square(1).requires_grad_();
  const at::Tensor y = checkpoint(
      [&](const at::Tensor& in) {
        inside = in.tanh();
        return inside.exp();
      },
      x);
  EXPECT_THROW((void)inside.const_data_ptr(), c10::Error);
  EXPECT_TRUE(torch::equal(inside, x.tanh()));
  EXPECT_NO_THROW((void)inside.const_data_ptr());
}

// ---- checkpoint_sequential ----

torch::nn::Sequential layers(int count) {
  torch::nn::Sequential all;
  for (int i = 0; i < count; ++i) {
    all->push_back(torch::nn::Linear(kSide, kSide));
  }
  return all;
}

TEST_F(Checkpoint, sequential_cuts_into_segments_whose_sizes_differ_by_one_at_most) {
  for (std::int64_t count = 1; count <= 30; ++count) {
    for (std::int64_t segments = 1; segments <= count; ++segments) {
      std::int64_t end_before = 0, smallest = count, largest = 0;
      for (std::int64_t i = 0; i < segments; ++i) {
        const auto [begin, end] = detail::segment_bounds(count, segments, i);
        EXPECT_EQ(begin, end_before);
        smallest = std::min(smallest, end - begin);
        largest = std::max(largest, end - begin);
        end_before = end;
      }
      EXPECT_EQ(end_before, count);
      EXPECT_LE(largest - smallest, 1);
    }
  }
}

TEST_F(Checkpoint, sequential_gives_the_bits_of_the_plain_one_for_each_number_of_segments) {
  torch::manual_seed(5);
  torch::nn::Sequential model = layers(7);
  const at::Tensor x = square(1);
  const auto gradients = [&](std::int64_t segments) {
    model->zero_grad();
    const at::Tensor y =
        segments == 0 ? model->forward(x) : checkpoint_sequential(model, segments, x);
    y.pow(2).sum().backward();
    std::vector<at::Tensor> all = {y};
    for (const at::Tensor& parameter : model->parameters()) all.push_back(parameter.grad());
    return test::bytes_of(all);
  };
  const test::ByteLists plain = gradients(0);
  for (std::int64_t segments = 1; segments <= 7; ++segments) {
    EXPECT_EQ(test::first_difference(plain, gradients(segments)), std::nullopt) << segments;
  }
}

TEST_F(Checkpoint, sequential_takes_any_range_of_callables) {
  std::vector<std::function<at::Tensor(at::Tensor)>> functions{
      [](const at::Tensor& x) { return x.tanh(); }, [](const at::Tensor& x) { return x.exp(); },
      [](const at::Tensor& x) { return x.sin(); }};
  const at::Tensor x = square(1);
  EXPECT_TRUE(torch::equal(checkpoint_sequential(functions, 2, x), x.tanh().exp().sin()));
}

TEST_F(Checkpoint, sequential_refuses_impossible_numbers_of_segments_with_both_numbers) {
  torch::nn::Sequential model = layers(3);
  for (const std::int64_t segments : {-1, 0, 4}) {
    try {
      checkpoint_sequential(model, segments, square(1));
      ADD_FAILURE() << segments << " segments were taken";
    } catch (const InvalidArgument& error) {
      const std::string text = error.what();
      EXPECT_NE(text.find(std::to_string(segments) + " segments of 3 layers"), std::string::npos)
          << text;
    }
  }
}

// ---- Bounds ----

// h_DTR can bring a storage back many times, but there is a bound. Each materialization runs an
// operator at most once. An operator of the program starts at most one materialization, or two when
// it overwrites something. So there are at most 2 x operators x recorded operators replays, and no
// operator runs more often than operators of the program came after it.
TEST_F(Checkpoint, replays_are_bounded_also_where_the_budget_is_tightest) {
  const at::Tensor x = square(1);
  constexpr int kChain = 60;
  memory::trim();
  const std::int64_t base = memory::usage().reserved;
  int refused = 0;
  for (std::int64_t tensors = 3; tensors < kChain; tensors += 4) {
    try {
      Scope scope({.budget = Bytes(base + (tensors + 2) * kTensor + 65536), .policy = Online{}});
      std::vector<at::Tensor> all = {x};
      for (int i = 0; i < kChain; ++i) all.push_back(all.back().sin());
      at::Tensor last = all.back();
      for (int i = kChain; i > 0; i -= 3) last = last.cos() + all[static_cast<std::size_t>(i)];
      const Stats stats = scope.stats();
      EXPECT_LE(stats.replays, stats.operators * kChain);
      all.clear();
      last = at::Tensor();
      scope.end();
    } catch (const BudgetExceeded&) {
      ++refused;
    }
  }
  EXPECT_LT(refused, 8);
}

}  // namespace
}  // namespace neap
