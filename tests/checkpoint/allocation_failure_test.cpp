// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Memory can run out at any allocation, also during a replay, or while a snapshot is saved or
// loaded. Here each allocation of two steps fails in turn, once or forever; between them the
// training is saved, and goes on in another model. The error must have a type, nothing may leak,
// the snapshots must be whole, and the next try must be right.
#include "engine/engine.h"
#include "memory/allocator.h"
#include "support/bytes.h"
#include "support/small_models.h"

#include <neap/neap.h>
#include <neap/snapshot.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <unistd.h>

#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace neap {
namespace {

namespace fs = std::filesystem;
using test::small_models;
using test::SmallModel;

// In memory where the system has such a folder: a snapshot is synced, a thousand times.
class Folder {
 public:
  Folder() : path_(root() / ("neap_allocations_" + std::to_string(::getpid()))) {
    fs::remove_all(path_);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() { fs::remove_all(path_); }
  [[nodiscard]] const fs::path& path() const { return path_; }

 private:
  static fs::path root() {
    return ::access("/dev/shm", W_OK | X_OK) == 0 ? fs::path("/dev/shm")
                                                  : fs::temp_directory_path();
  }
  fs::path path_;
};

struct Training {
  explicit Training(const SmallModel& model, std::uint64_t seed) : loss(&model.loss) {
    torch::manual_seed(seed);
    module = std::make_unique<test::SmallModule>(model.parameters());
    optimizer = std::make_unique<torch::optim::SGD>(module->parameters(),
                                                    torch::optim::SGDOptions(0.1).momentum(0.5));
  }
  void step() {
    optimizer->zero_grad();
    (*loss)(module->all).backward();
    optimizer->step();
  }
  void step_within(const Options& options) {
    Scope scope(options);
    step();
    scope.end();
  }
  // Parameters and gradients.
  [[nodiscard]] test::ByteLists bytes() const {
    std::vector<at::Tensor> all = module->all;
    for (const at::Tensor& parameter : module->all) all.push_back(parameter.grad());
    return test::bytes_of(all);
  }

  const std::function<at::Tensor(const std::vector<at::Tensor>&)>* loss;
  std::unique_ptr<test::SmallModule> module;
  std::unique_ptr<torch::optim::SGD> optimizer;
};

// A step, a snapshot, and a step of another training that goes on from it.
test::ByteLists train(const SmallModel& model, const Options& options, const fs::path& folder) {
  {
    Training first(model, 11);
    first.step_within(options);
    train::save(folder, *first.module, *first.optimizer, {.step = 1});
  }
  Training second(model, 12);
  train::load(train::newest_snapshot(folder).value(), *second.module, *second.optimizer);
  second.step_within(options);
  return second.bytes();
}

struct Outcome {
  test::ByteLists bytes;
  std::int64_t allocations = 0;
  bool failed = false;
};

// Trains so that allocation `k` fails (0: none does). If it failed, trains again from the start.
Outcome two_steps(const SmallModel& model, std::int64_t budget, std::int64_t k, bool for_ever,
                  const fs::path& folder) {
  Options options{.policy = Online{}};
  if (budget > 0) options.budget = Bytes(budget);
  Outcome outcome;
  const std::int64_t before = memory::usage().allocations;
  memory::fail_allocation(k, for_ever);
  try {
    outcome.bytes = train(model, options, folder);
  } catch (const Error&) {
    outcome.failed = true;
  } catch (const std::exception& error) {
    // LibTorch wraps what its threads and boxed kernels throw. Its text still contains ours.
    outcome.failed = true;
    EXPECT_NE(std::string(error.what()).find("a test asked for this failure"), std::string::npos)
        << error.what();
  }
  memory::fail_allocation(0, false);
  outcome.allocations = memory::usage().allocations - before;
  std::vector<std::string> damaged;
  train::newest_snapshot(folder, &damaged);
  for (const std::string& why : damaged) ADD_FAILURE() << why;
  if (outcome.failed) outcome.bytes = train(model, options, folder);
  return outcome;
}

class AllocationFailure : public testing::TestWithParam<bool> {};

TEST_P(AllocationFailure, at_any_allocation_leaves_nothing_behind_and_the_next_step_right) {
  const bool for_ever = GetParam();
  const Folder folder;
  EXPECT_GE(small_models().size(), 12U);
  for (const SmallModel& model : small_models()) {
    SCOPED_TRACE(model.name);
    test::ByteLists plain;
    std::int64_t budget = 0;
    {
      Training training(model, 11);
      memory::trim();
      memory::reset_peak();
      const std::int64_t base = memory::usage().live;
      training.step();
      training.step();
      budget = base + (memory::usage().peak - base) * 6 / 10 + (64 << 10);
      plain = training.bytes();
    }
    const Outcome without = two_steps(model, budget, 0, false, folder.path());
    ASSERT_FALSE(without.failed);
    ASSERT_EQ(test::first_difference(plain, without.bytes), std::nullopt);
    ASSERT_LE(without.allocations, 700) << "two steps of at most 350 allocations each";
    const std::int64_t live = memory::usage().live;
    int failures = 0;
    for (std::int64_t k = 1; k <= without.allocations; ++k) {
      SCOPED_TRACE("allocation " + std::to_string(k));
      const Outcome outcome = two_steps(model, budget, k, for_ever, folder.path());
      failures += outcome.failed ? 1 : 0;
      ASSERT_EQ(test::first_difference(plain, outcome.bytes), std::nullopt);
      ASSERT_EQ(memory::usage().live, live) << "leaked";
      ASSERT_EQ(engine::Engine::instance().recorder_bytes(), 0);
      engine::Engine::instance().validate();
      memory::validate();
    }
    std::cout << "  " << model.name << ": " << failures << " of " << without.allocations
              << " allocations failed\n";
    EXPECT_GT(failures, without.allocations / 2);
  }
}

INSTANTIATE_TEST_SUITE_P(OnceAndForEver, AllocationFailure, testing::Bool(),
                         [](const auto& info) { return info.param ? "for_ever" : "once"; });

}  // namespace
}  // namespace neap
