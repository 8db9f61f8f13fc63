// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Weights that go on without their snapshot, and a scheduler that goes on beside one.
#include "safetensors/safetensors.h"
#include "snapshot/saved_training.h"
#include "snapshot/tensors.h"

namespace neap::train {
namespace {

void damage(const fs::path& path) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekg(-1, std::ios::end);
  const char byte = static_cast<char>(file.get() ^ 1);
  file.seekp(-1, std::ios::end);
  file.put(byte);
}

TEST(Weights, of_a_snapshot_are_copied_without_the_model_when_their_sums_are_right) {
  const Folder folder;
  Training run;
  run.train(0, 2);
  const fs::path saved = save(folder.path(), *run.model, *run.optimizer, {.step = 2});
  const fs::path file = folder.path() / "weights.safetensors";
  export_weights(saved, file, {{"step", "2"}});
  EXPECT_EQ(safetensors::File(file).metadata().at("step"), "2");
  Training other(adamw, 8);
  import_weights(*other.model, file);
  for (std::size_t i = 0; i < other.model->parameters().size(); ++i) {
    EXPECT_TRUE(at::equal(other.model->parameters()[i], run.model->parameters()[i]));
  }
  // From a file, the same bytes.
  const fs::path copy = folder.path() / "copy.safetensors";
  export_weights(file, copy, {{"step", "2"}});
  std::ostringstream a, b;
  a << std::ifstream(file, std::ios::binary).rdbuf();
  b << std::ifstream(copy, std::ios::binary).rdbuf();
  EXPECT_EQ(a.str(), b.str());

  check_snapshot(saved);
  damage(saved / "model.safetensors");
  EXPECT_THAT(why_not([&] { check_snapshot(saved); }), HasSubstr("model.safetensors is damaged"));
  EXPECT_THAT(why_not([&] { export_weights(saved, file); }), HasSubstr("is damaged"));
  std::ostringstream after;
  after << std::ifstream(file, std::ios::binary).rdbuf();
  EXPECT_EQ(a.str(), after.str()) << "the file that was there stays";
  EXPECT_THAT(why_not([&] { export_weights(folder.path() / "none", file); }), HasSubstr("none"));
}

TEST(Weights, that_differ_a_lot_are_told_up_to_twenty) {
  const Folder folder;
  torch::nn::Sequential many;
  for (int i = 0; i < 15; ++i) many->push_back(torch::nn::Linear(2, 2));
  torch::nn::Sequential one(torch::nn::Linear(2, 3));
  const fs::path file = folder.path() / "weights.safetensors";
  export_weights(*many, file);
  const std::string why = why_not([&] { import_weights(*one, file); });
  EXPECT_THAT(why, HasSubstr(" does not fit: 30 differences\n  0.weight: it is F32 [2, 2]"));
  EXPECT_THAT(why, HasSubstr("\n  and 10 more; make"));
}

// docs/saving.md tells this order: the scheduler first, since it changes the optimizer's rate.
TEST(Weights, a_scheduler_of_libtorch_goes_on_when_it_is_stepped_before_the_load) {
  const Folder folder;
  const auto step = [](Training& run, torch::optim::LRScheduler& scheduler, std::int64_t number) {
    const MicroBatch batch = batch_of(number);
    run.optimizer->zero_grad();
    cross_entropy(run.model->forward(batch.x), batch.y).backward();
    run.optimizer->step();
    scheduler.step();
  };
  Training whole;
  torch::optim::StepLR of_whole(*whole.optimizer, 2, 0.5);
  for (std::int64_t i = 0; i < 8; ++i) {
    step(whole, of_whole, i);
    if (i == 4) save(folder.path(), *whole.model, *whole.optimizer, {.step = i + 1});
  }
  Training rest(adamw, 3);
  torch::nn::Sequential& model = rest.model;
  Optimizer& optimizer = *rest.optimizer;
  const auto found = newest_snapshot(folder.path());
  torch::optim::StepLR scheduler(optimizer, /*step_size=*/2, /*gamma=*/0.5);
  for (std::int64_t i = train::position_of(*found).step; i > 0; --i) scheduler.step();
  train::load(*found, *model, optimizer);
  for (std::int64_t i = 5; i < 8; ++i) step(rest, scheduler, i);
  expect_equal(whole.state(), rest.state(), "after 8 steps");
  EXPECT_EQ(whole.optimizer->param_groups()[0].options().get_lr(), 1e-2 / 8);
}

}  // namespace
}  // namespace neap::train
