// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// PyTorch's TestCheckpoint, in C++: docs/parity.md.
#include "parity/parity.h"

#include <cmath>
#include <tuple>

namespace neap::parity {
namespace {

using TestCheckpoint = Parity;

torch::nn::Sequential small_net() {
  return torch::nn::Sequential(torch::nn::Linear(100, 50), torch::nn::ReLU(),
                               torch::nn::Linear(50, 20), torch::nn::ReLU(),
                               torch::nn::Linear(20, 5), torch::nn::ReLU());
}

// Counts its calls. Its operator saves its input for the backward.
struct Counting {
  int calls = 0;
  at::Tensor operator()(const at::Tensor& x) {
    ++calls;
    return x.sin();
  }
};

TEST_F(TestCheckpoint, test_checkpoint_trigger) {
  std::vector<Counting> modules(10);
  const at::Tensor x = leaf({64, 64});
  const std::int64_t tensor = memory::footprint(64 * 64 * 4);
  const Since start;
  const at::Tensor y = checkpoint_sequential(modules, 2, x);
  // Six tensors stay: the result of the first segment, and those of the five modules of the second.
  // Four of these five are inputs of the next module, and the last is the final result.
  EXPECT_EQ(start.bytes(), 6 * tensor);
  y.sum().backward();
  EXPECT_EQ(start.replays(), 4) << "what the first segment had between its five modules";
  for (const Counting& module : modules) EXPECT_EQ(module.calls, 1) << "no code runs twice";
}

TEST_F(TestCheckpoint, test_checkpoint_valid) {
  torch::nn::Sequential model = small_net();
  const at::Tensor x = leaf({1, 100});
  const auto gradient = [&](bool checkpointed) {
    const at::Tensor y = checkpointed ? checkpoint_sequential(model, 2, x) : model->forward(x);
    const at::Tensor g =
        torch::autograd::grad({y}, {x}, {torch::ones({1, 5})}, /*retain_graph=*/true,
                              /*create_graph=*/true)[0];
    g.pow(2).sum().backward();  // the new graph can be differentiated
    return std::vector<at::Tensor>{y, g};
  };
  auto leaves = model->parameters();
  leaves.push_back(x);
  EXPECT_EQ(first_difference(gradients_after(leaves, [&] { return gradient(false); }),
                             gradients_after(leaves, [&] { return gradient(true); })),
            std::nullopt);
}

// The result, the gradient of the input and those of all parameters.
template <class Layers>
void expect_equal_to_plain(torch::nn::Sequential& model, Layers& layers) {
  const at::Tensor x = leaf({1, 100});
  auto leaves = model->parameters();
  leaves.push_back(x);
  const auto step = [&](const at::Tensor& y) {
    y.sum().backward();
    return std::vector<at::Tensor>{y};
  };
  EXPECT_EQ(first_difference(
                gradients_after(leaves, [&] { return step(model->forward(x)); }),
                gradients_after(leaves, [&] { return step(checkpoint_sequential(layers, 2, x)); })),
            std::nullopt);
}

TEST_F(TestCheckpoint, test_checkpoint) {
  torch::nn::Sequential model = small_net();
  expect_equal_to_plain(model, model);
  std::vector<torch::nn::AnyModule> layers(model->begin(), model->end());
  expect_equal_to_plain(model, layers);
}

// In C++ a list of modules has no forward. A program's module holds them by their types and calls
// those.
TEST_F(TestCheckpoint, test_checkpoint_module_list) {
  torch::nn::Sequential model = small_net();
  std::vector<Function> layers;
  for (auto& layer : *model) {
    layers.emplace_back([&](const at::Tensor& x) { return layer.forward<at::Tensor>(x); });
  }
  expect_equal_to_plain(model, layers);
}

template <class... Inputs>
concept TakenBySequential = requires(torch::nn::Sequential& model, Inputs... inputs) {
  checkpoint_sequential(model, 1, inputs...);
};

// What raises a TypeError in Python does not compile here.
TEST_F(TestCheckpoint, test_checkpoint_sequential_deprecated_multiple_args) {
  static_assert(TakenBySequential<at::Tensor>);
  static_assert(!TakenBySequential<at::Tensor, at::Tensor>);
}

TEST_F(TestCheckpoint, test_checkpoint_sequential_deprecated_no_args) {
  static_assert(!TakenBySequential<>);
}

TEST_F(TestCheckpoint, test_checkpoint_rng_cpu) {
  torch::nn::Dropout first, second;
  const auto drop = [&](const at::Tensor& x) { return second->forward(x); };
  at::Generator generator = at::globalContext().defaultGenerator(at::kCPU);
  for (int i = 0; i < 5; ++i) {
    const at::Tensor x = leaf({20000});
    const at::Tensor state = generator.get_state();
    const auto step = [&](bool checkpointed) {
      generator.set_state(state);
      const at::Tensor y = first->forward(x);
      (checkpointed ? checkpoint(drop, y) : drop(y)).sum().backward();
      return std::vector<at::Tensor>{torch::rand({4})};  // later random numbers are the same too
    };
    const ByteLists plain = gradients_after({x}, [&] { return step(false); });
    const Since start;
    EXPECT_EQ(first_difference(plain, gradients_after({x}, [&] { return step(true); })),
              std::nullopt);
    EXPECT_EQ(start.replays(), 2) << "the mask: drawn, and divided by what stays";
  }
}

TEST_F(TestCheckpoint, test_checkpoint_non_tensor) {
  const auto fn = [](const at::Tensor& a, const std::optional<at::Tensor>& b) {
    return b ? a + *b : a;
  };
  const at::Tensor x = leaf({1, 100});
  checkpoint(fn, x, std::nullopt).sum().backward();
  EXPECT_TRUE(torch::equal(x.grad(), torch::ones({1, 100})));
  checkpoint(fn, x, std::optional(x)).sum().backward();
  EXPECT_TRUE(torch::equal(x.grad(), torch::full({1, 100}, 3)));
}

const auto kMixed = [](const auto& t1, const auto& t2, int scale, const auto& t3) {
  auto t4 = t1 + t2 * t3;
  auto t5 = t1 * t2 + t3;
  t4 *= scale;
  t5 *= scale;
  return std::tuple(scale, t4, std::optional<int>(), true, t5, std::string("bar"), t1);
};

TEST_F(TestCheckpoint, test_checkpoint_non_tensor_inputs_outputs) {
  const at::Tensor t1 = torch::rand({256}, torch::requires_grad());
  const at::Tensor t2 = torch::rand({256}, torch::requires_grad());
  const at::Tensor t3 = torch::rand({256});
  const int scale = 7;
  const auto step = [&](bool checkpointed) {
    const auto result = checkpointed ? checkpoint(kMixed, t1, t2, scale, t3)  //
                                     : kMixed(t1, t2, scale, t3);
    EXPECT_EQ(std::get<0>(result), scale);
    EXPECT_TRUE(std::get<3>(result));
    EXPECT_EQ(std::get<5>(result), "bar");
    EXPECT_TRUE(std::get<6>(result).is_same(t1));
    std::get<1>(result).sum().backward({}, /*retain_graph=*/true);
    std::get<4>(result).sum().backward({}, /*retain_graph=*/true);
    std::get<6>(result).sum().backward();
    const at::Tensor again = std::get<4>(result).sum();
    again.backward();
    const std::string text = message_of<c10::Error>([&] { again.backward(); });
    EXPECT_NE(text.find("backward through the graph a second time"), std::string::npos) << text;
    return std::vector<at::Tensor>{std::get<1>(result), std::get<4>(result)};
  };
  EXPECT_EQ(first_difference(gradients_after({t1, t2}, [&] { return step(false); }),
                             gradients_after({t1, t2}, [&] { return step(true); })),
            std::nullopt);
}

TEST_F(TestCheckpoint, test_checkpoint_no_tensors) {
  const auto result = checkpoint(kMixed, 0.25, 3.0, 4, 0.5);
  EXPECT_EQ(result, kMixed(0.25, 3.0, 4, 0.5));
  EXPECT_EQ(std::get<1>(result), (0.25 + 3.0 * 0.5) * 4);
}

TEST_F(TestCheckpoint, test_checkpoint_partial_grad) {
  const auto both = [](const at::Tensor& a, const at::Tensor& b) { return std::pair(a, b); };
  const at::Tensor with = leaf({1, 4}), without = torch::randn({1, 4});
  checkpoint(both, with, without).first.sum().backward();
  EXPECT_TRUE(torch::equal(with.grad(), torch::ones({1, 4})));
  // LibTorch's backward refuses a result that needs no gradient, with the same words as without a
  // region.
  const auto first = [](const at::Tensor& a, const at::Tensor&) { return a; };
  const std::string plain = message_of<c10::Error>([&] { first(without, with).sum().backward(); });
  const std::string found =
      message_of<c10::Error>([&] { checkpoint(first, without, with).sum().backward(); });
  EXPECT_NE(plain.find("does not require grad"), std::string::npos) << plain;
  EXPECT_EQ(found.substr(0, found.find('\n')), plain.substr(0, plain.find('\n')));
}

// The live bytes at four places of a backward through repeated squares.
std::vector<std::int64_t> live_in_backward(bool checkpointed, bool retain_graph) {
  const at::Tensor x = torch::zeros({256}, torch::requires_grad());
  x.mutable_grad() = torch::zeros_like(x);
  const std::int64_t before = live();
  std::vector<std::int64_t> stats;
  const auto track = [&](const at::Tensor& tensor) {
    tensor.register_hook([&](const at::Tensor& gradient) {
      stats.push_back(live() - before);
      return gradient;
    });
  };
  const Function fn = [&](const at::Tensor& in) {
    at::Tensor value = in;
    for (int i = 0; i < 3; ++i) {
      value = value.pow(2);
      track(value);
    }
    return value.pow(2).sum();
  };
  (checkpointed ? checkpoint(fn, x) : fn(x)).backward({}, retain_graph);
  return stats;
}

TEST_F(TestCheckpoint, test_checkpointing_without_reentrant_early_free) {
  const std::int64_t tensor = memory::footprint(256 * 4);
  const auto plain = live_in_backward(false, false);
  ASSERT_EQ(plain.size(), 3U);
  EXPECT_EQ(plain[0] - plain[1], tensor);
  EXPECT_EQ(plain[1] - plain[2], tensor);
  EXPECT_EQ(live_in_backward(true, false), plain) << "what comes back goes as it would have";
  // A retained graph retains what it saved, whether that came back or was never evicted.
  const auto retained = live_in_backward(false, true);
  EXPECT_EQ(retained[0], retained[2]);
  EXPECT_EQ(live_in_backward(true, true), retained);
}

// PyTorch's test sets a default device. This one sets the default type: a replay uses the one that
// was set when the region ran.
TEST_F(TestCheckpoint, test_checkpoint_preserves_device_context) {
  int calls = 0;
  const auto fn = [&](const at::Tensor& x) {
    ++calls;
    return (x * torch::ones({kSide, kSide})).sin();
  };
  const at::Tensor x =
      torch::randn({kSide, kSide}, torch::dtype(torch::kDouble).requires_grad(true));
  const auto before = torch::get_default_dtype();
  torch::set_default_dtype(caffe2::TypeMeta::Make<double>());
  const at::Tensor y = checkpoint(fn, x);
  torch::set_default_dtype(before);
  const Since start;
  y.sum().backward();
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(start.replays(), 2) << "the ones, in the type of then, and the product";
  EXPECT_EQ(first_difference(bytes_of({x.detach().cos()}), bytes_of({x.grad()})), std::nullopt);
}

}  // namespace
}  // namespace neap::parity
