// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "base/stable_hash.h"
#include "no_memory/scenarios.h"
#include "snapshot/saved_training.h"
#include "support/small_models.h"

#include <neap/neap.h>
#include <neap/snapshot.h>

#include <torch/torch.h>

#include <cstdint>

namespace neap::no_memory {
namespace {

namespace fs = std::filesystem;
using test::SmallModel;
using train::Training;

std::string bits_of(const std::vector<at::Tensor>& tensors) {
  std::uint64_t hash = 0;
  for (const at::Tensor& one : tensors) {
    hash = stable_hash(one.const_data_ptr(), one.nbytes(), hash);
  }
  return std::to_string(hash);
}

// A training after its second step.
Training& trained() {
  static auto* const one = [] {
    auto* const made = new Training;
    made->train(0, 2);
    return made;
  }();
  return *one;
}

void save(const fs::path& folder, std::int64_t step) {
  train::save(folder, *trained().model, *trained().optimizer, {.step = step}, {.keep = 1});
}

std::string resume(const fs::path& folder) {
  Training other(train::adamw, 5);
  const fs::path newest = train::newest_snapshot(folder).value();
  train::load(newest, *other.model, *other.optimizer);
  return newest.filename().string() + bits_of(other.model->parameters());
}

// Two steps from the beginning: the second one finds the optimizer's state.
std::string steps(const SmallModel& model, const Options& options) {
  torch::manual_seed(11);
  test::SmallModule module(model.parameters());
  torch::optim::SGD optimizer(module.parameters(), torch::optim::SGDOptions(0.1).momentum(0.5));
  for (int step = 0; step < 2; ++step) {
    Scope scope(options);
    optimizer.zero_grad();
    model.loss(module.all).backward();
    optimizer.step();
    scope.end();
  }
  return bits_of(module.all);
}

// Of what plain LibTorch holds beside the model, this much is left.
Bytes tight_budget(const SmallModel& model) {
  memory::trim();
  memory::reset_peak();
  const std::int64_t base = memory::usage().live;
  steps(model, {});
  return Bytes(base + (memory::usage().peak - base) * 6 / 10 + (64 << 10));
}

Scenario training(const SmallModel& model, const PlanMode& policy, const std::string& how) {
  const Bytes budget = tight_budget(model);
  return {
      .name = model.name + ", " + how,
      .prepare = [](const fs::path&) {},
      .act = [&model, budget, policy](
                 const fs::path&) { return steps(model, {.budget = budget, .policy = policy}); },
      .found = [](const fs::path&) { return std::string(); }};
}

}  // namespace

std::vector<Scenario> trainings() {
  const auto nothing = [](const fs::path&) {};
  trained();
  std::vector<Scenario> all;
  all.push_back({.name = "a first snapshot",
                 .prepare = nothing,
                 .act =
                     [](const fs::path& folder) {
                       save(folder / "run", 1);
                       return std::string();
                     },
                 .found = files_below});
  all.push_back({.name = "a snapshot that replaces another one",
                 .prepare = [](const fs::path& folder) { save(folder / "run", 1); },
                 .act =
                     [](const fs::path& folder) {
                       save(folder / "run", 2);
                       return std::string();
                     },
                 .found = files_below});
  all.push_back({.name = "resume",
                 .prepare = [](const fs::path& folder) { save(folder / "run", 2); },
                 .act = [](const fs::path& folder) { return resume(folder / "run"); },
                 .found = [](const fs::path&) { return std::string(); }});
  all.push_back({.name = "weights",
                 .prepare = nothing,
                 .act =
                     [](const fs::path& folder) {
                       train::export_weights(*trained().model, folder / "weights.safetensors");
                       return std::string();
                     },
                 .found = files_below});
  for (const SmallModel& model : test::small_models()) {
    all.push_back(training(model, Online{}, "online"));
  }
  all.push_back(training(test::small_models()[0], Planned{}, "planned"));
  return all;
}

}  // namespace neap::no_memory
