// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A group of micro-batches must leave the bits of a loop written by hand, and the gradient of the
// mean over all of its rows, however many there are.
#include "memory/allocator.h"
#include "train/training.h"

#include <ATen/record_function.h>

#include <cstring>
#include <numeric>
#include <string_view>

namespace neap::test {
namespace {

constexpr int kEpochs = 2;  // of three steps each

// The states after each step, by MemoryEfficientTrainer.
struct Trained {
  std::vector<train::State> states;
  std::int64_t replays = 0;
  Bytes peak;
};

Trained train(const std::vector<MicroBatch>& batches, const train::TrainerOptions& options,
              std::int64_t accumulate = 4) {
  Job job;
  MemoryEfficientTrainer trainer(job.model, *job.optimizer, kBatch, accumulate, options);
  Trained run;
  trainer.fit(batches, kEpochs, [&](const train::Progress& progress) {
    run.states.push_back(state_of(job));
    run.replays += progress.last.stats.replays;
    run.peak = std::max(run.peak, progress.last.peak);
  });
  return run;
}

std::vector<train::State> train_by_hand(const std::vector<MicroBatch>& batches,
                                        std::int64_t accumulate = 4) {
  Job job;
  std::vector<train::State> states;
  const ByHand by_hand{.accumulate = accumulate,
                       .after = [&](Job& now) { states.push_back(state_of(now)); }};
  for (int epoch = 0; epoch < kEpochs; ++epoch) by_hand.epoch(job, batches);
  return states;
}

void expect_equal(const std::vector<train::State>& expected, const Trained& run) {
  ASSERT_EQ(expected.size(), run.states.size());
  for (std::size_t step = 0; step < expected.size(); ++step) {
    EXPECT_EQ(first_difference(expected[step], run.states[step]), "") << "after step " << step + 1;
  }
}

TEST(TrainerBits, are_those_of_the_loop_written_by_hand_with_and_without_a_budget) {
  const auto batches = uneven_batches();
  const auto expected = train_by_hand(batches);
  ASSERT_EQ(expected.size(), 6U);
  expect_equal(expected, train(batches, {.plain = true}));
  expect_equal(expected, train(batches, {}));
  for (const int percent : {90, 70, 60}) {
    SCOPED_TRACE(percent);
    const Bytes budget = budget_at(percent);
    const Trained run = train(batches, {.budget = budget});
    expect_equal(expected, run);
    EXPECT_GT(run.replays, 0) << "the budget was not tight, so nothing was tested";
    EXPECT_LE(run.peak, budget);
  }
}

TEST(TrainerBits, of_one_micro_batch_a_step_are_those_of_the_plain_loop) {
  const auto batches = batches_of({64, 64, 64});
  expect_equal(train_by_hand(batches, 1), train(batches, {}, 1));
}

// The loader fills one buffer again. The new batch stands where the old one was, which neap may
// still want to read.
TEST(TrainerBits, hold_for_a_loader_that_fills_one_buffer_again_by_hand) {
  const auto batches = uneven_batches();
  struct OneBuffer {
    const std::vector<MicroBatch>& batches;
    MicroBatch buffer{};
    struct Iterator {
      OneBuffer* loader;
      std::size_t at;
      Iterator& operator++() {
        ++at;
        return *this;
      }
      bool operator!=(const Iterator& other) const { return at != other.at; }
      const MicroBatch& operator*() const {
        const MicroBatch& from = loader->batches[at];
        MicroBatch& to = loader->buffer;
        if (!to.x.defined() || to.x.sizes() != from.x.sizes()) {
          to = {torch::empty_like(from.x), torch::empty_like(from.y)};
        }
        std::memcpy(to.x.mutable_data_ptr(), from.x.const_data_ptr(), from.x.nbytes());
        std::memcpy(to.y.mutable_data_ptr(), from.y.const_data_ptr(), from.y.nbytes());
        return to;
      }
    };
    Iterator begin() { return {this, 0}; }
    Iterator end() { return {this, batches.size()}; }
  };
  const auto expected = train_by_hand(batches);
  Job job;
  MemoryEfficientTrainer trainer(job.model, *job.optimizer, kBatch, 4, {.budget = budget_at(60)});
  Trained run;
  trainer.fit(OneBuffer{batches}, kEpochs, [&](const train::Progress& progress) {
    run.states.push_back(state_of(job));
    run.replays += progress.last.stats.replays;
  });
  expect_equal(expected, run);
  EXPECT_GT(run.replays, 0);
}

// ---- The scale ----

// The numbers are small and whole, and the shares of rows are powers of a half. So nothing is
// rounded, sums in any order have the same bits, and the gradient of one large batch is the
// reference.
class ExactScale : public testing::Test {
 protected:
  static constexpr std::int64_t kRows = 8, kMicroBatches = 4;

  at::Tensor gradient_of(const std::vector<std::int64_t>& sizes) {
    std::int64_t begin = 0;
    std::vector<std::pair<at::Tensor, at::Tensor>> batches;
    for (const std::int64_t rows : sizes) {
      batches.emplace_back(x_.narrow(0, begin, rows), y_.narrow(0, begin, rows));
      begin += rows;
    }
    torch::optim::SGD optimizer(model_->parameters(), torch::optim::SGDOptions(0));
    MemoryEfficientTrainer trainer(model_, optimizer, kRows, kMicroBatches, {}, loss_);
    const train::StepResult result = first_step(trainer, batches);
    EXPECT_EQ(result.samples, begin);
    EXPECT_EQ(result.micro_batches, static_cast<std::int64_t>(sizes.size()));
    return model_->weight.grad().clone();
  }
  at::Tensor gradient_of_one_batch(std::int64_t rows) {
    model_->zero_grad();
    loss_(model_->forward(x_.narrow(0, 0, rows)), y_.narrow(0, 0, rows)).backward();
    return model_->weight.grad().clone();
  }

  const at::Tensor x_ = torch::randint(-3, 4, {32, 6}).to(torch::kFloat);
  const at::Tensor y_ = torch::randint(-3, 4, {32, 2}).to(torch::kFloat);
  torch::nn::Linear model_ = [] {
    torch::nn::Linear linear(torch::nn::LinearOptions(6, 2).bias(false));
    const torch::NoGradGuard no_grad;
    linear->weight.copy_(torch::randint(-2, 3, {2, 6}));
    return linear;
  }();
  const train::Criterion loss_ = [](const at::Tensor& output, const at::Tensor& target) {
    return (output - target).pow(2).sum(1).mean();
  };
};

TEST_F(ExactScale, of_a_group_is_that_of_the_mean_over_all_of_its_rows) {
  const std::vector<std::vector<std::int64_t>> groups{
      {8, 8, 8, 8},                // whole
      {8, 8},       {8},           // short of micro-batches
      {4, 4, 4, 4}, {8, 4, 2, 2},  // short of rows
      {4},          {1},           // like the end of an epoch
      {6, 2},       {2, 6},        // of different sizes
  };
  for (const auto& sizes : groups) {
    SCOPED_TRACE(testing::PrintToString(sizes));
    const std::int64_t rows = std::accumulate(sizes.begin(), sizes.end(), std::int64_t{0});
    EXPECT_EQ(test::first_difference(bytes_of({gradient_of_one_batch(rows)}),
                                     bytes_of({gradient_of(sizes)})),
              std::nullopt);
  }
}

// ---- Reading ----

// Counts the operators at which the program waits for a number.
class Reads {
 public:
  Reads() {
    handle_ = at::addThreadLocalCallback(
        at::RecordFunctionCallback(&count).scopes({at::RecordScope::FUNCTION}));
    reads_ = 0;
  }
  Reads(const Reads&) = delete;
  Reads& operator=(const Reads&) = delete;
  ~Reads() { at::removeCallback(handle_); }
  [[nodiscard]] int number() const { return reads_; }

 private:
  static std::unique_ptr<at::ObserverContext> count(const at::RecordFunction& function) {
    if (std::string_view(function.name()) == "aten::_local_scalar_dense") ++reads_;
    return nullptr;
  }
  static inline int reads_ = 0;
  at::CallbackHandle handle_;
};

TEST(TrainerReads, no_loss_while_a_group_is_under_way) {
  const auto batches = uneven_batches();
  Job job;
  const auto count = [&](const train::TrainerOptions& options) {
    MemoryEfficientTrainer trainer(job.model, *job.optimizer, kBatch, 4, options);
    const Reads reads;
    trainer.fit(batches, 1);
    return reads.number();
  };
  EXPECT_EQ(count({.plain = true}), 0);
  EXPECT_EQ(count({}), 0);
  EXPECT_EQ(count({.budget = budget_at(60)}), 0);
  EXPECT_EQ(count({.clip = train::ClipNorm{1}}), 3) << "the norm, once a step";
  const Reads reads;
  for (const MicroBatch& batch : batches) {
    static_cast<void>(
        torch::cross_entropy_loss(job.model->forward(batch.x), batch.y).item<float>());
  }
  EXPECT_EQ(reads.number(), 10) << "the counter sees reads";
}

TEST(TrainerReads, the_mean_loss_right) {
  const auto batches = batches_of({64, 64, 64, 5});
  Job job;
  job.model->eval();  // so that both forwards give the same
  double sum = 0;
  for (const MicroBatch& batch : batches) {
    const at::Tensor loss = torch::cross_entropy_loss(job.model->forward(batch.x), batch.y);
    sum += loss.item<double>() * (static_cast<double>(batch.x.size(0)) / 197.0);
  }
  MemoryEfficientTrainer trainer(job.model, *job.optimizer, kBatch, 4);
  EXPECT_EQ(first_step(trainer, batches).loss, sum);
}

// ---- Memory ----

// Losses that are kept until the end of the group must not hold what they were made from.
TEST(TrainerMemory, of_a_group_is_that_of_one_micro_batch) {
  std::int64_t peak = 0;
  const auto measure = [&](int micro_batches) {
    Job job;
    MemoryEfficientTrainer trainer(job.model, *job.optimizer, kBatch, micro_batches,
                                   {.budget = Bytes(std::int64_t{1} << 40)});
    first_step(trainer, FreshBatches{micro_batches});  // makes the optimizer's state
    memory::reset_peak();
    const train::StepResult result = first_step(trainer, FreshBatches{micro_batches});
    peak = memory::usage().peak;
    EXPECT_EQ(result.micro_batches, micro_batches);
    return result.stats.recorder_bytes;
  };
  const std::int64_t recorder_of_three = measure(3), peak_of_three = peak;
  EXPECT_EQ(measure(40), recorder_of_three);
  EXPECT_EQ(peak - peak_of_three,
            memory::footprint(40 * sizeof(double)) - memory::footprint(3 * sizeof(double)));
}

TEST(TrainerMemory, holds_one_micro_batch_at_a_time) {
  for (const bool budget : {false, true}) {
    Job job;
    train::TrainerOptions options;
    if (budget) options.budget = budget_at(70);
    MemoryEfficientTrainer trainer(job.model, *job.optimizer, kBatch, 4, options);
    FreshBatches loader{8};
    trainer.fit(loader, 1);
    EXPECT_EQ(loader.made, 8) << "each is asked for once";
    EXPECT_EQ(loader.alive_at_once, 1);
  }
}

TEST(TrainerMemory, that_does_not_fit_leaves_parameters_and_optimizer_as_they_were) {
  const auto batches = uneven_batches();
  Job job;
  MemoryEfficientTrainer roomy(job.model, *job.optimizer, kBatch, 4);
  first_step(roomy, batches);
  const auto left = [&] {
    job.optimizer->zero_grad();
    std::vector<at::Tensor> all = job.model->parameters();
    for (const at::Tensor& parameter : job.model->parameters()) {
      const auto& state = static_cast<torch::optim::AdamWParamState&>(
          *job.optimizer->state().at(parameter.unsafeGetTensorImpl()));
      all.push_back(state.exp_avg());
      all.push_back(state.exp_avg_sq());
    }
    return bytes_of(all);
  };
  const ByteLists before = left();
  memory::trim();
  MemoryEfficientTrainer tight(job.model, *job.optimizer, kBatch, 4,
                               {.budget = Bytes(memory::usage().reserved + 16384)});
  EXPECT_THROW(first_step(tight, batches), BudgetExceeded);
  EXPECT_EQ(test::first_difference(before, left()), std::nullopt);
  EXPECT_EQ(first_step(roomy, batches).micro_batches, 4) << "and training goes on";
}

}  // namespace
}  // namespace neap::test
