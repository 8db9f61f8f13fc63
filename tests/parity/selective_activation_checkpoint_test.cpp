// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// PyTorch's TestSelectiveActivationCheckpoint, in C++: docs/parity.md.
#include "parity/parity.h"

#include <torch/library.h>

namespace neap::parity {
namespace {

using TestSelectiveActivationCheckpoint = Parity;

CheckpointOptions must_save(const std::string& op) {
  return {.rules = {{.op = op, .policy = CheckpointPolicy::MustSave}}};
}

Function selective(CheckpointOptions options, Function fn) {
  return [options = std::move(options), fn = std::move(fn)](const at::Tensor& x) {
    return custom_checkpoint(options, fn, x);
  };
}

// On CUDA, PyTorch's test counts floating-point operations. Here the test counts replays.
TEST_F(TestSelectiveActivationCheckpoint, test_flops_and_mem) {
  constexpr std::int64_t kLarge = 512;
  const at::Tensor x = leaf({kLarge, kLarge}), y = leaf({kLarge, kLarge});
  const std::int64_t tensor = memory::footprint(kLarge * kLarge * 4), scalar = memory::footprint(4);
  const Function fn = [&](const at::Tensor& in) { return in.cos().mm(y).sin().sum(); };
  struct Cost {
    std::int64_t bytes, replays;
    ByteLists gradients;
  };
  const auto cost_of = [&](const Function& run) {
    Cost cost{};
    cost.gradients = gradients_after({x, y}, [&] {
      const Since start;
      const at::Tensor out = run(x);
      cost.bytes = start.bytes() - scalar;
      out.backward();
      cost.replays = start.replays();
      return std::vector<at::Tensor>{out};
    });
    return cost;
  };
  const Cost plain = cost_of(fn);
  EXPECT_EQ(plain.bytes, 2 * tensor) << "cos for the product, the product for sin";
  const Cost all = cost_of(checkpointed(fn));
  EXPECT_EQ(all.bytes, 0);
  EXPECT_EQ(all.replays, 2) << "cos and the product";
  EXPECT_EQ(first_difference(plain.gradients, all.gradients), std::nullopt);
  // The policy is a list of operators, a function that returns policies, or one that knows only
  // save or not.
  CheckpointOptions by_policy, by_answer;
  by_policy.policy = [](const CheckpointCandidate& one) -> std::optional<CheckpointPolicy> {
    return one.op == "aten::mm" ? CheckpointPolicy::MustSave : CheckpointPolicy::PreferRecompute;
  };
  by_answer.policy = [](const CheckpointCandidate& one) {
    return one.op == "aten::mm" ? std::optional(CheckpointPolicy::MustSave) : std::nullopt;
  };
  for (const CheckpointOptions& options : {must_save("aten::mm"), by_policy, by_answer}) {
    const Cost cost = cost_of(selective(options, fn));
    EXPECT_EQ(cost.bytes, tensor);
    EXPECT_EQ(cost.replays, 1) << "cos alone";
    EXPECT_EQ(first_difference(plain.gradients, cost.gradients), std::nullopt);
  }
}

TEST_F(TestSelectiveActivationCheckpoint, test_output_already_has_autograd_meta) {
  const auto fn = [](const at::Tensor& x, const at::Tensor& y) {
    return std::pair(x.view({-1}), y.sin().cos());
  };
  const at::Tensor x = torch::tensor({1, 2, 3}, torch::kLong), y = leaf();
  const auto out = custom_checkpoint(must_save("aten::view"), fn, x, y);
  EXPECT_TRUE(torch::equal(out.first, x));
  const Since start;
  out.second.sum().backward();
  EXPECT_EQ(start.replays(), 1);
  EXPECT_EQ(first_difference(bytes_of(torch::autograd::grad({y.sin().cos().sum()}, {y})),
                             bytes_of({y.grad()})),
            std::nullopt);
}

// Operators are named by patterns here, so only limits and weights can be wrong.
TEST_F(TestSelectiveActivationCheckpoint, test_bad_inputs) {
  const at::Tensor x = leaf();
  const auto refused = [&](const CheckpointOptions& options) {
    return message_of<InvalidArgument>([&] {
      custom_checkpoint(
          options, [](const at::Tensor& in) { return in.sin(); }, x);
    });
  };
  EXPECT_NE(refused({.keep_at_most = Bytes(-1)}), "nothing was thrown");
  EXPECT_NE(refused({.keep_at_most = Bytes(1), .free_at_least = Bytes(1)}), "nothing was thrown");
  EXPECT_NE(refused({.importance = {{"*", -1}}}), "nothing was thrown");
  struct Anything {};
  static_assert(!std::is_constructible_v<CheckpointOptions, int>);
  static_assert(!std::is_assignable_v<decltype(CheckpointOptions::policy)&, Anything>);
}

TEST_F(TestSelectiveActivationCheckpoint, test_policy_with_state) {
  int asked = 0;
  CheckpointOptions options;
  options.policy = [&](const CheckpointCandidate& one) -> std::optional<CheckpointPolicy> {
    ++asked;
    EXPECT_EQ(one.op, "aten::sin");
    return CheckpointPolicy::PreferRecompute;
  };
  const at::Tensor x = leaf();
  const at::Tensor y = custom_checkpoint(
      options, [](const at::Tensor& in) { return in.sin().sin().sin(); }, x);
  EXPECT_EQ(asked, 3) << "for each result, when it is made";
  const Since start;
  y.sum().backward();
  EXPECT_EQ(asked, 3) << "a replay asks nothing";
  EXPECT_EQ(start.replays(), 2) << "the third is the result of the region";
}

TEST_F(TestSelectiveActivationCheckpoint, test_storage_lifetime) {
  const at::Tensor x = leaf();
  c10::weak_intrusive_ptr<c10::StorageImpl> kept(c10::intrusive_ptr<c10::StorageImpl>{});
  const auto make = [&] {
    return custom_checkpoint(
        must_save("*"),
        [&](const at::Tensor& in) {
          const at::Tensor out = in.cos().exp();
          kept = c10::weak_intrusive_ptr<c10::StorageImpl>(
              c10::intrusive_ptr<c10::StorageImpl>::reclaim_copy(
                  out.storage().unsafeGetStorageImpl()));
          return out.sin();
        },
        x);
  };
  const Since start;
  {
    const at::Tensor out = make();
    EXPECT_FALSE(kept.expired());
  }
  EXPECT_TRUE(kept.expired()) << "the graph that held it went without a backward";
  EXPECT_EQ(start.bytes(), 0);
  at::Tensor out = make();
  out.sum().backward({}, /*retain_graph=*/true);
  EXPECT_FALSE(kept.expired()) << "a graph that is retained retains what it has saved";
  out = at::Tensor();
  EXPECT_TRUE(kept.expired());
  EXPECT_EQ(start.replays(), 0);
}

// A result that is kept and then changed in place is a version of its storage, not an error.
TEST_F(TestSelectiveActivationCheckpoint, test_version_counter) {
  const Function fn = [](const at::Tensor& x) { return x.sin().mul_(2).cos().exp(); };
  const at::Tensor x = leaf();
  const ByteLists plain = bytes_of(torch::autograd::grad({fn(x).sum()}, {x}));
  const Since start;
  const at::Tensor y = selective(must_save("aten::sin"), fn)(x);
  EXPECT_EQ(first_difference(plain, bytes_of(torch::autograd::grad({y.sum()}, {x}))), std::nullopt);
  EXPECT_EQ(start.replays(), 0) << "sin stays, as it is after the product; cos is dead";
  // Autograd's own check still works: what it saved must not change.
  const Function wrong = [](const at::Tensor& in) {
    const at::Tensor a = in.sin(), b = a.cos();
    a.mul_(2);
    return b.exp();
  };
  for (const Function& run :
       {wrong, checkpointed(wrong), selective(must_save("aten::sin"), wrong)}) {
    const std::string text = message_of<c10::Error>([&] { run(x).sum().backward(); });
    EXPECT_NE(text.find("modified by an inplace operation"), std::string::npos) << text;
  }
}

TEST_F(TestSelectiveActivationCheckpoint, test_function_with_more_than_one_output) {
  int asked = 0;
  CheckpointOptions options;
  options.policy = [&](const CheckpointCandidate& one) -> std::optional<CheckpointPolicy> {
    if (one.op != "aten::var_mean") return CheckpointPolicy::PreferRecompute;
    ++asked;
    return CheckpointPolicy::MustSave;
  };
  const Function fn = [](const at::Tensor& x) {
    const auto [variance, mean] = torch::var_mean(x, /*unbiased=*/true);
    return variance * mean;
  };
  const at::Tensor x = leaf();
  const ByteLists plain = bytes_of(torch::autograd::grad({fn(x)}, {x}));
  const Since start;
  const at::Tensor y = selective(options, fn)(x);
  EXPECT_EQ(first_difference(plain, bytes_of(torch::autograd::grad({y}, {x}))), std::nullopt);
  EXPECT_EQ(asked, 2) << "once for each of its results";
  EXPECT_EQ(start.replays(), 0);
}

// An operator of the program with a result that is no tensor.
int sin_calls = 0;

std::tuple<at::Tensor, std::int64_t> sin_with_extra(const at::Tensor& x) {
  ++sin_calls;
  return {x.sin(), 2};
}

struct SinWithExtra : torch::autograd::Function<SinWithExtra> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x) {
    context->save_for_backward({x});
    const at::AutoDispatchBelowADInplaceOrView below;
    static const auto op = c10::Dispatcher::singleton()
                               .findSchemaOrThrow("neap_parity::sin_with_extra", "")
                               .typed<std::tuple<at::Tensor, std::int64_t>(const at::Tensor&)>();
    const auto [y, extra] = op.call(x);
    EXPECT_EQ(extra, 2);
    return y;
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    return {gradients[0] * context->get_saved_variables()[0].cos()};
  }
};

TORCH_LIBRARY(neap_parity, library) {
  library.def("sin_with_extra(Tensor x) -> (Tensor, int)");
  library.impl("sin_with_extra", c10::DispatchKey::CPU, TORCH_FN(sin_with_extra));
}

TEST_F(TestSelectiveActivationCheckpoint, test_function_with_non_tensor_output) {
  declare_replayable("neap_parity::sin_with_extra");
  const at::Tensor x = leaf();
  const Function fn = [](const at::Tensor& in) {
    return (SinWithExtra::apply(in) * in.sin().exp()).sin();
  };
  const auto calls_with = [&](const Function& run) {
    sin_calls = 0;
    const ByteLists found = bytes_of(torch::autograd::grad({run(x).sum()}, {x}));
    const int calls = sin_calls;
    EXPECT_EQ(first_difference(bytes_of(torch::autograd::grad({fn(x).sum()}, {x})), found),
              std::nullopt);
    return calls;
  };
  EXPECT_EQ(calls_with(selective(must_save("neap_parity::sin_with_extra"), fn)), 1);
  EXPECT_EQ(calls_with(checkpointed(fn)), 2) << "without the rule it runs again";
}

TEST_F(TestSelectiveActivationCheckpoint, test_can_only_trigger_recompute_once) {
  const at::Tensor x = leaf();
  const at::Tensor y = selective(must_save("aten::sin"),
                                 [](const at::Tensor& in) { return in.sin().cos().exp(); })(x);
  const Since start;
  // A retained graph can be gone through as often as one without a region.
  for (int i = 0; i < 3; ++i) y.sum().backward({}, /*retain_graph=*/true);
  EXPECT_EQ(start.replays(), 0) << "cos saved sin's result, which stays; exp's is the region's";
  const at::Tensor once = torch::autograd::grad({x.sin().cos().exp().sum()}, {x})[0];
  EXPECT_EQ(first_difference(bytes_of({once + once + once}), bytes_of({x.grad()})), std::nullopt);
}

}  // namespace
}  // namespace neap::parity
