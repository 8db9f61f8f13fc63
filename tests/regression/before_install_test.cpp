// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Programs without neap::install(). Once, AdaptiveCheckpointing silently never checkpointed, a
// plain trainer reported peaks of 0 bytes, and a benchmark was refused in the name of
// "track_memory", which the program had not called. Now all of them refuse with one text.
#include <neap/all.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace neap::test {
namespace {

std::string refusal_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const InvalidArgument& error) {
    return std::string("the wrong type: ") + error.what();
  } catch (const Error& error) {
    return error.what();
  }
  return "not refused";
}

// Runs before main() has called install().
const std::map<std::string, std::string> kRefusals = [] {
  const at::Tensor x = torch::ones({4, 8}), y = torch::zeros({4}, torch::kLong);
  torch::nn::Sequential model(torch::nn::Linear(8, 8), torch::nn::Tanh(), torch::nn::Linear(8, 8));
  torch::optim::SGD optimizer(model->parameters(), 0.1);
  const std::vector<train::MicroBatch> loader{{x, y}};
  const auto trainer = [&](bool plain) {
    return MemoryEfficientTrainer(model, optimizer, 4, 1, {.plain = plain});
  };
  const auto factory = [&](bool /*use_checkpoint*/) { return train::Model(model); };
  const auto job = [&] {
    return analysis::Job{model, analysis::sgd(*model), analysis::mean_square};
  };
  const auto batch = [&](std::int64_t size) {
    return train::MicroBatch{torch::ones({size, 8}), y};
  };
  const std::map<std::string, std::function<void()>> calls{
      {"Scope", [&] { const Scope scope; }},
      {"checkpoint", [&] { checkpoint(model, x); }},
      {"custom_checkpoint", [&] { custom_checkpoint({.name = "a"}, model, x); }},
      {"checkpoint_sequential", [&] { checkpoint_sequential(model, 2, x); }},
      {"CheckpointedModel", [&] { CheckpointedModel(model)->forward(x); }},
      {"AdaptiveCheckpointing",
       [&] { AdaptiveCheckpointing(Bytes(1)).forward_with_adaptive_checkpoint(model, x); }},
      {"trace_step", [&] { (void)trace_step([] {}); }},
      {"MemoryTracker", [&] { MemoryTracker().track_memory("a").end(); }},
      {"fit", [&] { trainer(false).fit(loader, 1); }},
      {"plain fit", [&] { trainer(true).fit(loader, 1); }},
      {"evaluate", [&] { trainer(false).evaluate(loader); }},
      {"plain evaluate", [&] { trainer(true).evaluate(loader); }},
      {"measure_plain",
       [&] {
         train::measure_plain(
             [&](const at::Tensor& in, const at::Tensor&) { return model->forward(in).sum(); },
             optimizer, x, y);
       }},
      {"analyze_memory_usage", [&] { (void)analyze_memory_usage(model, {8}, 4); }},
      {"GradientCheckpointBenchmark",
       [&] { (void)GradientCheckpointBenchmark(factory, {{8}}, {4}).run_benchmark(); }},
      {"PerformanceAnalyzer", [&] { (void)PerformanceAnalyzer(model, {8}, {4}).analyze(); }},
      {"max_batch", [&] { (void)max_batch(job, batch, Bytes(1 << 20)); }},
  };
  std::map<std::string, std::string> refusals;
  for (const auto& [name, call] : calls) refusals[name] = refusal_of(call);
  return refusals;
}();

TEST(BeforeInstall, all_that_counts_or_checkpoints_refuses_with_one_text) {
  EXPECT_EQ(kRefusals.size(), 17U);
  for (const auto& [name, refusal] : kRefusals) {
    EXPECT_EQ(refusal,
              "neap::install() was not called, so nothing can be counted, checkpointed or held "
              "inside a budget; call it once, before the first tensor")
        << name;
  }
}

}  // namespace
}  // namespace neap::test
