// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "base/stable_hash.h"
#include "engine/engine.h"
#include "no_memory/failing_new.h"
#include "no_memory/scenarios.h"
#include "snapshot/saved_training.h"
#include "support/small_models.h"

#include <neap/neap.h>
#include <neap/snapshot.h>

#include <torch/torch.h>

#include <cstdint>
#include <optional>
#include <set>
#include <stdexcept>

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

torch::optim::SGDOptions sgd() { return torch::optim::SGDOptions(0.1).momentum(0.5); }

// What a model computes without neap.
struct Known {
  std::set<std::string> parameters;  // each one, before and after each step
  std::string gradients;             // of a first step
};

void add(Known& known, const test::SmallModule& module) {
  for (const at::Tensor& one : module.all) known.parameters.insert(bits_of({one}));
}

std::string first_gradients(const SmallModel& model, const test::SmallModule& module) {
  torch::manual_seed(11);
  {
    const torch::NoGradGuard guard;
    const std::vector<at::Tensor> first = model.parameters();
    for (std::size_t i = 0; i < first.size(); ++i) module.all[i].copy_(first[i]);
  }
  for (const at::Tensor& one : module.all) one.mutable_grad().reset();
  model.loss(module.all).backward();
  std::vector<at::Tensor> gradients;
  for (const at::Tensor& one : module.all) gradients.push_back(one.grad());
  return bits_of(gradients);
}

Known known_of(const SmallModel& model) {
  Known known;
  torch::manual_seed(11);
  test::SmallModule module(model.parameters());
  torch::optim::SGD optimizer(module.parameters(), sgd());
  add(known, module);
  for (int step = 0; step < 2; ++step) {
    optimizer.zero_grad();
    model.loss(module.all).backward();
    optimizer.step();
    add(known, module);
  }
  known.gradients = first_gradients(model, module);
  return known;
}

// A step has found no memory, and its scope is still open: no mark and no lock stays, each
// parameter is as before the step or after it, and the scope goes on with the right bits.
void look(const Known& known, const SmallModel& model, const test::SmallModule& module,
          torch::optim::SGD& optimizer) {
  engine::Engine::instance().validate();
  for (const at::Tensor& one : module.all) {
    if (!known.parameters.contains(bits_of({one}))) throw std::logic_error("half a parameter");
  }
  optimizer.state().clear();  // it takes room that the budget does not have
  try {
    if (first_gradients(model, module) != known.gradients) throw std::logic_error("other bits");
    engine::Engine::instance().validate();
    looked();
  } catch (const BudgetExceeded&) {
    return;  // LibTorch keeps the graph of a backward that failed until the scope ends
  }
}

// Two steps from the beginning: the second one finds the optimizer's state.
std::string steps(const SmallModel& model, const Options& options, const Known& known) {
  torch::manual_seed(11);
  test::SmallModule module(model.parameters());
  torch::optim::SGD optimizer(module.parameters(), sgd());
  for (int step = 0; step < 2; ++step) {
    Scope scope(options);
    try {
      optimizer.zero_grad();
      model.loss(module.all).backward();
      optimizer.step();
    } catch (...) {
      const Pause pause;
      look(known, model, module, optimizer);
      throw;
    }
    scope.end();
  }
  return bits_of(module.all);
}

// Of what plain LibTorch holds beside the model, this much is left.
Bytes tight_budget(const SmallModel& model) {
  memory::trim();
  memory::reset_peak();
  const std::int64_t base = memory::usage().live;
  steps(model, {}, {});
  return Bytes(base + (memory::usage().peak - base) * 6 / 10 + (64 << 10));
}

Scenario training(const SmallModel& model, const PlanMode& policy, const std::string& how) {
  const Bytes budget = tight_budget(model);
  return {.name = model.name + ", " + how,
          .prepare = [](const fs::path&) {},
          .act =
              [&model, budget, policy, known = known_of(model)](const fs::path&) {
                return steps(model, {.budget = budget, .policy = policy}, known);
              },
          .found = [](const fs::path&) { return std::string(); },
          .looks = true};
}

}  // namespace

std::vector<Scenario> trainings() {
  const auto nothing = [](const fs::path&) {};
  // What is old or half written may stay beside it where there was no memory to remove it.
  const auto newest = [](const fs::path& folder) {
    const std::optional<fs::path> path = train::newest_snapshot(folder / "run");
    return path ? path->filename().string() + files_below(*path) : "none";
  };
  trained();
  std::vector<Scenario> all;
  all.push_back({.name = "a first snapshot",
                 .prepare = nothing,
                 .act =
                     [](const fs::path& folder) {
                       save(folder / "run", 1);
                       return std::string();
                     },
                 .found = newest,
                 .left = files_below});
  all.push_back({.name = "a snapshot that replaces another one",
                 .prepare = [](const fs::path& folder) { save(folder / "run", 1); },
                 .act =
                     [](const fs::path& folder) {
                       save(folder / "run", 2);
                       return std::string();
                     },
                 .found = newest,
                 .left = files_below});
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
