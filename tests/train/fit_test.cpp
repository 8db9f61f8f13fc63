// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Passes over loaders of all forms, and what the callbacks learn meanwhile.
#include "memory/allocator.h"
#include "train/training.h"

#include <neap/data.h>

#include <forward_list>
#include <list>
#include <tuple>

namespace neap::test {
namespace {

// ---- Loaders ----

std::vector<std::int64_t> rows_of(train::Pass pass) {
  std::vector<std::int64_t> rows;
  while (const auto batch = pass.next()) {
    rows.push_back(batch->x.size(0));
    EXPECT_EQ(batch->y.size(0), batch->x.size(0));
  }
  EXPECT_FALSE(pass.next().has_value()) << "the end stays the end";
  return rows;
}

struct Labeled {
  at::Tensor data, target;
};
struct Sentence {
  at::Tensor tokens;
  // NOLINTNEXTLINE(google-explicit-constructor): a loader's elements are taken for batches by this
  operator MicroBatch() const { return {tokens.narrow(1, 0, 3), tokens.narrow(1, 1, 3)}; }
};

TEST(TrainerLoader, is_any_range_of_pairs_of_structs_with_x_and_y_or_data_and_target) {
  const std::vector<std::int64_t> sizes{3, 1, 2};
  const std::vector<MicroBatch> structs = batches_of(sizes);
  std::list<std::pair<at::Tensor, at::Tensor>> pairs;
  std::forward_list<Labeled> labeled;
  std::vector<torch::data::Example<>> examples;
  for (const MicroBatch& batch : structs) {
    pairs.emplace_back(batch.x, batch.y);
    labeled.push_front({batch.x, batch.y});
    examples.emplace_back(batch.x, batch.y);
  }
  labeled.reverse();
  EXPECT_EQ(rows_of(train::Pass(structs)), sizes);
  EXPECT_EQ(rows_of(train::Pass(pairs)), sizes);
  EXPECT_EQ(rows_of(train::Pass(labeled)), sizes);
  EXPECT_EQ(rows_of(train::Pass(examples)), sizes);
  EXPECT_EQ(train::Pass(pairs).size(), 3);
  EXPECT_EQ(train::Pass(labeled).size(), std::nullopt) << "a forward list does not know";
}

TEST(TrainerLoader, is_a_range_of_what_converts_to_a_micro_batch) {
  const std::vector<Sentence> sentences{{torch::arange(8).view({2, 4})}};
  const MicroBatch batch = *train::Pass(sentences).next();
  EXPECT_TRUE(torch::equal(batch.x + 1, batch.y));
}

TEST(TrainerLoader, is_a_loader_of_LibTorch) {
  struct Numbers : torch::data::Dataset<Numbers> {
    torch::data::Example<> get(std::size_t index) override {
      return {torch::full({kIn}, static_cast<double>(index)),
              torch::tensor(static_cast<std::int64_t>(index) % kClasses)};
    }
    std::optional<std::size_t> size() const override { return 3 * kBatch + 7; }
  };
  auto loader = torch::data::make_data_loader<torch::data::samplers::SequentialSampler>(
      Numbers().map(torch::data::transforms::Stack<>()), kBatch);
  EXPECT_EQ(rows_of(train::Pass(*loader)), (std::vector<std::int64_t>{64, 64, 64, 7}));
  Job job;
  MemoryEfficientTrainer trainer(job.model, *job.optimizer, kBatch, 3);
  const auto epochs = trainer.fit(*loader, 2);
  EXPECT_EQ(epochs.size(), 2U);
  EXPECT_EQ(epochs[1].steps, 2);
  EXPECT_EQ(epochs[1].samples, 3 * kBatch + 7);
}

TEST(TrainerLoader, is_neaps_own_with_the_same_bits_for_any_number_of_workers_inside_the_budget) {
  const MicroBatch all = batches_of({7 * kBatch + 9})[0];
  const auto set = data::from_tensors({all.x, all.y});
  const auto options_of = [](std::int64_t workers) {
    return data::LoaderOptions{
        .workers = workers, .prefetch_bytes = Bytes(32 << 10), .shuffle = true};
  };
  Job by_hand;
  MemoryEfficientDataLoader plain(set, kBatch, options_of(0));
  for (int epoch = 0; epoch < 2; ++epoch) {
    std::vector<MicroBatch> batches;
    while (const auto batch = plain.next()) {
      batches.push_back({batch->tensors[0], batch->tensors[1]});
    }
    ByHand().epoch(by_hand, batches);
  }
  const train::State expected = state_of(by_hand);
  const Bytes budget = budget_at(80);
  for (const std::int64_t workers : {0, 2}) {
    Job job;
    MemoryEfficientTrainer trainer(job.model, *job.optimizer, kBatch, 4, {.budget = budget});
    MemoryEfficientDataLoader loader(set, kBatch, options_of(workers));
    std::optional<std::int64_t> steps;
    const auto epochs =
        trainer.fit(loader, 2, [&](const train::Progress& progress) { steps = progress.steps; });
    EXPECT_EQ(first_difference(expected, state_of(job)), "") << workers;
    EXPECT_EQ(epochs[0].samples, 7 * kBatch + 9);
    EXPECT_EQ(epochs[0].micro_batches, 8);
    EXPECT_EQ(steps, 4);
    EXPECT_GT(epochs[0].stats.replays, 0);
    EXPECT_LE(std::max(epochs[0].peak, epochs[1].peak), budget);
    EXPECT_EQ(trainer.evaluate(loader).samples, 7 * kBatch + 9);
  }
}

// The first batch of a loader may be what does not fit, so it must be made inside the scope.
TEST(TrainerLoader, begins_inside_the_scope_of_the_step) {
  struct Beginning {
    bool inside = false;
    std::vector<MicroBatch> batches = batches_of({64});
    auto begin() {
      inside = memory::budget().has_value();
      return batches.begin();
    }
    auto end() { return batches.end(); }
  };
  Job job;
  MemoryEfficientTrainer trainer(job.model, *job.optimizer, kBatch, 4, {.budget = budget_at(150)});
  Beginning fitted, evaluated, stepped;
  trainer.fit(fitted, 1);
  trainer.evaluate(evaluated);
  first_step(trainer, stepped);
  EXPECT_TRUE(fitted.inside && evaluated.inside && stepped.inside);
}

TEST(TrainerLoader, is_asked_for_no_more_than_the_group_takes) {
  Job job;
  MemoryEfficientTrainer trainer(job.model, *job.optimizer, kBatch, 3);
  FreshBatches loader{8};
  train::Pass pass(loader);
  std::vector<int> made;
  std::vector<std::int64_t> sizes;
  while (const auto step = trainer.step(pass)) {
    made.push_back(loader.made);
    sizes.push_back(step->micro_batches);
  }
  EXPECT_EQ(made, (std::vector<int>{3, 6, 8}));
  EXPECT_EQ(sizes, (std::vector<std::int64_t>{3, 3, 2}));
}

TEST(TrainerLoader, that_is_over_changes_nothing) {
  const auto batches = batches_of({64, 64});
  Job job;
  MemoryEfficientTrainer trainer(job.model, *job.optimizer, kBatch, 4);
  train::Pass pass(batches);
  EXPECT_TRUE(trainer.step(pass).has_value());
  const train::State before = state_of(job);
  EXPECT_FALSE(trainer.step(pass).has_value());
  EXPECT_EQ(first_difference(before, state_of(job)), "") << "gradients too";
}

TEST(TrainerLoader, that_throws_ends_the_step_with_its_own_exception) {
  struct Mine {};
  struct Broken {
    struct Iterator {
      int at;
      Iterator& operator++() {
        ++at;
        return *this;
      }
      bool operator!=(const Iterator& other) const { return at != other.at; }
      MicroBatch operator*() const {
        if (at == 2) throw Mine();
        return batches_of({kBatch})[0];
      }
    };
    Iterator begin() const { return {0}; }
    Iterator end() const { return {9}; }
  };
  Job job;
  const ByteLists before = bytes_of(job.model->parameters());
  MemoryEfficientTrainer trainer(job.model, *job.optimizer, kBatch, 4, {.budget = budget_at(100)});
  EXPECT_THROW(first_step(trainer, Broken()), Mine);
  EXPECT_EQ(test::first_difference(before, bytes_of(job.model->parameters())), std::nullopt);
  EXPECT_EQ(first_step(trainer, batches_of({64})).samples, 64) << "and the trainer goes on";
}

// ---- Models ----

TEST(TrainerModel, is_a_holder_a_pointer_or_any_module_with_a_function) {
  struct Twice : torch::nn::Module {
    Twice() { inner = register_module("inner", torch::nn::Linear(kIn, kClasses)); }
    at::Tensor forward(const at::Tensor& x) { return inner->forward(x) * 2; }
    at::Tensor run(const at::Tensor& x, double factor) { return inner->forward(x) * factor; }
    torch::nn::Linear inner{nullptr};
  };
  const auto batches = batches_of({64, 64});
  const auto trained = [&](torch::nn::Module& module, const train::Model& model) {
    torch::optim::SGD optimizer(module.parameters(), torch::optim::SGDOptions(0.1));
    MemoryEfficientTrainer(model, optimizer, kBatch, 2).train_epoch(batches);
    return bytes_of(module.parameters());
  };
  const auto made = [] {
    torch::manual_seed(1);
    return std::make_shared<Twice>();
  };
  const auto shared = made();
  const ByteLists expected = trained(*shared, shared);
  torch::manual_seed(1);
  Twice on_the_stack;
  EXPECT_EQ(test::first_difference(expected, trained(on_the_stack, {on_the_stack,
                                                                    [&](const at::Tensor& x) {
                                                                      return on_the_stack.run(x, 2);
                                                                    }})),
            std::nullopt);
  const torch::nn::ModuleHolder<Twice> holder(made());
  EXPECT_EQ(test::first_difference(expected, trained(*holder.ptr(), holder)), std::nullopt);
}

// ---- fit() ----

TEST(TrainerFit, leaves_no_micro_batch_out_and_says_what_each_epoch_was) {
  const auto batches = uneven_batches();
  Job job;
  MemoryEfficientTrainer trainer(job.model, *job.optimizer, kBatch, 4);
  std::vector<train::StepResult> steps;
  const auto epochs = trainer.fit(
      batches, 2, [&](const train::Progress& progress) { steps.push_back(progress.last); });
  ASSERT_EQ(epochs.size(), 2U);
  ASSERT_EQ(steps.size(), 6U);
  for (std::size_t epoch = 0; epoch < 2; ++epoch) {
    const train::PassResult& result = epochs[epoch];
    EXPECT_EQ(result.samples, 9 * 64 + 5);
    EXPECT_EQ(result.micro_batches, 10);
    EXPECT_EQ(result.steps, 3);
    double loss = 0;
    Bytes peak;
    std::int64_t operators = 0;
    for (std::size_t i = epoch * 3; i < epoch * 3 + 3; ++i) {
      loss += steps[i].loss * static_cast<double>(steps[i].samples);
      peak = std::max(peak, steps[i].peak);
      operators += steps[i].stats.operators;
      EXPECT_EQ(steps[i].step, static_cast<std::int64_t>(i) + 1);
    }
    EXPECT_EQ(result.loss, loss / 581);
    EXPECT_EQ(result.peak, peak);
    EXPECT_EQ(result.stats.operators, operators);
    EXPECT_GT(operators, 0);
  }
  EXPECT_EQ(steps[2].samples, 69);
  EXPECT_EQ(steps[2].micro_batches, 2);
}

// On slides, train_step() goes over the loader. It must not be one optimizer step on the same first
// micro-batches each time.
TEST(TrainerFit, is_what_train_step_and_train_epoch_do_with_a_loader_once) {
  const auto batches = uneven_batches();
  Job by_hand;
  for (int epoch = 0; epoch < 2; ++epoch) ByHand().epoch(by_hand, batches);
  Job job;
  MemoryEfficientTrainer trainer(job.model, *job.optimizer, kBatch, 4);
  const train::PassResult first = trainer.train_step(batches);
  EXPECT_EQ(first.steps, 3);
  EXPECT_EQ(first.micro_batches, 10);
  EXPECT_EQ(first.samples, 9 * 64 + 5);
  EXPECT_EQ(trainer.train_epoch(batches).steps, 3);
  EXPECT_EQ(first_difference(state_of(by_hand), state_of(job)), "");
}

TEST(TrainerFit, tells_its_progress_after_each_optimizer_step) {
  const Bytes budget = budget_at(80);
  Job job;
  MemoryEfficientTrainer trainer(job.model, *job.optimizer, kBatch, 4, {.budget = budget});
  std::vector<train::Progress> told;
  std::vector<ByteLists> parameters;
  const auto on_step = [&](const train::Progress& progress) {
    told.push_back(progress);
    parameters.push_back(bytes_of(job.model->parameters()));
    EXPECT_FALSE(memory::usage().reserved > budget.count());
    Scope outside;  // the step's scope is over: one without its budget may open
    EXPECT_EQ(outside.stats().budget_bytes, 0);
  };
  trainer.fit(uneven_batches(), 2, on_step);
  ASSERT_EQ(told.size(), 6U);
  for (std::size_t i = 0; i < told.size(); ++i) {
    const train::Progress& now = told[i];
    EXPECT_EQ(now.done, static_cast<std::int64_t>(i) + 1);
    EXPECT_EQ(now.epoch, i < 3 ? 1 : 2);
    EXPECT_EQ(now.epochs, 2);
    EXPECT_EQ(now.steps, 6);
    EXPECT_EQ(now.last.samples, i % 3 == 2 ? 69 : 256);
    EXPECT_GT(now.samples_per_second, 0);
    ASSERT_TRUE(now.seconds_left.has_value());
    EXPECT_EQ(*now.seconds_left > 0, i < 5);
    EXPECT_EQ(now.budget_share,
              static_cast<double>(now.last.peak.count()) / static_cast<double>(budget.count()));
    EXPECT_LE(*now.budget_share, 1);
    if (i > 0) {
      EXPECT_NE(test::first_difference(parameters[i - 1], parameters[i]), std::nullopt);
    }
  }
}

TEST(TrainerFit,
     learns_how_many_steps_there_are_from_the_first_epoch_when_the_loader_does_not_know) {
  Job job;
  MemoryEfficientTrainer trainer(job.model, *job.optimizer, kBatch, 4);
  std::vector<std::optional<std::int64_t>> steps;
  trainer.fit(FreshBatches{6}, 2, [&](const train::Progress& progress) {
    EXPECT_EQ(progress.seconds_left.has_value(), progress.steps.has_value());
    EXPECT_FALSE(progress.budget_share.has_value());
    steps.push_back(progress.steps);
  });
  EXPECT_EQ(steps, (std::vector<std::optional<std::int64_t>>{std::nullopt, std::nullopt, 4, 4}));
}

TEST(TrainerFit, ends_with_what_its_callback_throws) {
  struct Enough {};
  Job job;
  MemoryEfficientTrainer trainer(job.model, *job.optimizer, kBatch, 4);
  int steps = 0;
  EXPECT_THROW(trainer.fit(uneven_batches(), 5,
                           [&](const train::Progress&) {
                             if (++steps == 4) throw Enough();
                           }),
               Enough);
  EXPECT_EQ(steps, 4);
}

TEST(TrainerFit, ends_at_the_next_operator_after_an_interrupt) {
  Job job;
  MemoryEfficientTrainer trainer(job.model, *job.optimizer, kBatch, 4);
  int steps = 0;
  EXPECT_THROW(trainer.fit(uneven_batches(), 5,
                           [&](const train::Progress&) {
                             if (++steps == 2) interrupt();
                           }),
               Interrupted);
  EXPECT_EQ(steps, 2);
}

// The trainer that cuts a batch is the one that takes batches from a loader.
TEST(Trainer, cuts_a_batch_into_parts_with_the_bits_of_the_loop_written_by_hand) {
  const MicroBatch batch = batches_of({130})[0];
  for (const std::int64_t parts : {1, 3, 4}) {
    Job plain;
    torch::manual_seed(9);
    plain.optimizer->zero_grad();
    const auto xs = batch.x.tensor_split(parts), ys = batch.y.tensor_split(parts);
    for (std::size_t i = 0; i < xs.size(); ++i) {
      const at::Tensor loss = torch::cross_entropy_loss(plain.model->forward(xs[i]), ys[i]);
      (loss * (static_cast<double>(xs[i].size(0)) / 130.0)).backward();
    }
    plain.optimizer->step();
    const train::State expected = state_of(plain);
    Job job;
    torch::manual_seed(9);
    train::Trainer trainer(
        [&](const at::Tensor& x, const at::Tensor& y) {
          return torch::cross_entropy_loss(job.model->forward(x), y);
        },
        *job.optimizer);
    const train::StepResult result = trainer.step(batch.x, batch.y, parts);
    EXPECT_EQ(result.micro_batches, parts);
    EXPECT_EQ(result.samples, 130);
    EXPECT_EQ(first_difference(expected, state_of(job)), "") << parts;
  }
}

}  // namespace
}  // namespace neap::test
