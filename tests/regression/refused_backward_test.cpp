// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// After one BudgetExceeded in a backward, batches that fit alone were refused forever. When an
// exception ends a backward, LibTorch's autograd engine keeps its nodes in a queue of the thread,
// with everything that they saved, until the thread's next backward. So the activations of the
// failed step stayed, and the next forward met a full budget.
#include "engine/engine.h"
#include "memory/allocator.h"

#include <neap/analysis.h>
#include <neap/neap.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace neap {
namespace {

// Small programs with a backward. Some run another backward inside theirs.
struct Recomputed : torch::autograd::Function<Recomputed> {
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* context,
                                                const at::Tensor& x, const at::Tensor& weight) {
    context->save_for_backward({x, weight});
    return {torch::tanh(x.mm(weight))};
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor x = saved[0].detach().requires_grad_();
    const at::Tensor weight = saved[1].detach().requires_grad_();
    const at::AutoGradMode grad_mode(true);
    return torch::autograd::grad({torch::tanh(x.mm(weight))}, {x, weight}, {gradients[0]});
  }
};

struct Program {
  std::string name;
  std::function<at::Tensor(const at::Tensor& weight)> loss;
};

const std::vector<Program>& programs() {
  static const std::vector<Program> all{
      {"layers",
       [](const at::Tensor& weight) {
         at::Tensor x = torch::ones({32, 32});
         for (int i = 0; i < 8; ++i) x = torch::dropout(torch::gelu(x.mm(weight)), 0.1, true);
         return x.pow(2).sum();
       }},
      {"checkpointed layers",
       [](const at::Tensor& weight) {
         at::Tensor x = torch::ones({32, 32});
         for (int i = 0; i < 4; ++i) {
           x = checkpoint([&](const at::Tensor& in) { return torch::gelu(in.mm(weight)).sin(); },
                          x);
         }
         return x.pow(2).sum();
       }},
      {"a backward inside of the backward",
       [](const at::Tensor& weight) {
         at::Tensor x = torch::ones({32, 32});
         for (int i = 0; i < 4; ++i) x = Recomputed::apply(x, weight)[0];
         return x.pow(2).sum();
       }},
      {"a graph of gradients",
       [](const at::Tensor& weight) {
         const at::Tensor x = torch::ones({32, 32}).requires_grad_();
         const at::Tensor y = torch::tanh(torch::tanh(x.mm(weight)).mm(weight)).sum();
         return y + torch::autograd::grad({y}, {x}, {}, true, true)[0].pow(2).sum();
       }},
  };
  return all;
}

// Runs a step in a scope in which allocation k fails. Returns whether it failed.
bool fails(const Program& program, at::Tensor& weight, std::int64_t k) {
  bool failed = false;
  memory::fail_allocation(k, false);
  try {
    Scope scope({.budget = Bytes(std::int64_t{1} << 30), .policy = Online{}});
    program.loss(weight).backward();
    scope.end();
  } catch (const std::exception&) {
    failed = true;
  }
  memory::fail_allocation(0, false);
  weight.mutable_grad() = at::Tensor();
  return failed;
}

TEST(RefusedBackward, leaves_no_byte_behind_wherever_in_the_step_it_was) {
  install();
  int refusals = 0;
  const auto refuse_everywhere = [&] {
    at::Tensor weight = torch::randn({32, 32}).mul_(0.2).requires_grad_();
    for (const Program& program : programs()) {
      SCOPED_TRACE(program.name);
      fails(program, weight, 0);  // makes what LibTorch keeps after a first backward
      const std::int64_t before = memory::usage().allocations;
      fails(program, weight, 0);
      const std::int64_t allocations = memory::usage().allocations - before;
      ASSERT_GT(allocations, 20);
      const std::int64_t live = memory::usage().live;
      for (std::int64_t k = 1; k <= allocations; ++k) {
        refusals += fails(program, weight, k) ? 1 : 0;
        ASSERT_EQ(memory::usage().live, live) << "after allocation " << k << " had failed";
        ASSERT_EQ(engine::Engine::instance().recorder_bytes(), 0);
      }
    }
  };
  for (int round = 0; round < 4; ++round) {
    refuse_everywhere();
    std::thread(refuse_everywhere).join();
  }
  EXPECT_GE(refusals, 1000);
}

TEST(RefusedBackward, leaves_its_room_to_the_next_step_in_the_same_scope) {
  install();
  at::Tensor weight = torch::randn({64, 64}).mul_(0.2).requires_grad_();
  const auto step = [&](std::int64_t rows) {
    at::Tensor x = torch::ones({rows, 64});
    for (int i = 0; i < 6; ++i) {
      x = torch::gelu(x.mm(weight));
      pin(x);
    }
    x.register_hook([](const at::Tensor& gradient) {
      // Runs in the backward, with all activations held.
      return gradient + torch::zeros({8192, 64}).sum();
    });
    x.pow(2).sum().backward();
    weight.mutable_grad() = at::Tensor();
  };
  memory::trim();
  Scope scope({.budget = Bytes(memory::usage().live + (2000 << 10)), .policy = Online{}});
  EXPECT_THROW(step(512), BudgetExceeded);
  // There is room for these activations only if those of the failed step are freed.
  at::Tensor x = torch::ones({512, 64});
  std::vector<at::Tensor> activations;
  for (int i = 0; i < 6; ++i) activations.push_back(x = pin(torch::gelu(x.mm(weight))));
  scope.end();
}

// The fence of a plain trial has no scope to free what its refusal left.
TEST(RefusedBackward, does_not_make_the_largest_batch_smaller) {
  install();
  struct ReaderImpl
      : torch::nn::Module {  // each part of x reads the keys and values of all before it
    torch::nn::Linear query{32, 32}, key{32, 32}, value{32, 32}, out{32, 32};
    ReaderImpl() {
      register_module("query", query);
      register_module("key", key);
      register_module("value", value);
      register_module("out", out);
    }
    at::Tensor forward(const at::Tensor& x) {
      at::Tensor keys, values;
      std::vector<at::Tensor> results;
      for (std::int64_t part = 0; part < x.size(1); ++part) {
        const at::Tensor in = x.select(1, part);
        keys = keys.defined() ? torch::cat({keys, key->forward(in)}, 1) : key->forward(in);
        values =
            values.defined() ? torch::cat({values, value->forward(in)}, 1) : value->forward(in);
        results.push_back(
            out->forward(torch::scaled_dot_product_attention(query->forward(in).unsqueeze(1),
                                                             keys.unsqueeze(1), values.unsqueeze(1))
                             .squeeze(1)));
      }
      return torch::stack(results, 1);
    }
  };
  const auto mse = [](const at::Tensor& a, const at::Tensor& b) { return torch::mse_loss(a, b); };
  const auto make_job = [&] {
    torch::manual_seed(1);
    auto reader = std::make_shared<ReaderImpl>();
    return analysis::Job{
        train::Model(*reader, [reader](const at::Tensor& x) { return reader->forward(x); }),
        std::make_shared<torch::optim::SGD>(reader->parameters(), 0.01), mse};
  };
  const auto make_batch = [](std::int64_t size) {
    const at::Tensor x = torch::ones({size, 6, 16, 32});
    return train::MicroBatch{x, torch::zeros_like(x)};
  };
  memory::trim();
  const Bytes budget(memory::usage().live + 1600000);
  const auto answer = max_batch(make_job, make_batch, budget);
  ASSERT_TRUE(answer.neap.proved);
  ASSERT_TRUE(answer.plain.proved);
  // The same search again, after the trials of the first one, must give the same answer.
  const auto again = max_batch(make_job, make_batch, budget);
  EXPECT_EQ(again.neap.batch_size, answer.neap.batch_size);
  EXPECT_EQ(again.plain.batch_size, answer.plain.batch_size);
  EXPECT_GE(answer.neap.batch_size, answer.plain.batch_size);
  // A batch that was refused fits nowhere: each trial says the same as that batch alone.
  for (const analysis::Trial& trial : answer.neap.trials) {
    const auto job = make_job();
    MemoryEfficientTrainer trainer(job.model, *job.optimizer, trial.batch_size, 1,
                                   {.budget = budget, .policy = Online{}}, mse);
    const std::vector<train::MicroBatch> batches{make_batch(trial.batch_size)};
    std::string refusal;
    try {
      for (int step = 0; step < 3; ++step) trainer.train_step(batches);
    } catch (const BudgetExceeded& error) {
      refusal = error.what();
    }
    EXPECT_EQ(refusal.empty(), trial.refusal.empty())
        << "batch " << trial.batch_size << ": " << trial.refusal << '\n'
        << refusal;
  }
}

}  // namespace
}  // namespace neap
