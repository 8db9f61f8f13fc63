// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// PyTorch's TestAutograd, the tests about checkpointing, in C++: docs/parity.md.
#include "parity/parity.h"

#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/generated/Functions.h>

#include <map>

namespace neap::parity {
namespace {

using TestAutograd = Parity;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

bool dead(const c10::weak_intrusive_ptr<c10::StorageImpl>& storage) { return storage.expired(); }

c10::weak_intrusive_ptr<c10::StorageImpl> weak(const at::Tensor& tensor) {
  return c10::weak_intrusive_ptr<c10::StorageImpl>(
      c10::intrusive_ptr<c10::StorageImpl>::reclaim_copy(tensor.storage().unsafeGetStorageImpl()));
}

struct SavesItsResult : torch::autograd::Function<SavesItsResult> {
  static inline std::vector<c10::weak_intrusive_ptr<c10::StorageImpl>> made;
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x) {
    at::Tensor y = x.clone();
    context->save_for_backward({y});
    made.push_back(weak(y));
    return y;
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    EXPECT_EQ(context->get_saved_variables()[0].numel(), kSide * kSide);
    return {gradients[0]};
  }
};

TEST_F(TestAutograd, test_custom_autograd_ac_early_stop) {
  SavesItsResult::made.clear();
  const at::Tensor x = leaf();
  checkpoint([](const at::Tensor& in) { return SavesItsResult::apply(in); }, x).sum().backward();
  ASSERT_EQ(SavesItsResult::made.size(), 1U) << "the function ran once";
  EXPECT_TRUE(dead(SavesItsResult::made[0]));
}

// A small network on each of many inputs, and the mean of all results.
void expect_many_small_regions(int inputs, bool input_requires_grad) {
  torch::nn::Sequential module(torch::nn::Linear(10, 1000), torch::nn::ReLU(),
                               torch::nn::Linear(1000, 10));
  const Function run = [&](const at::Tensor& x) { return module->forward(x); };
  std::vector<at::Tensor> data;
  for (int i = 0; i < inputs; ++i) {
    data.push_back(
        torch::rand({1, 10}, torch::dtype(torch::kFloat).requires_grad(input_requires_grad)));
  }
  auto leaves = module->parameters();
  if (input_requires_grad) leaves.insert(leaves.end(), data.begin(), data.end());
  const auto step = [&](const Function& fn) {
    std::vector<at::Tensor> features;
    features.reserve(data.size());
    for (const at::Tensor& one : data) features.push_back(fn(one));
    const at::Tensor mean = torch::stack(features).mean();
    mean.backward();
    return std::vector<at::Tensor>{mean};
  };
  const ByteLists plain = gradients_after(leaves, [&] { return step(run); });
  const Since start;
  EXPECT_EQ(
      first_difference(plain, gradients_after(leaves, [&] { return step(checkpointed(run)); })),
      std::nullopt);
  EXPECT_EQ(start.replays(), 2 * inputs) << "the first product of each, and its positive part";
}

TEST_F(TestAutograd, test_checkpointing) { expect_many_small_regions(300, true); }

TEST_F(TestAutograd, test_checkpointing_without_reentrant_input_requires_grad_True) {
  expect_many_small_regions(100, true);
}

TEST_F(TestAutograd, test_checkpointing_without_reentrant_input_requires_grad_False) {
  expect_many_small_regions(100, false);
}

TEST_F(TestAutograd, test_checkpointing_non_reentrant_autocast_cpu) {
  const at::Tensor x = leaf(), y = leaf(), z = leaf();
  for (const bool enabled : {true, false}) {
    const auto fn = [&](const at::Tensor& a, const at::Tensor& b, const at::Tensor& d) {
      const at::Tensor first = a.mm(b);
      at::Tensor result = first.mm(d).mm(d.mm(d));
      EXPECT_EQ(result.scalar_type(), enabled ? torch::kBFloat16 : torch::kFloat);
      return result;
    };
    const auto step = [&](bool checkpointed) {
      at::autocast::set_autocast_enabled(at::kCPU, enabled);
      at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
      at::autocast::set_autocast_cache_enabled(false);
      const at::Tensor loss = (checkpointed ? checkpoint(fn, x, y, z) : fn(x, y, z)).sum();
      at::autocast::set_autocast_enabled(at::kCPU, false);
      at::autocast::set_autocast_cache_enabled(true);
      loss.backward();  // autocast is off now; what comes back was made with it on
      return std::vector<at::Tensor>{loss};
    };
    const ByteLists plain = gradients_after({x, y, z}, [&] { return step(false); });
    const Since start;
    EXPECT_EQ(first_difference(plain, gradients_after({x, y, z}, [&] { return step(true); })),
              std::nullopt);
    EXPECT_EQ(start.replays(), enabled ? 8 : 3) << "three products; with autocast also five casts";
  }
}

// On CUDA, PyTorch's test compares peaks. Here each byte is counted.
TEST_F(TestAutograd, test_checkpointing_without_reentrant_memory_savings) {
  constexpr int kLayers = 8;
  std::vector<torch::nn::Sequential> layers;
  for (int i = 0; i < kLayers; ++i) {
    layers.emplace_back(torch::nn::Linear(256, 256), torch::nn::Linear(256, 256),
                        torch::nn::Linear(256, 256));
    for (const at::Tensor& parameter : layers.back()->parameters()) {
      parameter.mutable_grad() = torch::ones_like(parameter);
    }
  }
  const at::Tensor x = torch::randn({100, 256});
  const std::int64_t tensor = memory::footprint(100 * 256 * 4);
  const auto run = [&](bool checkpointed) {
    memory::reset_peak();
    const std::int64_t before = live();
    at::Tensor y = x;
    for (auto& layer : layers) {
      const Function fn = [&](const at::Tensor& in) { return layer->forward(in); };
      y = checkpointed ? checkpoint(fn, y) : fn(y);
    }
    const std::int64_t held = live() - before;
    y.sum().backward();
    return std::pair(held, memory::usage().peak - before);
  };
  const auto [plain_held, plain_peak] = run(false);
  const auto [held, peak] = run(true);
  EXPECT_EQ(plain_held, 3 * kLayers * tensor) << "each layer's result";
  EXPECT_EQ(held, kLayers * tensor) << "each region's result";
  EXPECT_EQ(plain_peak - peak, (3 * kLayers - (kLayers + 2)) * tensor)
      << "of one region at a time the two inner results are back";
}

struct Product : torch::autograd::Function<Product> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& y,
                            const at::Tensor& z) {
    const at::Tensor w = x * y * z;
    at::Tensor out = w + w;
    context->save_for_backward({x, y, z, w, out});
    return out;
  }
  static variable_list backward(AutogradContext* context, const variable_list& /*gradients*/) {
    // Unpacking a second time must give the same tensors.
    const variable_list saved = context->get_saved_variables();
    const variable_list again = context->get_saved_variables();
    for (std::size_t i = 0; i < saved.size(); ++i) EXPECT_TRUE(torch::equal(saved[i], again[i]));
    return {saved[0], saved[1], saved[2]};
  }
};

TEST_F(TestAutograd, test_checkpointing_without_reentrant_custom_function_works) {
  const at::Tensor x = leaf(), y = leaf(), z = leaf();
  const auto fn = [](const at::Tensor& a, const at::Tensor& b, const at::Tensor& d) {
    return Product::apply(a * b * d, b * b * d, d * d);
  };
  const auto step = [&](const at::Tensor& out) {
    out.sum().backward();
    return std::vector<at::Tensor>{out};
  };
  const ByteLists plain = gradients_after({x, y, z}, [&] { return step(fn(x, y, z)); });
  const Since start;
  EXPECT_EQ(first_difference(
                plain, gradients_after({x, y, z}, [&] { return step(checkpoint(fn, x, y, z)); })),
            std::nullopt);
  EXPECT_EQ(start.replays(), 7) << "five products around the function, two in it";
}

// neap has no contexts to enter around a second run. PyTorch's test counts with a dispatch mode:
// the operators of the forward, and those that ran again.
TEST_F(TestAutograd, test_checkpointing_without_reentrant_with_context_fn) {
  const at::Tensor x = leaf();
  Scope scope;
  const at::Tensor y = checkpoint([](const at::Tensor& in) { return in.exp(); }, x);
  EXPECT_EQ(scope.stats().operators, 1);
  y.sum().backward();
  EXPECT_EQ(scope.stats().replays, 0) << "exp saves its result, which the program holds";
}

TEST_F(TestAutograd, test_checkpoint_graph_execution_group) {
  int calls = 0;
  const auto fn = [&](const at::Tensor& x) {
    ++calls;
    const at::Tensor y = x.sin().cos();
    return std::pair(y, y.sin().cos());
  };
  const at::Tensor x = leaf(), ones = torch::ones_like(x);
  const auto gradient = [&](const std::pair<at::Tensor, at::Tensor>& results) {
    const auto& [y, z] = results;
    const at::Tensor grad_y = torch::autograd::grad({z}, {y}, {ones})[0];
    return bytes_of({torch::autograd::grad({y}, {x}, {grad_y})[0]});
  };
  const ByteLists plain = gradient(fn(x));
  Since start;
  EXPECT_EQ(first_difference(plain, gradient(checkpoint(fn, x))), std::nullopt);
  // The two backwards go over disjoint parts of the graph. Each makes what it reads, and no more.
  EXPECT_EQ(start.replays(), 2) << "one sin each";
  EXPECT_EQ(calls, 2) << "the plain call, and the one in the region";

  // Overlapping backwards need only a graph that is retained.
  const at::Tensor out = checkpoint([](const at::Tensor& in) { return in.sin().cos(); }, x);
  start = Since();
  out.sum().backward({}, /*retain_graph=*/true);
  out.sum().backward();
  EXPECT_EQ(start.replays(), 1) << "the graph that is retained holds sin's result";
  EXPECT_EQ(first_difference(bytes_of({x.detach().sin().sin().neg() * x.detach().cos() * 2}),
                             bytes_of({x.grad()})),
            std::nullopt);
}

// A function that would do something else the second time does no harm, because it never runs a
// second time.
TEST_F(TestAutograd, test_checkpoint_detects_non_determinism) {
  const at::Tensor a = leaf({1, 256});
  int calls = 0;
  const Function fn = [&](const at::Tensor& x) {
    return calls++ == 0 ? x.sin().exp().sin() : x.sin() * torch::ones({2, 1});
  };
  const ByteLists expected = gradients_after({a}, [&] {
    a.sin().exp().sin().sum().backward();
    return std::vector<at::Tensor>{};
  });
  EXPECT_EQ(first_difference(expected, gradients_after({a},
                                                       [&] {
                                                         checkpoint(fn, a).sum().backward();
                                                         return std::vector<at::Tensor>{};
                                                       })),
            std::nullopt);
  EXPECT_EQ(calls, 1);
}

TEST_F(TestAutograd, test_access_saved_tensor_twice_without_recomputation_works) {
  const at::Tensor a = leaf();
  const Since start;
  const at::Tensor d = checkpoint([](const at::Tensor& x) { return x.exp().sin(); }, a);
  auto* const node = dynamic_cast<torch::autograd::generated::SinBackward0*>(d.grad_fn().get());
  ASSERT_NE(node, nullptr);
  EXPECT_EQ(start.replays(), 0);
  // An operator that reads a saved tensor brings it back. The tensor stays as long as the graph
  // holds it.
  EXPECT_TRUE(torch::equal(node->self_.unpack(), a.exp()));
  EXPECT_EQ(start.replays(), 1);
  EXPECT_TRUE(torch::equal(node->self_.unpack(), a.exp()));
  EXPECT_EQ(start.replays(), 1);
  d.sum().backward();
  EXPECT_EQ(start.replays(), 1);
  const std::string text = message_of<c10::Error>([&] { node->self_.unpack(); });
  EXPECT_NE(text.find("after they have already been freed"), std::string::npos) << text;
}

// PyTorch's reentrant checkpoints refuse to give the gradient of one tensor only, and must recover
// from the error. Here that works, and a region must recover from another error.
TEST_F(TestAutograd, test_checkpoint_valid_reset_on_error) {
  const at::Tensor a = leaf();
  const auto fn = [](const at::Tensor& x) { return x.exp(); };
  const at::Tensor g = torch::autograd::grad({checkpoint(fn, a).sum()}, {a})[0];
  EXPECT_THROW(checkpoint(
                   [](const at::Tensor& x) {
                     return x.exp().mm(torch::ones({kSide + 1, 3}));  // sizes that do not fit
                   },
                   a),
               c10::Error);
  checkpoint(fn, a).sum().backward();
  EXPECT_EQ(first_difference(bytes_of({g}), bytes_of({a.grad()})), std::nullopt);
}

TEST_F(TestAutograd, test_checkpointing_without_reentrant_detached_tensor) {
  torch::nn::Linear first(torch::nn::LinearOptions(kSide, kSide).bias(false));
  torch::nn::Linear second(torch::nn::LinearOptions(kSide, kSide).bias(false));
  const Function fn = [&](const at::Tensor& x) {
    const torch::NoGradGuard no_grad;
    return second->forward(first->forward(x));
  };
  const at::Tensor a = leaf();
  for (int i = 0; i < 3; ++i) {
    a.mutable_grad() = at::Tensor();
    const Since start;
    at::Tensor out = checkpoint(fn, a);
    EXPECT_EQ(start.bytes(), memory::footprint(kSide * kSide * 4)) << "the result alone";
    EXPECT_FALSE(out.requires_grad());
    out += a;
    out.sum().backward();
    EXPECT_TRUE(torch::equal(a.grad(), torch::ones({kSide, kSide})));
    EXPECT_EQ(start.replays(), 0);
  }
}

struct SavesItsSecond : torch::autograd::Function<SavesItsSecond> {
  static inline at::Tensor seen;
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& y) {
    context->save_for_backward({y});
    return x.view_as(x);
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    seen = context->get_saved_variables()[0];
    return {gradients[0], at::Tensor()};
  }
};

TEST_F(TestAutograd, test_checkpointing_without_reentrant_saved_object_identity) {
  const at::Tensor a = torch::tensor(1.0F, torch::requires_grad()), b = torch::tensor(1.0F);
  const auto fn = [](const at::Tensor& x, const at::Tensor& y) {
    return SavesItsSecond::apply(x, y);
  };
  for (const bool checkpointed : {false, true}) {
    (checkpointed ? checkpoint(fn, a, b) : fn(a, b)).backward();
    EXPECT_TRUE(SavesItsSecond::seen.is_same(b)) << checkpointed;
    SavesItsSecond::seen = at::Tensor();
  }
}

TEST_F(TestAutograd, test_checkpointing_without_reentrant_correct_grad) {
  const at::Tensor a = leaf();
  const auto fn = [](const at::Tensor& x) { return x.exp(); };
  const auto backward = [&](const at::Tensor& y) {
    return gradients_after({a}, [&] {
      y.sum().backward();
      return std::vector<at::Tensor>{};
    });
  };
  const ByteLists plain = backward(fn(a));
  EXPECT_EQ(first_difference(plain, backward(checkpoint(fn, a))), std::nullopt);
  EXPECT_EQ(
      first_difference(plain, bytes_of(torch::autograd::grad({checkpoint(fn, a).sum()}, {a}))),
      std::nullopt);
}

TEST_F(TestAutograd, test_checkpointing_without_reentrant_parameter_used_in_an_out) {
  const at::Tensor w = leaf(), x = leaf();
  int calls = 0;
  w.register_hook([&](const at::Tensor& gradient) {
    ++calls;
    return gradient;
  });
  const at::Tensor h = w * x;
  checkpoint([&](const at::Tensor& in) { return w * in; }, h).sum().backward();
  EXPECT_EQ(calls, 1) << "once a tensor, with the sum of what comes from in and out";
}

TEST_F(TestAutograd, test_checkpointing_without_reentrant_arbitrary_input_output) {
  using Named = std::map<std::string, at::Tensor>;
  torch::nn::Linear layer(torch::nn::LinearOptions(kSide, kSide).bias(false));
  const auto fn = [&](const Named& in) {
    return Named{{"result", layer->forward(in.at("tensor")).tanh()},
                 {"more", in.at("tensor").exp()}};
  };
  const Named input{{"tensor", torch::randn({kSide, kSide})}};
  const auto step = [&](const Named& output) {
    for (const auto& [name, tensor] : output) {
      EXPECT_NO_THROW(static_cast<void>(tensor.const_data_ptr())) << name << " stays resident";
    }
    const at::Tensor loss = output.at("result").sum();
    loss.backward();
    return std::vector<at::Tensor>{loss, output.at("more")};
  };
  EXPECT_EQ(first_difference(
                gradients_after(layer->parameters(), [&] { return step(fn(input)); }),
                gradients_after(layer->parameters(), [&] { return step(checkpoint(fn, input)); })),
            std::nullopt);
}

}  // namespace
}  // namespace neap::parity
