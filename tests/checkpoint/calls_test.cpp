// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What checkpoint() can call: in Python, any module. Each form gives the same bits as the module
// called directly, and evicts.
#include "engine/engine.h"
#include "support/bytes.h"
#include "support/message_of.h"

#include <neap/neap.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <functional>
#include <memory>
#include <tuple>
#include <vector>

namespace neap {
namespace {

constexpr std::int64_t kWidth = 16;

// The backward reads results from inside the block, not only the block's result.
struct BlockImpl : torch::nn::Module {
  BlockImpl() { register_module("linear", linear); }
  at::Tensor forward(const at::Tensor& x) { return linear->forward(x).tanh().exp().sin(); }
  torch::nn::Linear linear{kWidth, kWidth};
};
TORCH_MODULE(Block);

torch::nn::Sequential segment_of_layers() {
  return torch::nn::Sequential(torch::nn::Linear(kWidth, kWidth), torch::nn::Tanh(),
                               torch::nn::Linear(kWidth, kWidth), torch::nn::GELU());
}

class Calls : public testing::Test {
 protected:
  void TearDown() override { EXPECT_EQ(engine::Engine::instance().recorder_bytes(), 0); }

  // The gradients of `module`, by its own forward and through checkpointed(x).
  template <class Checkpointed>
  void expect_plain_gradients(torch::nn::Module& module,
                              const std::function<at::Tensor(const at::Tensor&)>& plain,
                              const Checkpointed& checkpointed) {
    const auto gradients = [&](const auto& forward) {
      module.zero_grad();
      const at::Tensor y = forward(x_);
      y.square().sum().backward();
      std::vector<at::Tensor> all{y.detach()};
      for (const at::Tensor& parameter : module.parameters()) all.push_back(parameter.grad());
      EXPECT_GT(all.size(), 1U);
      return test::bytes_of(all);
    };
    const test::ByteLists expected = gradients(plain);
    const std::int64_t evictions = engine::Engine::instance().stats().evictions;
    EXPECT_EQ(test::first_difference(expected, gradients(checkpointed)), std::nullopt);
    EXPECT_GT(engine::Engine::instance().stats().evictions, evictions)
        << "nothing was checkpointed";
  }

  at::Tensor x_ = torch::randn({32, kWidth});
};

TEST_F(Calls, take_a_sequential_as_holder_as_itself_and_by_pointer) {
  torch::nn::Sequential segment = segment_of_layers();
  const auto plain = [&](const at::Tensor& x) { return segment->forward(x); };
  const torch::nn::Sequential& constant = segment;
  expect_plain_gradients(*segment, plain, [&](at::Tensor x) { return checkpoint(segment, x); });
  expect_plain_gradients(*segment, plain, [&](at::Tensor x) { return checkpoint(*segment, x); });
  expect_plain_gradients(*segment, plain,
                         [&](at::Tensor x) { return checkpoint(segment.ptr(), x); });
  expect_plain_gradients(*segment, plain,
                         [&](at::Tensor x) { return checkpoint(segment.get(), x); });
  expect_plain_gradients(*segment, plain, [&](at::Tensor x) { return checkpoint(constant, x); });
  expect_plain_gradients(*segment, plain, [&](at::Tensor x) {
    return custom_checkpoint({.name = "segment"}, segment, x);
  });
  // The lambda captures by value and does not say `mutable`, so the module is const.
  expect_plain_gradients(*segment, plain,
                         [segment](const at::Tensor& x) { return checkpoint(segment, x); });
}

TEST_F(Calls, take_an_any_module_const_or_not) {
  const torch::nn::Sequential segment = segment_of_layers();
  Block block;
  torch::nn::AnyModule any(block);
  const torch::nn::AnyModule& constant = any;
  const auto plain = [&](const at::Tensor& x) { return block->forward(x); };
  expect_plain_gradients(*block, plain, [&](at::Tensor x) { return checkpoint(any, x); });
  expect_plain_gradients(*block, plain, [&](at::Tensor x) { return checkpoint(constant, x); });
  expect_plain_gradients(*block, plain,
                         [&](at::Tensor x) { return checkpoint(torch::nn::AnyModule(block), x); });
}

TEST_F(Calls, take_a_module_of_the_program_as_holder_as_itself_and_by_pointer) {
  Block block;
  const Block& constant = block;
  BlockImpl on_the_stack;
  const auto owned = std::make_unique<BlockImpl>();
  const auto plain = [&](const at::Tensor& x) { return block->forward(x); };
  expect_plain_gradients(*block, plain, [&](at::Tensor x) { return checkpoint(block, x); });
  expect_plain_gradients(*block, plain, [&](at::Tensor x) { return checkpoint(constant, x); });
  expect_plain_gradients(*block, plain, [&](at::Tensor x) { return checkpoint(*block, x); });
  expect_plain_gradients(*block, plain, [&](at::Tensor x) { return checkpoint(block.ptr(), x); });
  expect_plain_gradients(*block, plain,
                         [&](at::Tensor x) { return checkpoint(&BlockImpl::forward, block, x); });
  expect_plain_gradients(
      on_the_stack, [&](const at::Tensor& x) { return on_the_stack.forward(x); },
      [&](at::Tensor x) { return checkpoint(on_the_stack, x); });
  expect_plain_gradients(
      *owned, [&](const at::Tensor& x) { return owned->forward(x); },
      [&](at::Tensor x) { return checkpoint(owned, x); });
}

TEST_F(Calls, take_the_elements_of_a_module_list) {
  torch::nn::ModuleList list(segment_of_layers(), torch::nn::Linear(kWidth, kWidth),
                             torch::nn::GELU());
  const auto plain = [&](at::Tensor x) {
    x = list->at<torch::nn::SequentialImpl>(0).forward(x);
    return list->at<torch::nn::GELUImpl>(2).forward(list->at<torch::nn::LinearImpl>(1).forward(x));
  };
  expect_plain_gradients(*list, plain, [&](at::Tensor x) {
    for (const auto& layer : *list) x = checkpoint(layer, x);
    return x;
  });
  expect_plain_gradients(*list, plain, [&](at::Tensor x) {
    for (std::size_t i = 0; i < list->size(); ++i) x = checkpoint(list[i], x);
    return x;
  });
  expect_plain_gradients(*list, plain, [&](at::Tensor x) {
    for (const auto& layer : *list) x = checkpoint(*layer, x);
    return x;
  });
  expect_plain_gradients(*list, plain,
                         [&](at::Tensor x) { return checkpoint_sequential(list, 2, x); });
}

TEST_F(Calls, take_the_elements_of_a_sequential) {
  torch::nn::Sequential segment(Block{}, Block{});
  expect_plain_gradients(
      *segment, [&](const at::Tensor& x) { return segment->forward(x); },
      [&](at::Tensor x) {
        for (torch::nn::AnyModule& layer : *segment) x = checkpoint(layer, x);
        return x;
      });
}

TEST_F(Calls, take_modules_with_several_tensors_in_and_out) {
  torch::nn::LSTM lstm(kWidth, kWidth);
  const at::Tensor sequence = x_.view({4, 8, kWidth});
  const auto run = [&](auto&& forward) { return std::get<0>(forward(lstm, sequence)); };
  expect_plain_gradients(
      *lstm, [&](const at::Tensor&) { return std::get<0>(lstm->forward(sequence)); },
      [&](const at::Tensor&) {
        return run([](auto& module, const at::Tensor& x) { return checkpoint(module, x); });
      });
  torch::nn::MultiheadAttention attention(kWidth, 2);
  expect_plain_gradients(
      *attention,
      [&](const at::Tensor&) { return std::get<0>(attention(sequence, sequence, sequence)); },
      [&](const at::Tensor&) {
        return std::get<0>(checkpoint(attention, sequence, sequence, sequence));
      });
}

at::Tensor doubled(const at::Tensor& x) { return (x * 2).exp().sin(); }

TEST_F(Calls, take_functions_and_objects_that_have_a_forward_or_are_called) {
  struct Forwards {
    at::Tensor forward(const at::Tensor& x) const { return doubled(x); }
  };
  struct Called {
    at::Tensor operator()(const at::Tensor& x) const { return doubled(x); }
    at::Tensor forward(const at::Tensor& x) const { return x; }  // operator() is called, not this
  };
  const at::Tensor expected = doubled(x_);
  const auto same = [&](const at::Tensor& found) {
    return test::first_difference(test::bytes_of({expected}), test::bytes_of({found})) ==
           std::nullopt;
  };
  EXPECT_TRUE(same(checkpoint(doubled, x_)));
  EXPECT_TRUE(same(checkpoint(&doubled, x_)));
  EXPECT_TRUE(same(checkpoint(std::function<at::Tensor(at::Tensor)>(doubled), x_)));
  EXPECT_TRUE(same(checkpoint(Forwards{}, x_)));
  EXPECT_TRUE(same(checkpoint(std::make_shared<Forwards>(), x_)));
  EXPECT_TRUE(same(checkpoint(Called{}, x_)));
  at::Tensor left;
  checkpoint([&](const at::Tensor& x) { left = doubled(x); }, x_);  // returns nothing
  EXPECT_TRUE(same(left));
}

struct MyLinearImpl : torch::nn::LinearImpl {
  using LinearImpl::LinearImpl;
  at::Tensor forward(const at::Tensor& x) { return LinearImpl::forward(x).relu(); }
};

// Called as a Linear, it would run without its ReLU.
TEST_F(Calls, refuse_a_module_whose_type_is_not_known_with_what_to_do) {
  torch::nn::ModuleList list;
  list->push_back(std::make_shared<MyLinearImpl>(kWidth, kWidth));
  const std::string message = test::message_of<InvalidArgument>([&] { checkpoint(list[0], x_); });
  EXPECT_NE(
      message.find("neap::checkpoint: of this neap::(anonymous namespace)::MyLinearImpl only"),
      std::string::npos)
      << message;
  EXPECT_NE(message.find("list->ptr<neap::(anonymous namespace)::MyLinearImpl>(index)"),
            std::string::npos)
      << message;
  EXPECT_TRUE(checkpoint(list->ptr<MyLinearImpl>(0), x_).ge(0).all().item<bool>());
  EXPECT_EQ(test::message_of<InvalidArgument>(
                [&] { checkpoint(std::shared_ptr<torch::nn::Module>(), x_); }),
            "neap::checkpoint: the module is a null pointer; make the module first");
}

}  // namespace
}  // namespace neap
