// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The bits that a kernel gives depend on more than its arguments: autocast, oneDNN, threads, the
// flush of denormals. A replay runs in the backward, where these may differ. Then the loss is the
// same, but the gradients are not.
#include "device/execution_state.h"
#include "intercept/operators.h"
#include "regression/evicting.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>

namespace neap::test {
namespace {

at::Context& context() { return at::globalContext(); }

class Autocast {
 public:
  Autocast() {
    at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
    at::autocast::set_autocast_enabled(at::kCPU, true);
    at::autocast::increment_nesting();
  }
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;
  ~Autocast() {
    if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(at::kCPU, false);
  }
};

TEST(ExecutionState, a_product_made_under_autocast_comes_back_as_bfloat16_outside_of_it) {
  const at::Tensor a = torch::randn({48, 48});
  const at::Tensor b = torch::randn({48, 48});
  const std::int64_t replays = expect_same_bytes_when_back([&] {
    const Autocast autocast;
    return a.mm(b);
  });
  EXPECT_EQ(replays, 3) << "two casts and the product";
}

TEST(ExecutionState, a_product_made_without_autocast_comes_back_as_float_inside_of_it) {
  const at::Tensor a = torch::randn({48, 48});
  const at::Tensor b = torch::randn({48, 48});
  const at::Tensor expected = a.mm(b);
  const Counts counts;
  const at::Tensor made = made_in_region([&] { return a.mm(b); });
  ASSERT_TRUE(evicted(made));
  at::Tensor copy;
  {
    const Autocast autocast;
    copy = made.clone();
    EXPECT_TRUE(at::autocast::is_autocast_enabled(at::kCPU)) << "the replay put it back";
  }
  EXPECT_EQ(counts.replays(), 1);
  EXPECT_EQ(first_difference(bytes_of({expected}), bytes_of({copy})), std::nullopt);
}

// A division of integers, and a factory without a type, depend on the default type.
TEST(ExecutionState, what_the_default_type_decided_comes_back_in_it) {
  const at::Tensor whole = torch::arange(2048);
  for (const bool factory : {false, true}) {
    const std::int64_t replays = expect_same_bytes_when_back(
        [&] { return factory ? torch::full({2048}, 0.1) : whole / 7; },
        [] { torch::set_default_dtype(caffe2::TypeMeta::Make<c10::BFloat16>()); });
    EXPECT_EQ(torch::get_default_dtype(), caffe2::TypeMeta::Make<c10::BFloat16>())
        << "the replay put it back";
    torch::set_default_dtype(caffe2::TypeMeta::Make<float>());
    EXPECT_EQ(replays, 1);
  }
}

// Autocast's own kernels do not cast this operator. It reads autocast's state itself.
TEST(ExecutionState, a_euclidean_distance_comes_back_as_it_was_made_under_autocast) {
  const at::Tensor a = torch::randn({40, 30});
  const at::Tensor b = torch::randn({40, 30});
  expect_same_bytes_when_back([&] {
    const Autocast autocast;
    return torch::cdist(a, b, 2.0, 1);
  });
}

// The second product takes its weight from autocast's cache. The first product filled the cache,
// and the end of autocast empties it.
TEST(ExecutionState, a_weight_that_autocast_had_cached_can_be_made_again_after_the_cache_is_empty) {
  at::Tensor weight = torch::randn({48, 48}).requires_grad_();
  const at::Tensor x = torch::randn({48, 48});
  const auto run = [&](bool regions) {
    weight.mutable_grad() = at::Tensor();
    at::Tensor y = x;
    {
      const Autocast autocast;
      for (int i = 0; i < 2; ++i) {
        const auto layer = [&](const at::Tensor& in) { return torch::tanh(in.mm(weight) * 0.1); };
        y = regions ? checkpoint(layer, y) : layer(y);
      }
    }
    y.sum().backward();
    return bytes_of({y, weight.grad()});
  };
  const ByteLists expected = run(false);
  const Counts counts;
  EXPECT_EQ(first_difference(expected, run(true)), std::nullopt);
  EXPECT_GT(counts.replays(), 0);
}

TEST(ExecutionState, a_training_step_under_autocast_is_the_same_under_a_budget) {
  expect_same_bytes_under_budgets(
      [] {
        at::Tensor weight = torch::randn({64, 64}).mul_(0.1).requires_grad_();
        at::Tensor x = torch::rand({64, 64});
        {
          const Autocast autocast;
          for (int i = 0; i < 10; ++i) x = torch::softmax(torch::tanh(x.mm(weight)), 1) + x;
          x = x.to(torch::kFloat).sum();
        }
        x.backward();
        return std::vector<at::Tensor>{weight.grad(), x};
      },
      {85, 75});
}

// `on` is in force when the region runs; `off` at the replay and afterwards.
void expect_state_restored(const std::function<void()>& on, const std::function<void()>& off,
                           const std::function<at::Tensor()>& make, std::int64_t replays) {
  const std::int64_t ran = expect_same_bytes_when_back(
      [&] {
        on();
        at::Tensor made = make();
        off();
        return made;
      },
      off);
  EXPECT_EQ(ran, replays);
}

TEST(ExecutionState, a_convolution_comes_back_with_onednn_as_it_was) {
  const at::Tensor x = torch::randn({2, 8, 20, 20});
  const at::Tensor weight = torch::randn({8, 8, 3, 3});
  const auto make = [&] { return torch::conv2d(x, weight, {}, 1, 1); };
  const auto on = [] { context().setUserEnabledMkldnn(true); };
  const auto off = [] { context().setUserEnabledMkldnn(false); };
  expect_state_restored(on, off, make, 1);
  EXPECT_FALSE(context().userEnabledMkldnn()) << "the replay put it back";
  expect_state_restored(off, on, make, 1);
  EXPECT_TRUE(context().userEnabledMkldnn());
}

// Only products of matrices depend on this precision. Operators that add or multiply number by
// number are the same at any precision.
TEST(ExecutionState, of_a_product_knows_the_precision_that_it_was_made_with) {
  const auto set = [](at::Float32Precision precision) {
    context().setFloat32Precision(at::Float32Backend::MKLDNN, at::Float32Op::MATMUL, precision);
  };
  const at::Float32Precision before =
      context().float32Precision(at::Float32Backend::MKLDNN, at::Float32Op::MATMUL);
  device::ExecutionStates states;
  set(at::Float32Precision::IEEE);
  const std::uint16_t exact = states.current(true);
  set(at::Float32Precision::BF16);
  EXPECT_EQ(states.current(false), exact);
  const std::uint16_t reduced = states.current(true);
  EXPECT_NE(reduced, exact);
  EXPECT_EQ(states.current(false), reduced);
  set(before);

  const auto traits = [](const char* name) -> const intercept::OperatorTraits& {
    return intercept::traits_of(c10::Dispatcher::singleton().findSchemaOrThrow(name, ""));
  };
  for (const char* const name : {"aten::mm", "aten::addmm", "aten::bmm", "aten::convolution",
                                 "aten::mkldnn_rnn_layer", "aten::baddbmm"}) {
    EXPECT_FALSE(traits(name).pointwise) << name;
  }
  EXPECT_TRUE(traits("aten::sin").pointwise);
}

TEST(ExecutionState, a_sum_comes_back_with_the_number_of_threads_that_it_had) {
  const at::Tensor x = torch::randn({1 << 20});
  const auto two = [] { at::set_num_threads(2); };
  const auto one = [] { at::set_num_threads(1); };
  const auto make = [&] { return torch::cumsum(x.view({1024, 1024}), 1).sum(1); };
  expect_state_restored(two, one, make, 2);
  EXPECT_EQ(at::get_num_threads(), 1);
  expect_state_restored(one, two, make, 2);
  EXPECT_EQ(at::get_num_threads(), 2);
  one();
}

TEST(ExecutionState, denormals_come_back_as_they_were_flushed_or_not) {
  if (!at::globalContext().setFlushDenormal(true)) GTEST_SKIP() << "this processor has no flush";
  context().setFlushDenormal(false);
  const at::Tensor x = torch::full({1024}, 1e-38F);
  const auto flush = [] { at::globalContext().setFlushDenormal(true); };
  const auto keep = [] { at::globalContext().setFlushDenormal(false); };
  const auto make = [&] { return x * 0.01; };
  const Counts counts;
  flush();
  at::Tensor made = made_in_region(make);
  keep();
  ASSERT_TRUE(evicted(made));
  EXPECT_EQ(made.count_nonzero().item<std::int64_t>(), 0) << "made while denormals were zero";
  made = made_in_region(make);
  ASSERT_TRUE(evicted(made));
  flush();
  const at::Tensor copy = made.clone();
  keep();
  EXPECT_EQ(counts.replays(), 2);
  EXPECT_EQ(copy.view(torch::kInt).count_nonzero().item<std::int64_t>(), 1024);
}

TEST(ExecutionState, deterministic_algorithms_are_asked_for_at_the_replay_as_they_were) {
  const at::Tensor x = torch::randn({64, 64});
  const at::Tensor rows = torch::randint(0, 64, {256});
  const auto on = [] { context().setDeterministicAlgorithms(true, false); };
  const auto off = [] { context().setDeterministicAlgorithms(false, false); };
  expect_state_restored(
      on, off, [&] { return x.index_select(0, rows).cumsum(0); }, 2);
  EXPECT_FALSE(context().deterministicAlgorithms());
  // Nondeterministic operators were allowed when this one ran, so its replay is allowed too.
  const at::Tensor made = made_in_region([&] { return x.clone().put_(rows, torch::ones({256})); });
  on();
  const at::Tensor copy = made.clone();
  EXPECT_TRUE(context().deterministicAlgorithms());
  off();
  EXPECT_EQ(
      first_difference(bytes_of({x.clone().put_(rows, torch::ones({256}))}), bytes_of({copy})),
      std::nullopt);
}

TEST(ExecutionState, that_a_throwing_replay_met_is_put_back) {
  const at::Tensor x = torch::randn({256, 256});
  at::set_num_threads(2);
  at::Tensor made = made_in_region([&] { return x * 2; });
  at::set_num_threads(1);
  ASSERT_TRUE(evicted(made));
  memory::fail_allocation(1, true);
  EXPECT_ANY_THROW(made.add_(1));
  memory::fail_allocation(0, false);
  EXPECT_EQ(at::get_num_threads(), 1);
  EXPECT_EQ(first_difference(bytes_of({x * 2}), bytes_of({made})), std::nullopt);
}

}  // namespace
}  // namespace neap::test
