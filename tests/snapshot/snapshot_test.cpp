// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A training that goes on from a snapshot has the bits of one that did not stop.
#include "snapshot/saved_training.h"

namespace neap::train {
namespace {

// Steps after a snapshot are compared one by one, with those of a run that was never stopped.
TEST(Snapshot, a_training_goes_on_after_each_of_200_steps_with_the_same_bits) {
  constexpr std::int64_t kSteps = 200;
  const Folder folder;
  std::vector<State> states;
  {
    Training run;
    states.push_back(run.state());
    save(folder.path(), *run.model, *run.optimizer, {.step = 0}, {.keep = 0});
    run.train(0, kSteps + 3, {}, [&](std::int64_t step) {
      states.push_back(run.state());
      save(folder.path(), *run.model, *run.optimizer, {.step = step}, {.keep = 0});
    });
  }
  for (std::int64_t step = 0; step <= kSteps; ++step) {
    Training run(adamw, 77 + static_cast<std::uint64_t>(step));
    std::ostringstream name;
    name << "step-" << std::setw(10) << std::setfill('0') << step;
    ASSERT_EQ(load(folder.path() / name.str(), *run.model, *run.optimizer).step, step);
    // Each under another budget.
    const Bytes budget(memory::usage().reserved + (64 << 10) + 1024 * (step % 7));
    run.train(step, step + 3, budget, [&](std::int64_t now) {
      expect_equal(states[static_cast<std::size_t>(now)], run.state(),
                   "from " + std::to_string(step) + " to " + std::to_string(now));
    });
  }
}

TEST(Snapshot, each_kind_of_optimizer_goes_on) {
  for (const NamedOptimizer& one : optimizers()) {
    const Folder folder;
    Training straight(one.make);
    straight.train(0, 8);
    Training first(one.make);
    first.train(0, 5);
    const fs::path saved = save(folder.path(), *first.model, *first.optimizer, {.step = 5});
    Training second(one.make, 99);
    second.train(0, 2);  // what it has is replaced
    load(saved, *second.model, *second.optimizer);
    second.train(5, 8);
    expect_equal(straight.state(), second.state(), one.name);
  }
}

TEST(Snapshot, options_of_the_optimizer_come_back) {
  const Folder folder;
  Training run;
  auto& options =
      static_cast<torch::optim::AdamWOptions&>(run.optimizer->param_groups()[0].options());
  options.lr(0.123456789012345678).betas({0.8, 0.95}).eps(1e-7).weight_decay(0.3).amsgrad(true);
  const fs::path saved = save(folder.path(), *run.model, *run.optimizer, {});
  Training other;
  load(saved, *other.model, *other.optimizer);
  EXPECT_EQ(static_cast<torch::optim::AdamWOptions&>(other.optimizer->param_groups()[0].options()),
            options);
}

TEST(Snapshot, a_loader_goes_on_in_the_middle_of_an_epoch_with_workers) {
  const Folder folder;
  const auto set = data::from_function(50, [](std::int64_t index) {
    return data::Sample{torch::full({3}, index), torch::full({}, index)};
  });
  const auto loader_of = [&](std::int64_t workers) {
    return std::make_unique<MemoryEfficientDataLoader>(
        set, 8, data::LoaderOptions{.workers = workers, .shuffle = true, .seed = 5});
  };
  const auto next = [](MemoryEfficientDataLoader& loader) {
    const auto batch = loader.next();
    return batch ? batch->samples : std::vector<std::int64_t>();
  };
  Training run;
  const auto loader = loader_of(2);
  for (int i = 0; i < 10; ++i) next(*loader);
  const fs::path saved =
      save(folder.path(), *run.model, *run.optimizer, {.step = 10, .loader = loader->state()});
  Training other;
  const Position position = load(saved, *other.model, *other.optimizer);
  const auto resumed = loader_of(0);
  resumed->restore(position.loader.value());
  for (int i = 0; i < 20; ++i) EXPECT_EQ(next(*loader), next(*resumed)) << i;
}

TEST(Snapshot, gradients_of_an_open_step_come_back_when_they_are_asked_for) {
  const Folder folder;
  Training run;
  const MicroBatch batch = batch_of(3);
  cross_entropy(run.model->forward(batch.x), batch.y).backward();
  const State before = run.state();
  const fs::path with =
      save(folder.path(), *run.model, *run.optimizer, {.step = 1}, {.gradients = true});
  const fs::path without = save(folder.path(), *run.model, *run.optimizer, {.step = 2});
  Training other(adamw, 5);
  load(with, *other.model, *other.optimizer);
  expect_equal(before, other.state(), "gradients");
  load(without, *other.model, *other.optimizer);
  for (const at::Tensor& parameter : other.model->parameters()) {
    EXPECT_FALSE(parameter.grad().defined());
  }
}

// The program of docs/saving.md.
TEST(Snapshot, a_loop_goes_on_as_the_docs_say) {
  class Inside {
   public:
    explicit Inside(const fs::path& to) : before_(fs::current_path()) { fs::current_path(to); }
    Inside(const Inside&) = delete;
    Inside& operator=(const Inside&) = delete;
    ~Inside() { fs::current_path(before_); }

   private:
    fs::path before_;
  };
  const Folder folder;
  const Inside inside(folder.path());
  const auto set = data::from_function(60, [](std::int64_t index) {
    const MicroBatch batch = batch_of(index);
    return data::Sample{batch.x[0], batch.y[0]};
  });
  const auto run_to = [&](std::int64_t steps, std::uint64_t seed) {
    torch::manual_seed(seed);
    torch::nn::Sequential model = make_model();
    torch::optim::AdamW optimizer(model->parameters());
    MemoryEfficientDataLoader loader(set, 16, {.workers = 1, .shuffle = true, .drop_last = true});
    double loss = 0;
    const auto train_on = [&](const data::Batch& batch) {
      optimizer.zero_grad();
      const at::Tensor one = cross_entropy(model->forward(batch.tensors[0]), batch.tensors[1]);
      one.backward();
      optimizer.step();
      loss = one.item<double>();
    };
    train::Position position;
    if (const auto found = train::newest_snapshot("run")) {
      position = train::load(*found, *model, optimizer);
      loader.restore(*position.loader);
    }
    for (std::int64_t step = position.step; step < steps; ++step) {
      train_on(*loader.next());
      train::save("run", *model, optimizer, {.step = step + 1, .loader = loader.state()});
    }
    return State::of(*model, optimizer, loss);
  };
  const State straight = run_to(3, 1);
  fs::remove_all("run");
  run_to(1, 1);
  run_to(2, 8);
  expect_equal(straight, run_to(3, 9), "three runs");
}

TEST(Fingerprint, is_of_the_size_and_the_samples) {
  const auto of = [](std::int64_t size, double first) {
    return data::fingerprint(*data::from_function(size, [first](std::int64_t index) {
      return data::Sample{torch::full({2}, index == 0 ? first : static_cast<double>(index))};
    }));
  };
  EXPECT_EQ(of(10, 0), of(10, 0));
  EXPECT_NE(of(10, 0), of(11, 0));
  EXPECT_NE(of(10, 0), of(10, 1));
  EXPECT_EQ(of(10, 0).size(), 16);
}

}  // namespace
}  // namespace neap::train
