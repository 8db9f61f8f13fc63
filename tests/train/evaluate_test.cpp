// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// evaluate() leaves the model as it was.
#include "train/training.h"

namespace neap::test {
namespace {

std::vector<bool> modes_of(torch::nn::Module& model) {
  std::vector<bool> modes{model.is_training()};
  for (const auto& child : model.modules(/*include_self=*/false))
    modes.push_back(child->is_training());
  return modes;
}

TEST(TrainerEvaluate, gives_the_mean_over_all_rows_in_evaluation_mode) {
  const auto batches = uneven_batches();
  Job job;
  job.model->eval();
  double sum = 0;
  for (const MicroBatch& batch : batches) {
    const torch::NoGradGuard no_grad;
    const at::Tensor loss = torch::cross_entropy_loss(job.model->forward(batch.x), batch.y);
    sum += static_cast<double>(batch.x.size(0)) * loss.item<double>();
  }
  job.model->train();
  for (const bool plain : {false, true}) {
    MemoryEfficientTrainer trainer(job.model, *job.optimizer, kBatch, 4, {.plain = plain});
    const train::PassResult result = trainer.evaluate(batches);
    EXPECT_EQ(result.loss, sum / 581);
    EXPECT_EQ(result.samples, 581);
    EXPECT_EQ(result.micro_batches, 10);
    EXPECT_EQ(result.steps, 0);
    EXPECT_EQ(result.stats.operators > 0, !plain);
    EXPECT_GT(result.peak.count(), 0);
  }
}

TEST(TrainerEvaluate, takes_another_measure) {
  const auto batches = batches_of({64, 32});
  Job job;
  job.model->eval();
  std::int64_t right = 0;
  for (const MicroBatch& batch : batches) {
    right += job.model->forward(batch.x).argmax(1).eq(batch.y).sum().item<std::int64_t>();
  }
  MemoryEfficientTrainer trainer(job.model, *job.optimizer, kBatch);
  const auto accuracy = [](const at::Tensor& output, const at::Tensor& target) {
    return output.argmax(1).eq(target).to(torch::kDouble).mean();
  };
  EXPECT_EQ(trainer.evaluate(batches, accuracy).loss, static_cast<double>(right) / 96);
}

TEST(TrainerEvaluate, leaves_statistics_gradients_and_random_numbers_alone) {
  Job job;
  MemoryEfficientTrainer trainer(job.model, *job.optimizer, kBatch);
  trainer.train_epoch(uneven_batches());
  const train::State before = state_of(job);
  trainer.evaluate(uneven_batches());
  EXPECT_EQ(first_difference(before, state_of(job)), "");
}

TEST(TrainerEvaluate, puts_each_modules_mode_back) {
  Job job;
  MemoryEfficientTrainer trainer(job.model, *job.optimizer, kBatch);
  job.model->train();
  job.model[1]->eval();  // frozen statistics
  const auto mixed = modes_of(*job.model);
  ASSERT_EQ(mixed[2], false);
  trainer.evaluate(batches_of({64}));
  EXPECT_EQ(modes_of(*job.model), mixed);
  EXPECT_THROW(trainer.evaluate(batches_of({64, 65})), InvalidArgument);
  EXPECT_EQ(modes_of(*job.model), mixed) << "after an error";
  job.model->eval();
  job.model[2]->train();
  const auto other = modes_of(*job.model);
  trainer.evaluate(batches_of({64}));
  EXPECT_EQ(modes_of(*job.model), other);
}

TEST(TrainerEvaluate, stays_inside_the_budget) {
  const auto batches = batches_of({64, 64, 64});
  Job job;
  memory::trim();
  const Bytes budget(memory::usage().reserved + 96 * 1024);
  MemoryEfficientTrainer trainer(job.model, *job.optimizer, kBatch, 4, {.budget = budget});
  const train::PassResult result = trainer.evaluate(batches);
  EXPECT_EQ(result.stats.budget_bytes, budget.count());
  EXPECT_LE(result.peak, budget);
  memory::trim();
  MemoryEfficientTrainer tight(job.model, *job.optimizer, kBatch, 4,
                               {.budget = Bytes(memory::usage().reserved + 4096)});
  EXPECT_THROW(tight.evaluate(batches), BudgetExceeded);
  EXPECT_TRUE(job.model->is_training());
}

}  // namespace
}  // namespace neap::test
