// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// PyTorch's TestNestedCheckpoint, in C++: docs/parity.md. PyTorch runs each case with and without
// early stop. In neap an operator runs again when its result is needed, so there is nothing to
// stop.
#include "parity/parity.h"

#include <memory>
#include <tuple>
#include <unordered_set>

namespace neap::parity {
namespace {

using TestNestedCheckpoint = Parity;

// The gradient of `fn`, as a function that can be differentiated itself.
Function grad(Function fn) {
  return [fn = std::move(fn)](const at::Tensor& x) {
    const at::AutoGradMode enabled(true);
    return torch::autograd::grad({fn(x).sum()}, {x}, {}, /*retain_graph=*/true,
                                 /*create_graph=*/true)[0];
  };
}

Function c(Function fn) { return checkpointed(std::move(fn)); }

// A hook that does nothing. Their number is the number of nodes with one that are alive.
struct Alive : torch::autograd::FunctionPostHook {
  explicit Alive(int& count) : count(count) { ++count; }
  Alive(const Alive&) = delete;
  Alive& operator=(const Alive&) = delete;
  ~Alive() override { --count; }
  torch::autograd::variable_list operator()(
      const torch::autograd::variable_list& outputs,
      const torch::autograd::variable_list& /*inputs*/) override {
    return outputs;
  }
  int& count;
};

// Every node of the graph of fn(x) is freed once the result is.
void expect_graph_dies(const Function& fn) {
  int alive = 0;
  const Since start;
  {
    const at::Tensor a = leaf();
    const at::Tensor y = fn(a);
    std::vector<torch::autograd::Node*> open{y.grad_fn().get()};
    std::unordered_set<torch::autograd::Node*> seen;
    while (!open.empty()) {
      torch::autograd::Node* const node = open.back();
      open.pop_back();
      if (node == nullptr || !seen.insert(node).second) continue;
      node->add_post_hook(std::make_unique<Alive>(alive));
      for (const auto& edge : node->next_edges()) open.push_back(edge.function.get());
    }
    EXPECT_GT(alive, 1);
  }
  EXPECT_EQ(alive, 0);
  EXPECT_EQ(start.bytes(), 0);
}

void expect_equal(const Function& expected, const std::vector<Function>& found,
                  const at::Tensor& x) {
  const ByteLists bytes = bytes_of({expected(x)});
  for (std::size_t i = 0; i < found.size(); ++i) {
    SCOPED_TRACE(i);
    EXPECT_EQ(first_difference(bytes, bytes_of({found[i](x)})), std::nullopt);
    expect_graph_dies(found[i]);
  }
}

TEST_F(TestNestedCheckpoint, test_nested_checkpoint) {
  const Function f = [](const at::Tensor& x) { return x.sin().exp().sin(); };
  // Goes through two graphs inside the region, but uses neither in its result.
  const Function g = [](const at::Tensor& x) {
    const at::Tensor a = x.sin().exp().sin(), b = x.sin().exp().sin();
    static_cast<void>(torch::autograd::grad({a.sum()}, {x}));
    static_cast<void>(torch::autograd::grad({b.sum()}, {x}));
    return x.sin();
  };
  const at::Tensor x = leaf();
  for (const Function& fn : {f, g}) {
    expect_equal(fn, {c(fn), c(c(fn))}, x);
    expect_equal(grad(fn), {grad(c(fn)), grad(c(c(fn)))}, x);
    expect_equal(grad(grad(fn)), {grad(c(grad(fn))), c(grad(grad(c(fn)))), grad(c(grad(c(fn))))},
                 x);
    expect_equal(grad(grad(grad(fn))), {grad(c(grad(grad(c(fn))))), grad(c(grad(c(grad(c(fn))))))},
                 x);
  }
}

// Nested regions need no second replay. A gradient of a gradient reads what the first gradient
// brought back.
TEST_F(TestNestedCheckpoint, runs_each_operator_again_once_however_deep_its_region_is) {
  const Function f = [](const at::Tensor& x) { return x.sin().exp().sin(); };
  const at::Tensor x = leaf();
  const auto replays = [&](const Function& fn) {
    const Since start;
    static_cast<void>(fn(x));
    return start.replays();
  };
  EXPECT_EQ(replays(c(f)), 0);
  EXPECT_EQ(replays(grad(c(f))), 2) << "sin and exp";
  EXPECT_EQ(replays(grad(c(c(c(f))))), 2);
  EXPECT_EQ(replays(grad(grad(c(f)))), 2);
}

TEST_F(TestNestedCheckpoint, test_nested_checkpoint_two_children) {
  const Function f = [](const at::Tensor& x) { return x.sin().exp().sin(); };
  const Function g = [](const at::Tensor& x) { return x.cos().sin().exp(); };
  const Function h = [&](const at::Tensor& x) { return g(f(x)); };
  const Function hc = [&](const at::Tensor& x) { return c(g)(c(f)(x)); };
  const at::Tensor a = leaf();
  expect_equal(grad(grad(h)), {grad(grad(c(hc))), grad(c(grad(c(hc))))}, a);
  expect_graph_dies(grad(c(hc)));
}

TEST_F(TestNestedCheckpoint, test_nested_checkpoint_non_tensor_inputs_and_outputs) {
  const auto fn = [](int k, const at::Tensor& a, const at::Tensor& b, const Function& f) {
    return std::tuple(f(k * a * b.exp()), 1, std::string("abcd"));
  };
  const at::Tensor a = leaf();
  const at::Tensor b = leaf();
  const Function f = [](const at::Tensor& x) { return x.sin(); };
  const auto gradients = [&](const auto& result) {
    EXPECT_EQ(std::get<1>(result), 1);
    EXPECT_EQ(std::get<2>(result), "abcd");
    return bytes_of(torch::autograd::grad({std::get<0>(result).sum()}, {a, b}));
  };
  const ByteLists plain = gradients(fn(3, a, b, f));
  const Since start;
  EXPECT_EQ(first_difference(plain, gradients(checkpoint(fn, 3, a, b, f))), std::nullopt);
  EXPECT_EQ(start.replays(), 3) << "k * a, b.exp() and their product";
}

// C++ has no arguments by name. Here the second argument may be left out.
TEST_F(TestNestedCheckpoint, test_nested_checkpoint_kwargs) {
  struct {
    at::Tensor operator()(const at::Tensor& a, const std::optional<at::Tensor>& blah = {}) const {
      at::Tensor out = a.sin().exp();
      if (blah) out = out * *blah;
      return out.sin().exp();
    }
  } fn;
  const at::Tensor a = leaf();
  const at::Tensor b = leaf();
  const ByteLists plain = bytes_of(torch::autograd::grad({fn(a, b).sum()}, {a, b}));
  Since start;
  EXPECT_EQ(first_difference(plain,
                             bytes_of(torch::autograd::grad({checkpoint(fn, a, b).sum()}, {a, b}))),
            std::nullopt);
  EXPECT_EQ(start.replays(), 3)
      << "sin, exp and the product; the last sin is dead, the last exp the result";
  start = Since();
  EXPECT_EQ(first_difference(bytes_of(torch::autograd::grad({fn(a).sum()}, {a})),
                             bytes_of(torch::autograd::grad({checkpoint(fn, a).sum()}, {a}))),
            std::nullopt);
  EXPECT_EQ(start.replays(), 2);
}

TEST_F(TestNestedCheckpoint, test_nested_checkpoint_same_graph) {
  int calls = 0;
  const at::Tensor a = leaf();
  const at::Tensor y = checkpoint([](const at::Tensor& x) { return x.sin().cos().sin(); }, a);
  // There is only one graph, so the backward calls a hook on a node inside the region.
  struct Hook : torch::autograd::FunctionPostHook {
    explicit Hook(int& count) : count(count) {}
    torch::autograd::variable_list operator()(
        const torch::autograd::variable_list& outputs,
        const torch::autograd::variable_list& /*inputs*/) override {
      ++count;
      return outputs;
    }
    int& count;
  };
  y.grad_fn()->next_edge(0).function->add_post_hook(std::make_unique<Hook>(calls));
  const Since start;
  y.sum().backward();
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(start.replays(), 2) << "sin and cos";
}

TEST_F(TestNestedCheckpoint, test_nested_checkpoint_reentrant_backwards) {
  const at::Tensor a = leaf();
  const auto fn = [](const at::Tensor& in) {
    const at::Tensor x = in.sin().cos();
    return std::pair(x, x.sin());
  };
  const auto step = [&](const std::pair<at::Tensor, at::Tensor>& results) {
    int calls = 0;
    const at::Tensor x = results.first;
    // A backward inside the backward, which passes the node with the hook.
    results.second.register_hook([&](const at::Tensor& gradient) {
      ++calls;
      const at::AutoGradMode enabled(true);
      x.sum().backward({}, /*retain_graph=*/true);
      return gradient;
    });
    results.second.sum().backward({}, /*retain_graph=*/true);
    EXPECT_EQ(calls, 1);
    return std::vector<at::Tensor>{results.second};
  };
  const ByteLists plain = gradients_after({a}, [&] { return step(fn(a)); });
  const Since start;
  EXPECT_EQ(first_difference(plain, gradients_after({a}, [&] { return step(checkpoint(fn, a)); })),
            std::nullopt);
  EXPECT_EQ(start.replays(), 1) << "sin, which both backwards read; cos is a result";
}

TEST_F(TestNestedCheckpoint, test_nested_checkpoint_set_early_stop) {
  const at::Tensor a = leaf();
  // clone saves nothing, so its result is never needed.
  const at::Tensor y = checkpoint([](const at::Tensor& x) { return x.sin().cos().clone(); }, a);
  const Since start;
  y.sum().backward();
  EXPECT_EQ(start.replays(), 1) << "sin, which cos saved";
}

TEST_F(TestNestedCheckpoint, test_nested_checkpoint_set_early_stop_no_recompution_needed) {
  const at::Tensor a = leaf();
  const Since start;
  int calls = 0;
  // sin saves the region's argument, and clone saves nothing.
  for (const Function& fn : std::vector<Function>{[&](const at::Tensor& x) {
                                                    ++calls;
                                                    return x.sin();
                                                  },
                                                  [&](const at::Tensor& x) {
                                                    ++calls;
                                                    return x.clone();
                                                  }}) {
    checkpoint(fn, a).sum().backward();
  }
  EXPECT_EQ(start.replays(), 0);
  EXPECT_EQ(calls, 2);
}

}  // namespace
}  // namespace neap::parity
