// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Three mistakes of simpler analyzers must not come back: to stop at the first batch that does not
// fit, to need a GPU, and to leave gradients in the model.
#include "analysis/measured.h"
#include "memory/allocator.h"
#include "support/bytes.h"
#include "support/xml.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>

namespace {

using namespace neap;
using analysis::AnalyzerOptions;
using analysis::PerformanceResult;
using analysis::PerformanceRow;
using neap::test::message_of;
using neap::test::SmallModel;

analysis::TrainingOptions once() { return {.repetitions = 1}; }

TEST(Analyzer, measures_each_part_of_a_step_on_the_cpu) {
  const PerformanceResult result =
      PerformanceAnalyzer(SmallModel(true), {64}, {32, 64}, {.training = {.repetitions = 3}})
          .analyze();
  ASSERT_EQ(result.rows.size(), 2);
  for (const PerformanceRow& row : result.rows) {
    ASSERT_TRUE(row.step.fits()) << row.step.refusal;
    EXPECT_GT(row.forward_time.median, 0);
    EXPECT_GT(row.backward_time.median, 0);
    EXPECT_GT(row.optimizer_time.median, 0);
    EXPECT_LE(row.forward_time.lower, row.forward_time.median);
    EXPECT_LE(row.forward_time.median, row.forward_time.upper);
    EXPECT_GE(row.step.milliseconds.upper,
              row.forward_time.lower + row.backward_time.lower + row.optimizer_time.lower);
    EXPECT_GE(row.step.milliseconds.upper, row.total_time.upper);
    EXPECT_GT(row.step.replays, 0) << "the model checkpoints";
    EXPECT_GT(row.step.recompute_share, 0);
    EXPECT_LT(row.step.recompute_share, 1);
    EXPECT_GT(row.step.peak_live, row.step.base);
    EXPECT_GE(row.step.peak_reserved, row.step.peak_live);
  }
  EXPECT_LT(result.rows[0].step.peak_live, result.rows[1].step.peak_live);
  EXPECT_TRUE(result.best_batch.has_value());
  EXPECT_FALSE(result.limit.empty());
}

TEST(Analyzer, takes_32_64_and_128_when_no_batches_are_named) {
  const auto result = PerformanceAnalyzer(SmallModel(false), {64}).analyze();
  ASSERT_EQ(result.rows.size(), 3);
  EXPECT_EQ(result.rows[2].batch_size, 128);
  EXPECT_EQ(result.input_shape, std::vector<std::int64_t>{64});
}

TEST(Analyzer, goes_on_after_a_batch_that_does_not_fit_and_says_so) {
  memory::trim();
  AnalyzerOptions options{.training = once()};
  options.budget = Bytes(memory::usage().reserved + (1 << 20));
  const auto result =
      PerformanceAnalyzer(SmallModel(false), {64}, {16, 20000, 32}, options).analyze();
  EXPECT_TRUE(result.rows[0].step.fits()) << result.rows[0].step.refusal;
  EXPECT_FALSE(result.rows[1].step.fits());
  EXPECT_TRUE(result.rows[1].step.refusal.starts_with("budget of ")) << result.rows[1].step.refusal;
  EXPECT_TRUE(result.rows[2].step.fits()) << result.rows[2].step.refusal;
  EXPECT_LE(result.rows[2].step.peak_reserved, *options.budget);
  EXPECT_NE(result.text().find("does not fit: budget of "), std::string::npos);
  EXPECT_EQ(nlohmann::json::parse(result.to_json())["rows"][1]["refusal"],
            result.rows[1].step.refusal);
}

TEST(Analyzer, goes_on_when_the_system_has_no_memory) {
  AnalyzerOptions options{.training = once()};
  options.training.batch = [](at::IntArrayRef sizes) {
    if (sizes[0] == 64) memory::fail_allocation(20, false);
    return analysis::random_batch(sizes);
  };
  const auto result = PerformanceAnalyzer(SmallModel(false), {64}, {64, 32}, options).analyze();
  memory::fail_allocation(0, false);
  EXPECT_TRUE(result.rows[0].step.refusal.starts_with("the system gives no more memory"))
      << result.rows[0].step.refusal;
  EXPECT_TRUE(result.rows[1].step.fits());
}

TEST(Analyzer, other_errors_reach_the_caller_and_the_model_is_put_back) {
  SmallModel model(false);
  const auto before = neap::test::bytes_of(model->parameters());
  AnalyzerOptions options{.training = once()};
  int steps = 0;
  options.training.loss = [&](const at::Tensor& output, const at::Tensor&) {
    if (++steps == 3) throw std::runtime_error("the labels are wrong");
    return output.square().mean();
  };
  EXPECT_EQ(message_of<std::runtime_error>(
                [&] { (void)PerformanceAnalyzer(model, {64}, {8}, options).analyze(); }),
            "the labels are wrong");
  EXPECT_EQ(neap::test::first_difference(before, neap::test::bytes_of(model->parameters())),
            std::nullopt);
}

TEST(Analyzer, leaves_the_model_and_the_generator_as_they_were) {
  torch::nn::Sequential model(torch::nn::Linear(64, 64), torch::nn::BatchNorm1d(64),
                              torch::nn::Dropout(0.5), torch::nn::Linear(64, 8));
  model->forward(torch::randn({4, 64})).sum().backward();
  const auto gradient = model->parameters()[0].grad();
  std::vector<at::Tensor> all = model->parameters();
  for (const at::Tensor& buffer : model->buffers()) all.push_back(buffer);
  for (const at::Tensor& parameter : model->parameters()) all.push_back(parameter.grad());
  const auto before = neap::test::bytes_of(all);
  torch::manual_seed(5);
  const at::Tensor expected = torch::randn({3});
  torch::manual_seed(5);
  (void)PerformanceAnalyzer(model, {64}, {8, 16}, {.training = once()}).analyze();
  EXPECT_EQ(neap::test::first_difference(before, neap::test::bytes_of(all)), std::nullopt);
  EXPECT_TRUE(model->parameters()[0].grad().is_same(gradient))
      << "not another one of the same bytes";
  EXPECT_TRUE(torch::equal(torch::randn({3}), expected));
}

// The gradients of a step are freed before the next one, so every repetition has the same peak.
TEST(Analyzer, gradients_do_not_pile_up) {
  const auto peak = [](std::int64_t repetitions) {
    return PerformanceAnalyzer(SmallModel(false), {64}, {32},
                               {.training = {.repetitions = repetitions}})
        .analyze()
        .rows[0]
        .step;
  };
  const analysis::Measurement one = peak(1), five = peak(5);
  EXPECT_EQ((one.peak_live - one.base).count(), (five.peak_live - five.base).count());
}

// ---- The verdict, on rows made by hand, because times cannot be asserted ----

PerformanceResult judged(const std::vector<std::pair<std::int64_t, double>>& throughputs) {
  PerformanceResult result;
  for (const auto& [batch, throughput] : throughputs) {
    PerformanceRow row{.batch_size = batch};
    row.step.items_per_second = throughput;
    if (throughput == 0) row.step.refusal = "budget of 1.0 MiB exceeded";
    result.rows.push_back(row);
  }
  analysis::judge(result);
  return result;
}

TEST(Analyzer, memory_limits_when_the_throughput_still_rises_where_batches_stop_to_fit) {
  const auto result = judged({{32, 100}, {64, 150}, {128, 0}});
  EXPECT_EQ(result.best_batch, 64);
  EXPECT_EQ(result.limit,
            "memory: 150.0 items/s at batch 64 is more than any smaller batch gives, and batch 128 "
            "does not fit");
}

TEST(Analyzer, time_limits_when_a_smaller_batch_is_as_fast) {
  const auto result = judged({{128, 0}, {64, 152}, {32, 150}, {16, 100}});
  EXPECT_EQ(result.best_batch, 64);
  EXPECT_EQ(result.limit,
            "time: 150.0 items/s at batch 32 is within 5 % of the best, 152.0 items/s at batch 64; "
            "larger batches only take memory");
  EXPECT_EQ(judged({{16, 100}, {32, 80}}).limit,
            "time: 100.0 items/s at batch 16 is the best; "
            "larger batches only take memory");
}

TEST(Analyzer, nothing_limits_when_the_largest_batch_is_the_best_and_fits) {
  EXPECT_EQ(judged({{16, 100}, {32, 180}}).limit,
            "neither memory nor time within these batches: 180.0 items/s at batch 32 is more than "
            "any smaller one gives, so try larger ones");
  EXPECT_EQ(judged({{16, 100}}).limit,
            "neither memory nor time within these batches: 100.0 items/s at batch 16 is all that "
            "was run, so try larger ones");
}

TEST(Analyzer, says_so_when_nothing_fits) {
  const auto result = judged({{64, 0}, {32, 0}});
  EXPECT_FALSE(result.best_batch.has_value());
  EXPECT_EQ(result.limit, "memory: not even batch 32 fits; raise the budget, or checkpoint more");
  EXPECT_TRUE(result.text().ends_with("best batch: none\nlimit: " + result.limit + "\n"));
  EXPECT_EQ(neap::test::xml_error(result.svg(analysis::Quantity::Throughput)), "");
}

TEST(Analyzer, csv_json_and_svg_hold_the_rows) {
  const auto result =
      PerformanceAnalyzer(SmallModel(false), {64}, {16, 32}, {.training = once()}).analyze();
  const std::string csv = result.csv();
  EXPECT_TRUE(
      csv.starts_with("batch_size,forward_ms,forward_ms_lower,forward_ms_upper,backward_ms,"))
      << csv;
  EXPECT_EQ(std::ranges::count(csv, '\n'), 3);
  const auto json = nlohmann::json::parse(result.to_json());
  EXPECT_EQ(json["input_shape"], std::vector<std::int64_t>{64});
  EXPECT_TRUE(json["budget_bytes"].is_null());
  EXPECT_EQ(json["best_batch"], *result.best_batch);
  EXPECT_EQ(json["limit"], result.limit);
  EXPECT_EQ(json["rows"][1]["batch_size"], 32);
  const PerformanceRow& row = result.rows[1];
  EXPECT_EQ(row.total_time.median, row.forward_time.median + row.backward_time.median)
      << "of one step: the optimizer is not in it";
  EXPECT_EQ(json["rows"][1]["total_ms"]["median"], row.total_time.median);
  EXPECT_NE(result.text().find("  total ms  "), std::string::npos) << result.text();
  EXPECT_EQ(json["rows"][1]["backward_ms"]["median"], result.rows[1].backward_time.median);
  for (const auto quantity : {analysis::Quantity::Peak, analysis::Quantity::Throughput}) {
    EXPECT_EQ(neap::test::xml_error(result.svg(quantity)), "");
  }
  EXPECT_NE(result.text().find("  best\n"), std::string::npos) << result.text();
}

TEST(Analyzer, refuses_what_cannot_be_run) {
  const auto refused = [](std::vector<std::int64_t> shape, std::vector<std::int64_t> batches,
                          const AnalyzerOptions& options = {}) {
    return message_of<InvalidArgument>(
        [&] { const PerformanceAnalyzer analyzer(SmallModel(false), shape, batches, options); });
  };
  EXPECT_EQ(refused({-1}, {8}),
            "PerformanceAnalyzer: extent 0 of the input is -1; give the sizes of one item, without "
            "the batch, each 1 or more");
  EXPECT_EQ(refused({64}, {}), "PerformanceAnalyzer: no batch size; name one at least");
  EXPECT_EQ(refused({64}, {8}, {.training = {.repetitions = -3}}),
            "PerformanceAnalyzer: repetitions is -3; expected 1 or more measured steps");
}

}  // namespace
