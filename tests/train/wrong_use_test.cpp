// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Each wrong use of a trainer ends in a message with the wrong value and what to use instead.
#include "train/training.h"

#include <neap/data.h>

#include <limits>

namespace neap::test {
namespace {

using Limits = std::numeric_limits<double>;

class TrainerWrongUse : public testing::Test {
 protected:
  template <class Step>
  static void expect_message(const std::string& wanted, Step step) {
    const std::string text = message_of<InvalidArgument>(step);
    EXPECT_NE(text.find(wanted), std::string::npos) << text;
  }
  template <class... Arguments>
  void expect_refused(const std::string& wanted, Arguments&&... arguments) {
    expect_message(wanted, [&] {
      const MemoryEfficientTrainer trainer(job_.model, *job_.optimizer,
                                           std::forward<Arguments>(arguments)...);
    });
  }
  MemoryEfficientTrainer trainer(const train::Criterion& loss) {
    return {job_.model, *job_.optimizer, kBatch, 4, {}, loss};
  }

  Job job_;
};

TEST_F(TrainerWrongUse, of_sizes) {
  expect_refused("batch_size is 0; it is the most rows of a micro-batch: 1 or more", 0);
  expect_refused("batch_size is -3;", -3);
  expect_refused("accumulation_steps is 0; it is the most micro-batches of an optimizer step", 4,
                 0);
  expect_refused("micro-batches of 4611686018427387904 rows are more than can be counted",
                 std::int64_t{1} << 62, 4);
  MemoryEfficientTrainer trainer(job_.model, *job_.optimizer, kBatch);
  expect_message("epochs is 0;", [&] { trainer.fit(batches_of({64}), 0); });
}

TEST_F(TrainerWrongUse, of_options) {
  expect_refused("ClipNorm at 0.0", kBatch, 4, train::TrainerOptions{.clip = train::ClipNorm{0}});
  expect_refused("ClipNorm at nan", kBatch, 4,
                 train::TrainerOptions{.clip = train::ClipNorm{Limits::quiet_NaN()}});
  expect_refused("ClipValue at -1.0", kBatch, 4,
                 train::TrainerOptions{.clip = train::ClipValue{-1}});
  expect_refused(
      "the schedule is empty", kBatch, 4,
      train::TrainerOptions{.schedule = static_cast<torch::optim::LRScheduler*>(nullptr)});
  expect_refused("the schedule is empty", kBatch, 4,
                 train::TrainerOptions{.schedule = std::function<double(std::int64_t)>()});
  expect_refused("no scope that could hold the budget of 1.0 MiB", kBatch, 4,
                 train::TrainerOptions{.budget = Bytes(1 << 20), .plain = true});
  expect_refused("the loss is an empty function", kBatch, 4, train::TrainerOptions{},
                 train::Criterion());
}

TEST_F(TrainerWrongUse, of_a_model_and_its_optimizer) {
  Job other;
  expect_message("holds none of the 26 parameters of the model", [&] {
    const MemoryEfficientTrainer trainer(job_.model, *other.optimizer, kBatch);
  });
  expect_message("without a function to call",
                 [&] { const train::Model model(*job_.model, nullptr); });
  expect_message("an empty module holder or pointer",
                 [] { const train::Model model{torch::nn::Linear(nullptr)}; });
}

TEST_F(TrainerWrongUse, of_a_loader) {
  MemoryEfficientTrainer trainer(job_.model, *job_.optimizer, kBatch);
  const std::vector<MicroBatch> nothing;
  expect_message("the loader has no micro-batch in epoch 1; give it data",
                 [&] { trainer.train_epoch(nothing); });
  expect_message("no micro-batch in epoch 1;", [&] { trainer.fit(nothing, 3); });
  expect_message("no micro-batch to evaluate", [&] { trainer.evaluate(nothing); });
  expect_message("a micro-batch of 65 rows, and batch_size is 64", [&] {
    trainer.train_epoch(batches_of({64, 65}));
  });
  expect_message("a micro-batch of 65 rows, and batch_size is 64", [&] {
    trainer.evaluate(batches_of({64, 65}));
  });
  expect_message("micro-batch 2 of step 1 has no rows", [&] {
    trainer.train_epoch(batches_of({64, 0}));
  });
  expect_message("micro-batch 1 of step 1 has no rows",
                 [&] { trainer.train_epoch(std::vector<MicroBatch>(1)); });
  expect_message("micro-batch 2 has no rows", [&] { trainer.evaluate(batches_of({64, 0})); });
  const std::vector<data::Batch> triples{{std::vector<at::Tensor>(3), {}}};
  expect_message("a batch of 3 tensors; a micro-batch has two, x and y",
                 [&] { trainer.train_epoch(triples); });
  // It can be gone through only once.
  struct Once {
    std::vector<MicroBatch> batches = batches_of({64});
    bool over = false;
    auto begin() { return std::exchange(over, true) ? batches.end() : batches.begin(); }
    auto end() { return batches.end(); }
  };
  expect_message("no micro-batch in epoch 2; give it data, and let each begin() start anew",
                 [&] { trainer.fit(Once(), 2); });
}

TEST_F(TrainerWrongUse, of_a_loss) {
  const auto step = [&](const train::Criterion& loss) {
    return [=, this] { trainer(loss).train_epoch(batches_of({64})); };
  };
  expect_message("the loss of micro-batch 1 of step 1 has 320 elements; return a scalar",
                 step([](const at::Tensor& output, const at::Tensor&) { return output; }));
  expect_message("the loss of micro-batch 1 of step 1 is undefined",
                 step([](const at::Tensor&, const at::Tensor&) { return at::Tensor(); }));
  expect_message(
      "depends on no parameter that requires a gradient",
      step([](const at::Tensor& output, const at::Tensor&) { return output.detach().mean(); }));
  MemoryEfficientTrainer evaluating(job_.model, *job_.optimizer, kBatch);
  expect_message("the measure of micro-batch 1 has 64 elements", [&] {
    evaluating.evaluate(batches_of({64}), [](const at::Tensor& output, const at::Tensor&) {
      return output.argmax(1);
    });
  });
}

TEST_F(TrainerWrongUse, of_parts) {
  const MicroBatch batch = batches_of({3})[0];
  train::Trainer trainer([](const at::Tensor& x, const at::Tensor&) { return x.mean(); },
                         *job_.optimizer);
  expect_message("a batch of 3 rows cannot be cut into 4 parts; take 1 to 3",
                 [&] { trainer.step(batch.x, batch.y, 4); });
  expect_message("cut into 0 parts", [&] { trainer.step(batch.x, batch.y, 0); });
  const std::vector<MicroBatch> batches{batch};
  train::Pass pass(batches);
  expect_message("a step of 0 micro-batches and 3 rows", [&] { trainer.step(pass, 0, 3); });
}

}  // namespace
}  // namespace neap::test
