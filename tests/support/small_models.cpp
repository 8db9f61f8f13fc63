// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "support/small_models.h"

#include <neap/checkpoint.h>

namespace neap::test {
namespace {

std::vector<at::Tensor> leaves(std::initializer_list<std::vector<std::int64_t>> shapes) {
  std::vector<at::Tensor> all;
  for (const auto& shape : shapes) all.push_back(torch::randn(shape).mul_(0.3).requires_grad_());
  return all;
}

}  // namespace

const std::vector<SmallModel>& small_models() {
  static const std::vector<SmallModel> all{
      {"linear",
       [] {
         return leaves({{24, 24}, {24, 24}, {24, 24}});
       },
       [](const std::vector<at::Tensor>& p) {
         at::Tensor x = torch::ones({16, 24});
         for (int i = 0; i < 6; ++i) x = torch::tanh(x.mm(p[static_cast<std::size_t>(i) % 3]));
         return x.pow(2).sum();
       }},
      {"convolution",
       [] {
         return leaves({{4, 4, 3, 3}, {4, 4, 3, 3}});
       },
       [](const std::vector<at::Tensor>& p) {
         at::Tensor x = torch::ones({2, 4, 8, 8});
         for (int i = 0; i < 4; ++i) {
           x = torch::relu(torch::conv2d(x, p[static_cast<std::size_t>(i) % 2], {}, 1, 1));
         }
         return x.mean();
       }},
      {"dropout",
       [] {
         return leaves({{32, 32}});
       },
       [](const std::vector<at::Tensor>& p) {
         at::Tensor x = p[0];
         for (int i = 0; i < 5; ++i) x = torch::dropout(torch::sigmoid(x.mm(p[0])), 0.2, true);
         return x.sum();
       }},
      {"in place",
       [] {
         return leaves({{32, 16}});
       },
       [](const std::vector<at::Tensor>& p) {
         at::Tensor x = p[0] * 2;
         for (int i = 0; i < 5; ++i) {
           x = torch::softmax(x, 1) + x;
           x.narrow(0, 0, 8).mul_(0.5);
           x.add_(x.tanh());
         }
         return x.pow(2).mean();
       }},
      {"checkpointed",
       [] {
         return leaves({{24, 24}, {24, 24}});
       },
       [](const std::vector<at::Tensor>& p) {
         at::Tensor x = torch::ones({16, 24});
         for (const at::Tensor& weight : p) {
           x = checkpoint(
               [&](const at::Tensor& in) { return torch::gelu(in.mm(weight)).mm(weight); }, x);
         }
         return x.pow(2).sum();
       }},
      {"double backward",
       [] {
         return leaves({{16, 16}, {16, 16}});
       },
       [](const std::vector<at::Tensor>& p) {
         const at::Tensor x = torch::ones({12, 16}).requires_grad_();
         const at::Tensor y = torch::tanh(torch::tanh(x.mm(p[0])).mm(p[1])).sum();
         const at::Tensor g = torch::autograd::grad({y}, {x}, {}, true, true)[0];
         return y + g.pow(2).sum();
       }},
      {"embedding",
       [] {
         return leaves({{20, 16}, {16, 16}});
       },
       [](const std::vector<at::Tensor>& p) {
         const at::Tensor words = torch::arange(24) % 20;
         at::Tensor x = torch::embedding(p[0], words);
         for (int i = 0; i < 3; ++i) x = torch::silu(x.mm(p[1])) + x;
         return torch::cross_entropy_loss(x, words % 16);
       }},
      {"attention",
       [] {
         return leaves({{16, 48}, {16, 16}});
       },
       [](const std::vector<at::Tensor>& p) {
         at::Tensor x = torch::ones({2, 6, 16}).cumsum(1) * 0.1;
         for (int i = 0; i < 2; ++i) {
           const auto parts = x.matmul(p[0]).chunk(3, -1);
           const at::Tensor weights =
               torch::softmax(parts[0].matmul(parts[1].transpose(1, 2)) * 0.25, -1);
           x = x + weights.matmul(parts[2]).matmul(p[1]);
         }
         return x.pow(2).mean();
       }},
      {"norms",
       [] {
         return leaves({{16}, {16}, {16, 16}});
       },
       [](const std::vector<at::Tensor>& p) {
         at::Tensor x = torch::ones({8, 16}).cumsum(0);
         for (int i = 0; i < 3; ++i) {
           x = torch::layer_norm(x.mm(p[2]), {16}, p[0], p[1]);
           x = torch::batch_norm(x, p[0], p[1], {}, {}, true, 0.1, 1e-5, false);
         }
         return x.pow(2).mean();
       }},
      {"recurrent",
       [] {
         return leaves({{16, 16}, {16, 16}, {16}});
       },
       [](const std::vector<at::Tensor>& p) {
         at::Tensor state = torch::zeros({4, 16});
         at::Tensor sum = torch::zeros({});
         for (int i = 0; i < 5; ++i) {
           state = torch::tanh(state.mm(p[0]) + torch::full({4, 16}, 0.1 * i).mm(p[1]) + p[2]);
           sum = sum + state.sum();
         }
         return sum;
       }},
      {"views and joins",
       [] {
         return leaves({{16, 16}, {8, 32}});
       },
       [](const std::vector<at::Tensor>& p) {
         at::Tensor x = p[0];
         for (int i = 0; i < 3; ++i) {
           const auto halves = x.t().split(8, 0);
           x = torch::cat({halves[0].exp(), halves[1].tanh()}, 0).mm(p[0]).contiguous();
         }
         return x.view({8, 32}).mul(p[1]).sum();
       }},
      {"pooling",
       [] {
         return leaves({{4, 1, 3, 3}, {8, 4, 3, 3}});
       },
       [](const std::vector<at::Tensor>& p) {
         at::Tensor x = torch::ones({2, 1, 16, 16}).cumsum(2);
         x = torch::conv2d(x, p[0], {}, 1, 1);
         for (int i = 0; i < 3; ++i) x = torch::sigmoid(x) * x;
         x = torch::max_pool2d(x, 2);
         x = torch::avg_pool2d(torch::relu(torch::conv2d(x, p[1], {}, 1, 1)), 2);
         return torch::log_softmax(x.flatten(1), 1).pow(2).mean();
       }},
  };
  return all;
}

}  // namespace neap::test
