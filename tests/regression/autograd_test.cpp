// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Ways to ask for gradients beyond one backward: several backwards over one graph, gradients of
// gradients, functions of the program. A recipe that died with the first backward would leave the
// second one with nothing to replay (crash or an error).
#include "regression/evicting.h"

namespace neap::test {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr std::int64_t kSide = 32;

at::Tensor leaf() {
  torch::manual_seed(2);
  return torch::randn({kSide, kSide}).mul_(0.3).requires_grad_();
}

at::Tensor layer(const at::Tensor& x) { return torch::tanh(torch::sigmoid(x * 2) * x); }

// `ask` gets a leaf and a way to run layers, plainly or each in a region. It returns its results.
using Ask = std::function<std::vector<at::Tensor>(
    at::Tensor, const std::function<at::Tensor(const at::Tensor&)>&)>;

std::int64_t expect_same_with_regions(const Ask& ask) {
  const ByteLists expected = bytes_of(ask(leaf(), layer));
  const Counts counts;
  const ByteLists found =
      bytes_of(ask(leaf(), [](const at::Tensor& x) { return checkpoint(layer, x); }));
  EXPECT_EQ(first_difference(expected, found), std::nullopt);
  EXPECT_GT(counts.replays(), 0);
  EXPECT_EQ(engine::Engine::instance().recorder_bytes(), 0);
  return counts.replays();
}

TEST(Autograd, of_one_backward_runs_each_inner_operator_again_once) {
  // The following operators save x * 2, sigmoid and the product. tanh's own result is the region's.
  EXPECT_EQ(expect_same_with_regions([](const at::Tensor& x, const auto& run) {
              run(x).sum().backward();
              return variable_list{x.grad()};
            }),
            2)
      << "sigmoid's result, from x * 2";
}

TEST(Autograd, of_several_backwards_over_one_graph_replays_for_the_first_only) {
  EXPECT_EQ(expect_same_with_regions([](const at::Tensor& x, const auto& run) {
              const at::Tensor loss = run(x).sum();
              loss.backward({}, /*retain_graph=*/true);
              loss.backward({}, /*retain_graph=*/true);
              loss.backward();
              return variable_list{x.grad()};
            }),
            2);
}

TEST(Autograd, of_accumulated_gradients_is_the_same) {
  EXPECT_EQ(expect_same_with_regions([](const at::Tensor& x, const auto& run) {
              for (int i = 0; i < 3; ++i) (run(x) * (i + 1)).sum().backward();
              return variable_list{x.grad()};
            }),
            6);
}

TEST(Autograd, grad_gives_the_same_as_backward) {
  EXPECT_EQ(expect_same_with_regions([](const at::Tensor& x, const auto& run) {
              const at::Tensor y = run(run(x));
              return torch::autograd::grad({y.sum()}, {x});
            }),
            4);
}

TEST(Autograd, grad_of_one_of_two_outputs_and_then_of_the_other_is_the_same) {
  expect_same_with_regions([](const at::Tensor& x, const auto& run) {
    const at::Tensor y = run(x);
    const at::Tensor z = run(y);
    auto first = torch::autograd::grad({z.sum()}, {y, x}, {}, /*retain_graph=*/true);
    auto second = torch::autograd::grad({y.pow(2).sum()}, {x});
    first.insert(first.end(), second.begin(), second.end());
    return first;
  });
}

TEST(Autograd, of_second_and_third_order_is_the_same) {
  expect_same_with_regions([](const at::Tensor& x, const auto& run) {
    const at::Tensor y = run(run(x)).sum();
    const at::Tensor first = torch::autograd::grad({y}, {x}, {}, true, true)[0];
    const at::Tensor second = torch::autograd::grad({first.pow(2).sum()}, {x}, {}, true, true)[0];
    const at::Tensor third = torch::autograd::grad({second.pow(2).sum()}, {x})[0];
    return variable_list{first, second, third};
  });
}

TEST(Autograd, of_second_order_with_the_first_inside_a_region_is_the_same) {
  expect_same_with_regions([](const at::Tensor& x, const auto& run) {
    const at::Tensor y = run(x);
    const at::Tensor penalty = checkpoint(
        [&](const at::Tensor& in) {
          return torch::autograd::grad({y.sum()}, {in}, {}, true, true)[0].pow(2).sum();
        },
        x);
    (y.sum() + penalty).backward();
    return variable_list{x.grad()};
  });
}

TEST(Autograd, of_second_order_under_a_budget_is_the_same) {
  expect_same_bytes_under_budgets(
      [] {
        const at::Tensor weight = torch::randn({64, 64}).mul_(0.1).requires_grad_();
        const at::Tensor x = torch::rand({64, 64}).requires_grad_();
        at::Tensor y = x;
        for (int i = 0; i < 8; ++i) y = torch::tanh(y.mm(weight));
        const at::Tensor g = torch::autograd::grad({y.sum()}, {x}, {}, true, true)[0];
        (y.sum() + g.pow(2).sum()).backward();
        return variable_list{weight.grad(), x.grad()};
      },
      {80, 65});
}

struct Cube : torch::autograd::Function<Cube> {
  static inline int forwards = 0;
  static inline int backwards = 0;
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x) {
    ++forwards;
    const at::Tensor square = x * x;
    context->save_for_backward({x, square});
    return square * x;
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    ++backwards;
    const auto saved = context->get_saved_variables();
    return {gradients[0] * saved[1] * 3 + saved[0] * 0};
  }
};

TEST(Autograd, with_a_function_of_the_program_runs_it_once_and_replays_below_it) {
  Cube::forwards = Cube::backwards = 0;
  expect_same_with_regions([](const at::Tensor& x, const auto& run) {
    const at::Tensor y =
        checkpoint([&](const at::Tensor& in) { return Cube::apply(in * 0.5) * 2; }, run(x));
    y.sum().backward();
    return variable_list{x.grad()};
  });
  EXPECT_EQ(Cube::forwards, 2) << "once plainly, once with regions";
  EXPECT_EQ(Cube::backwards, 2);
}

TEST(Autograd, with_a_function_of_the_program_under_a_budget_is_the_same) {
  expect_same_bytes_under_budgets(
      [] {
        const at::Tensor weight = torch::randn({64, 64}).mul_(0.1).requires_grad_();
        at::Tensor x = torch::rand({64, 64});
        for (int i = 0; i < 8; ++i) x = torch::tanh(Cube::apply(x.mm(weight)) + x);
        x.sum().backward();
        return variable_list{weight.grad()};
      },
      {75, 60});
}

// A backward that opens a region of its own. What the region keeps is used after the backward.
struct RegionInBackward : torch::autograd::Function<RegionInBackward> {
  static inline at::Tensor kept;
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x) {
    context->save_for_backward({x});
    return x * 2;
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const at::Tensor x = context->get_saved_variables()[0];
    const torch::NoGradGuard no_grad;
    return {checkpoint(
        [&](const at::Tensor& g) {
          kept = torch::tanh(x);
          return g * kept;
        },
        gradients[0])};
  }
};

TEST(Autograd, with_a_region_inside_a_backward_leaves_what_it_kept_usable_afterwards) {
  const at::Tensor x = leaf();
  const Counts counts;
  RegionInBackward::apply(x).sum().backward();
  EXPECT_EQ(first_difference(bytes_of({torch::tanh(x)}), bytes_of({x.grad()})), std::nullopt);
  EXPECT_GE(counts.evictions() + counts.replays(), 0);
  EXPECT_EQ(first_difference(bytes_of({torch::tanh(x)}), bytes_of({RegionInBackward::kept})),
            std::nullopt);
  RegionInBackward::kept.reset();
}

TEST(Autograd, of_a_module_that_is_called_twice_is_the_same) {
  torch::manual_seed(1);
  torch::nn::Sequential model(torch::nn::Linear(kSide, kSide), torch::nn::Tanh(),
                              torch::nn::Linear(kSide, kSide), torch::nn::Sigmoid());
  const auto run = [&](bool regions) {
    model->zero_grad();
    const auto inside = [&](const at::Tensor& in) { return model->forward(in); };
    at::Tensor x = torch::ones({kSide, kSide});
    for (int i = 0; i < 2; ++i) x = regions ? checkpoint(inside, x) : inside(x);
    x.sum().backward();
    variable_list gradients;
    for (const at::Tensor& parameter : model->parameters()) gradients.push_back(parameter.grad());
    return bytes_of(gradients);
  };
  const ByteLists expected = run(false);
  const Counts counts;
  EXPECT_EQ(first_difference(expected, run(true)), std::nullopt);
  // In each call, linear and tanh run again. Sigmoid's result is the region's, and nothing saves
  // the second linear's.
  EXPECT_EQ(counts.replays(), 4);
}

TEST(Autograd, hooks_and_the_code_in_a_region_run_once) {
  const at::Tensor x = leaf();
  int bodies = 0, on_inner = 0, on_leaf = 0;
  x.register_hook([&](const at::Tensor& g) { return ++on_leaf, g; });
  const Counts counts;
  const at::Tensor y = checkpoint(
      [&](const at::Tensor& in) {
        ++bodies;
        const at::Tensor inner = torch::sigmoid(in * 2);
        inner.register_hook([&](const at::Tensor& g) { return ++on_inner, g; });
        return torch::tanh(inner * in);
      },
      x);
  y.sum().backward();
  EXPECT_GT(counts.replays(), 0);
  EXPECT_EQ(bodies, 1);
  EXPECT_EQ(on_inner, 1);
  EXPECT_EQ(on_leaf, 1);
}

TEST(Autograd, a_hook_that_reads_an_evicted_tensor_gets_its_bytes) {
  const at::Tensor x = leaf();
  const Counts counts;
  at::Tensor inner;
  ByteLists seen;
  const at::Tensor y = checkpoint(
      [&](const at::Tensor& in) {
        inner = torch::exp(in * 2);
        return torch::tanh(inner * in);
      },
      x);
  y.register_hook([&](const at::Tensor&) { seen = bytes_of({inner}); });
  ASSERT_TRUE(evicted(inner));
  y.sum().backward();
  EXPECT_GT(counts.replays(), 0);
  EXPECT_EQ(first_difference(bytes_of({torch::exp(x * 2)}), seen), std::nullopt);
}

}  // namespace
}  // namespace neap::test
