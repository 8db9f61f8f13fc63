// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The fallback alone, with a handler that notes what it sees: which operators, in which thread, and
// what stays hidden.
#include "intercept/dispatch.h"

#include <neap/intercept.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace neap::intercept {
namespace {

using testing::ElementsAre;

class Seen final : public Handler {
 public:
  void call(const c10::OperatorHandle& op, c10::DispatchKeySet keys,
            torch::jit::Stack* stack) override {
    names.push_back(op.schema().name());
    if (refuses) throw std::runtime_error("refused");
    if (decomposes) {
      decompose(op, keys, stack);
    } else {
      redispatch(op, keys, stack);
    }
  }
  std::vector<std::string> names;
  bool decomposes = false;
  bool refuses = false;
};

class Dispatch : public testing::Test {
 protected:
  Dispatch() {
    ensure_registered();
    set_handler(&seen_);
    include(true);
  }
  ~Dispatch() override {
    include(false);
    set_handler(nullptr);
  }
  Seen seen_;
};

TEST_F(Dispatch, each_operator_is_seen_once_in_forward_and_backward_and_gives_what_it_gives) {
  const at::Tensor x = torch::tensor({0.5F, -2.0F}).requires_grad_();
  seen_.names.clear();
  const at::Tensor y = x.exp().sin();
  EXPECT_THAT(seen_.names, ElementsAre("aten::exp", "aten::sin"));
  seen_.names.clear();
  y.backward(torch::ones({2}));
  EXPECT_THAT(seen_.names, testing::IsSupersetOf({"aten::cos", "aten::mul"}));
  include(false);
  const at::Tensor again = x.detach().clone().requires_grad_();
  again.exp().sin().backward(torch::ones({2}));
  EXPECT_TRUE(torch::equal(again.grad(), x.grad()));
}

TEST_F(Dispatch, nothing_is_seen_while_the_key_is_not_included) {
  const at::Tensor x = torch::ones({2});
  seen_.names.clear();
  include(false);
  (void)x.exp();
  EXPECT_TRUE(seen_.names.empty());
  include(true);
  (void)x.exp();
  EXPECT_THAT(seen_.names, ElementsAre("aten::exp"));
}

TEST_F(Dispatch, without_a_handler_operators_pass_through) {
  set_handler(nullptr);
  EXPECT_EQ(torch::ones({3}).sum().item<float>(), 3);
  EXPECT_TRUE(seen_.names.empty());
}

TEST_F(Dispatch, other_threads_are_not_seen) {
  const at::Tensor x = torch::ones({2});
  seen_.names.clear();
  std::thread([&] { (void)x.exp(); }).join();
  EXPECT_TRUE(seen_.names.empty());
}

TEST_F(Dispatch, what_a_kernel_calls_inside_is_not_seen_unless_it_is_decomposed) {
  const at::Tensor x = torch::ones({2, 3}), weight = torch::ones({4, 3}), bias = torch::ones({4});
  const at::AutoDispatchBelowADInplaceOrView below;  // linear is still one operator there
  seen_.names.clear();
  const at::Tensor whole = at::linear(x, weight, bias);
  // On the second key the dispatcher decomposes it itself.
  const bool first_key = interception_key() == "Fake";
  EXPECT_THAT(seen_.names,
              first_key ? testing::Matcher<std::vector<std::string>>(ElementsAre("aten::linear"))
                        : testing::Contains("aten::addmm"));
  seen_.names.clear();
  seen_.decomposes = true;
  const at::Tensor parts = at::linear(x, weight, bias);
  EXPECT_EQ(seen_.names.at(0) == "aten::linear", first_key);
  EXPECT_THAT(seen_.names, testing::Contains("aten::addmm"));
  EXPECT_TRUE(torch::equal(whole, parts));
}

TEST_F(Dispatch, below_all_nothing_is_seen_and_no_gradient_is_recorded) {
  const at::Tensor x = torch::ones({2}).requires_grad_();
  seen_.names.clear();
  {
    const BelowAll below;
    EXPECT_FALSE(x.exp().requires_grad());
  }
  EXPECT_TRUE(seen_.names.empty());
  EXPECT_TRUE(x.exp().requires_grad());
  EXPECT_THAT(seen_.names, ElementsAre("aten::exp"));
}

TEST_F(Dispatch, factories_and_operators_on_sparse_tensors_are_seen) {
  const at::Tensor places = torch::zeros({1, 2}, torch::kLong), values = torch::ones({2});
  const at::AutoDispatchBelowADInplaceOrView below;
  seen_.names.clear();
  at::Tensor dense = at::empty({3});
  dense.zero_();
  const at::Tensor drawn = at::rand({3});
  const at::Tensor sparse = at::_sparse_coo_tensor_with_dims_and_tensors(
      1, 0, {3}, places, values, values.options().layout(at::kSparse));
  dense.add_(sparse);
  EXPECT_THAT(seen_.names,
              ElementsAre("aten::empty", "aten::zero_", "aten::rand",
                          "aten::_sparse_coo_tensor_with_dims_and_tensors", "aten::add_"));
  EXPECT_EQ(dense[0].item<float>(), 2);
}

at::Tensor twice(const at::Tensor& x) { return x + x; }

// A second definition, after the first has gone, must be seen as well.
TEST_F(Dispatch, operators_of_extensions_are_seen_whole) {
  const at::Tensor x = torch::ones({2});
  for (int definition = 0; definition < 2; ++definition) {
    torch::Library library(torch::Library::FRAGMENT, "dispatch_test", std::nullopt, __FILE__,
                           __LINE__);
    library.def("twice(Tensor x) -> Tensor");
    library.impl("twice", torch::dispatch(c10::DispatchKey::CompositeExplicitAutograd, &twice));
    ensure_registered();
    const auto op = c10::Dispatcher::singleton().findSchemaOrThrow("dispatch_test::twice", "");
    seen_.names.clear();
    EXPECT_EQ(op.typed<at::Tensor(const at::Tensor&)>().call(x).sum().item<float>(), 4);
    EXPECT_EQ(seen_.names.at(0), "dispatch_test::twice");
    EXPECT_EQ(seen_.names.at(1), "aten::sum");
  }
}

TEST_F(Dispatch, what_a_handler_throws_reaches_the_program_and_the_next_operator_runs) {
  const at::Tensor x = torch::ones({2});
  seen_.refuses = true;
  EXPECT_THROW((void)x.exp(), std::runtime_error);
  seen_.refuses = false;
  EXPECT_EQ(x.sum().item<float>(), 2);
}

TEST(Interception, takes_one_of_two_keys_and_keeps_it) {
  const std::string taken = interception_key();
  EXPECT_THAT((std::vector<std::string>{"Fake", "CustomRNGKeyId"}), testing::Contains(taken));
  EXPECT_EQ(interception_key(), taken);
}

}  // namespace
}  // namespace neap::intercept
