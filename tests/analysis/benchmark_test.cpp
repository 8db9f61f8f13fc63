// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A benchmark of one cold step without an optimizer, whose gradients pile up, says little. Times
// cannot be asserted. So the tests assert that each variant ran the right steps, on the same
// numbers, with the peaks that the allocator saw.
#include "analysis/measured.h"
#include "support/xml.h"

#include <neap/models.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <set>

namespace {

using namespace neap;
using analysis::BenchmarkOptions;
using analysis::BenchmarkResult;
using analysis::BenchmarkRow;
using neap::test::message_of;
using neap::test::small_model;
using neap::test::SmallModel;

constexpr auto kOnce = [] { return analysis::TrainingOptions{.repetitions = 1}; };

const BenchmarkRow& row_of(const BenchmarkResult& result, const std::string& variant,
                           std::int64_t batch) {
  return *std::ranges::find_if(result.rows, [&](const BenchmarkRow& row) {
    return row.variant == variant && row.batch_size == batch;
  });
}

BenchmarkResult small_benchmark(std::vector<std::string> budgets = {}) {
  return GradientCheckpointBenchmark(small_model, {{64}}, {128, 256},
                                     {.training = kOnce(), .budgets = std::move(budgets)})
      .run_benchmark();
}

TEST(Benchmark, puts_plain_checkpointed_and_budgets_side_by_side_with_equal_bits) {
  const BenchmarkResult result = small_benchmark({"60%", "2MiB"});
  ASSERT_EQ(result.rows.size(), 8);
  for (std::size_t i = 0; i < 8; ++i) {
    const BenchmarkRow& row = result.rows[i];
    SCOPED_TRACE(row.variant + " " + std::to_string(row.batch_size));
    EXPECT_EQ(row.batch_size, i < 4 ? 128 : 256);
    EXPECT_EQ(row.variant,
              (std::vector<std::string>{"plain", "checkpointed", "60%", "2MiB"}[i % 4]));
    EXPECT_EQ(row.input_shape, std::vector<std::int64_t>{64});
    ASSERT_TRUE(row.step.fits()) << row.step.refusal;
    EXPECT_TRUE(row.equal_bits) << row.difference;
    EXPECT_GT(row.step.milliseconds.median, 0);
    EXPECT_EQ(row.step.items_per_second,
              static_cast<double>(row.batch_size) * 1000 / row.step.milliseconds.median);
  }
  for (const std::int64_t batch : {128, 256}) {
    const BenchmarkRow& plain = row_of(result, "plain", batch);
    const BenchmarkRow& checkpointed = row_of(result, "checkpointed", batch);
    const BenchmarkRow& share = row_of(result, "60%", batch);
    EXPECT_EQ(plain.ratio.median, 1);
    EXPECT_EQ(plain.step.replays, 0);
    EXPECT_FALSE(plain.budget.has_value());
    EXPECT_LT(checkpointed.step.peak_live, plain.step.peak_live);
    EXPECT_GT(checkpointed.step.replays, 0);
    ASSERT_TRUE(share.budget.has_value());
    EXPECT_LE(share.step.peak_reserved, *share.budget);
    EXPECT_LT(*share.budget, plain.step.peak_reserved);
    EXPECT_GT(share.step.replays, 0);
    EXPECT_GT(share.step.recompute_share, 0);
    EXPECT_EQ(row_of(result, "2MiB", batch).budget, Bytes(2 << 20));
  }
}

// The models of a turn are freed before the next turn, so none of their bytes count in its peak.
TEST(Benchmark, peaks_are_those_of_a_step_alone) {
  const BenchmarkResult result = small_benchmark({"60%"});
  memory::trim();
  const std::int64_t before = memory::usage().live;
  torch::manual_seed(1);
  const at::Tensor x = torch::randn({256, 64}), y = torch::zeros({256});
  SmallModel model(false);
  torch::optim::SGD optimizer(model->parameters(), torch::optim::SGDOptions(0.01).momentum(0.9));
  for (int step = 0; step < 2; ++step) {
    optimizer.zero_grad();
    memory::reset_peak();
    const std::int64_t base = memory::usage().live;
    const at::Tensor loss = model->forward(x).square().mean();
    loss.backward();
    optimizer.step();
    if (step == 0) continue;
    const BenchmarkRow& plain = row_of(result, "plain", 256);
    EXPECT_EQ((plain.step.peak_live - plain.step.base).count(), memory::usage().peak - base);
    // The benchmark holds the generator's state meanwhile, hence the tolerance.
    EXPECT_NEAR(static_cast<double>(plain.step.base.count()), static_cast<double>(base - before),
                16384);
  }
}

// Each turn has the parameters, gradients and optimizer state of the warm-up and the measured
// steps. There are as many optimizer steps as there should be, and gradients of one step only.
TEST(Benchmark, each_turn_trains_a_fresh_model_for_warm_up_and_one_step) {
  int models = 0, steps = 0;
  std::set<double> first_losses;
  BenchmarkOptions options{.training = {.warm_up = 3, .repetitions = 2}};
  options.training.loss = [&](const at::Tensor& output, const at::Tensor&) {
    at::Tensor loss = output.square().mean();
    if (steps % 4 == 0) first_losses.insert(loss.item<double>());
    ++steps;
    return loss;
  };
  const auto factory = [&](bool use_checkpoint) {
    ++models;
    return small_model(use_checkpoint);
  };
  const auto result = GradientCheckpointBenchmark(factory, {{64}}, {8}, options).run_benchmark();
  EXPECT_EQ(models, 3 * 2) << "turns, one not counted, of two variants";
  EXPECT_EQ(steps, models * 4);
  EXPECT_EQ(first_losses.size(), 1) << "all begin with the same numbers";
}

TEST(Benchmark, says_where_bits_differ) {
  const auto factory = [](bool use_checkpoint) {
    SmallModel model(use_checkpoint);
    if (use_checkpoint) {
      const at::NoGradGuard no_grad;
      model->layers->parameters()[0].select(0, 1)[2].add_(1e-3);
    }
    return train::Model(model);
  };
  const auto result =
      GradientCheckpointBenchmark(factory, {{64}}, {8}, {.training = kOnce()}).run_benchmark();
  EXPECT_TRUE(result.rows[0].equal_bits);
  EXPECT_FALSE(result.rows[1].equal_bits);
  EXPECT_TRUE(result.rows[1].difference.starts_with("loss[0]: 0x")) << result.rows[1].difference;
  EXPECT_NE(result.rows[1].difference.find(" plain, 0x"), std::string::npos);
  EXPECT_NE(result.text().find("differ: loss[0]"), std::string::npos);
}

TEST(Benchmark, a_variant_that_does_not_fit_has_a_row_that_says_so) {
  const BenchmarkResult result = small_benchmark({"200KiB"});
  const BenchmarkRow& refused = row_of(result, "200KiB", 256);
  EXPECT_FALSE(refused.step.fits());
  EXPECT_FALSE(refused.equal_bits);
  EXPECT_TRUE(refused.step.refusal.starts_with("budget of 200.0 KiB")) << refused.step.refusal;
  EXPECT_TRUE(row_of(result, "plain", 256).step.fits());
  EXPECT_NE(result.text().find("does not fit: budget of 200.0 KiB"), std::string::npos);
  const auto json = nlohmann::json::parse(result.to_json());
  EXPECT_EQ(json["rows"][5]["refusal"], refused.step.refusal);
  EXPECT_TRUE(json["rows"][0]["refusal"].is_null());
  // The plot does not show it.
  EXPECT_EQ(result.svg(analysis::Quantity::Peak).find("200KiB"), std::string::npos);
}

TEST(Benchmark, without_a_plain_step_a_share_is_not_known) {
  const auto factory = [](bool use_checkpoint) -> train::Model {
    if (!use_checkpoint) throw OutOfMemory("the system gives no more memory");
    return small_model(true);
  };
  const auto result =
      GradientCheckpointBenchmark(factory, {{64}}, {8}, {.training = kOnce(), .budgets = {"50%"}})
          .run_benchmark();
  EXPECT_EQ(result.rows[0].step.refusal, "the system gives no more memory");
  EXPECT_TRUE(result.rows[1].step.fits());
  EXPECT_EQ(result.rows[1].difference, "no plain step to compare with");
  EXPECT_FALSE(result.rows[1].equal_bits);
  EXPECT_EQ(result.rows[2].step.refusal,
            "the plain step did not fit, so a share of it is not known");
}

TEST(Benchmark, trains_the_model_of_the_slides_and_leaves_the_generator_as_it_was) {
  torch::manual_seed(5);
  const at::Tensor expected = torch::randn({3});
  torch::manual_seed(5);
  const auto factory = [](bool use_checkpoint) {
    return CheckpointedModel(
        CheckpointedModelOptions{.width = 32, .use_checkpoint = use_checkpoint});
  };
  const auto result =
      GradientCheckpointBenchmark(factory, {{32}}, {16, 32}, {.training = kOnce()}).run_benchmark();
  EXPECT_EQ(result.rows.size(), 4);
  for (const BenchmarkRow& row : result.rows) EXPECT_TRUE(row.equal_bits) << row.difference;
  EXPECT_TRUE(torch::equal(torch::randn({3}), expected));
}

TEST(Benchmark, csv_json_and_svg_hold_the_rows) {
  const BenchmarkResult result = small_benchmark({"60%"});
  const std::string csv = result.csv();
  EXPECT_TRUE(csv.starts_with(
      "input_shape,batch_size,variant,budget_bytes,equal_bits,difference,against_plain,"
      "against_plain_lower,against_plain_upper,step_ms,step_ms_lower,step_ms_upper,"
      "items_per_second,recompute_share,replays,"
      "base_bytes,peak_live_bytes,peak_reserved_bytes,refusal\r\n64,128,plain,,"
      "true,,1.000000,1.000000,1.000000,"))
      << csv;
  EXPECT_EQ(std::ranges::count(csv, '\n'), 7);
  const auto json = nlohmann::json::parse(result.to_json());
  ASSERT_EQ(json["rows"].size(), 6);
  for (std::size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(json["rows"][i]["variant"], result.rows[i].variant);
    EXPECT_EQ(json["rows"][i]["peak_live_bytes"], result.rows[i].step.peak_live.count());
    EXPECT_EQ(json["rows"][i]["step_ms"]["median"], result.rows[i].step.milliseconds.median);
    EXPECT_EQ(json["rows"][i]["equal_bits"], true);
  }
  for (const auto quantity : {analysis::Quantity::Peak, analysis::Quantity::Throughput}) {
    const std::string svg = result.svg(quantity);
    EXPECT_EQ(neap::test::xml_error(svg), "");
    for (const char* name : {">plain<", ">checkpointed<", ">60%<"}) {
      EXPECT_NE(svg.find(name), std::string::npos) << name;
    }
  }
  EXPECT_TRUE(result.text().starts_with("input  batch  variant")) << result.text();
}

TEST(Benchmark, several_shapes_are_several_lines) {
  const auto factory = [](bool use_checkpoint) {
    SmallModel model(use_checkpoint);
    return train::Model(
        *model, [model](const at::Tensor& x) mutable { return model->forward(x.flatten(1)); });
  };
  const auto result =
      GradientCheckpointBenchmark(factory, {{64}, {4, 16}}, {8}, {.training = kOnce()})
          .run_benchmark();
  ASSERT_EQ(result.rows.size(), 4);
  EXPECT_NE(result.svg(analysis::Quantity::Peak).find(">plain, 4x16<"), std::string::npos);
}

// The slides write input_shapes=(512,).
TEST(Benchmark, takes_one_shape_without_a_list_around_it) {
  using Shapes = std::vector<std::vector<std::int64_t>>;
  const auto shapes = [](const analysis::InputShapes& given) { return given.all(); };
  const std::int64_t width = 512;
  const std::vector<std::int64_t> one{3, 8, 8};
  const Shapes several{{3, 8, 8}, {1, 4, 4}};
  EXPECT_EQ(shapes({512}), (Shapes{{512}}));
  EXPECT_EQ(shapes({width}), (Shapes{{512}}));
  EXPECT_EQ(shapes({3, 224, 224}), (Shapes{{3, 224, 224}}));
  EXPECT_EQ(shapes(one), (Shapes{one}));
  EXPECT_EQ(shapes({{512}}), (Shapes{{512}}));
  EXPECT_EQ(shapes({{512}, {256}}), (Shapes{{512}, {256}}));
  EXPECT_EQ(shapes({{3, 8, 8}, {1, 4, 4}}), several);
  EXPECT_EQ(shapes(several), several);
  EXPECT_EQ(shapes({}), Shapes{});
}

TEST(Benchmark, of_one_variant_has_its_rows_alone_still_compared_with_the_plain_ones) {
  std::vector<bool> made;
  const auto factory = [&](bool use_checkpoint) {
    made.push_back(use_checkpoint);
    return small_model(use_checkpoint);
  };
  const GradientCheckpointBenchmark benchmark(factory, {64}, {8, 16},
                                              {.training = kOnce(), .budgets = {"1GiB"}});
  for (const bool use_checkpoint : {false, true}) {
    made.clear();
    const BenchmarkResult result = benchmark.run_benchmark(use_checkpoint);
    ASSERT_EQ(result.rows.size(), 2U);
    for (const BenchmarkRow& row : result.rows) {
      EXPECT_EQ(row.variant, use_checkpoint ? "checkpointed" : "plain");
      EXPECT_TRUE(row.equal_bits) << row.difference;
      EXPECT_GT(row.ratio.median, 0);
      EXPECT_EQ(row.step.replays > 0, use_checkpoint);
    }
    // Each batch has two turns.
    EXPECT_EQ(std::ranges::count(made, false), 4);
    EXPECT_EQ(std::ranges::count(made, true), use_checkpoint ? 4 : 0);
  }
}

TEST(Benchmark, quartiles_lie_between_their_neighbours) {
  const auto of = [](std::vector<double> values) {
    const analysis::Quartiles quartiles = analysis::quartiles_of(std::move(values));
    return std::vector<double>{quartiles.lower, quartiles.median, quartiles.upper};
  };
  EXPECT_EQ(of({}), (std::vector<double>{0, 0, 0}));
  EXPECT_EQ(of({7}), (std::vector<double>{7, 7, 7}));
  EXPECT_EQ(of({5, 1, 3, 2, 4}), (std::vector<double>{2, 3, 4}));
  EXPECT_EQ(of({4, 1, 2, 3}), (std::vector<double>{1.75, 2.5, 3.25}));
}

TEST(Benchmark, refuses_what_cannot_be_run) {
  const auto refused = [](analysis::ModelFactory factory, const analysis::InputShapes& shapes,
                          std::vector<std::int64_t> batches, const BenchmarkOptions& options = {}) {
    return message_of<InvalidArgument>(
        [&] { const GradientCheckpointBenchmark benchmark(factory, shapes, batches, options); });
  };
  const std::string name = "GradientCheckpointBenchmark: ";
  EXPECT_EQ(refused({}, {{64}}, {8}),
            name + "the model factory is an empty function; give one that makes a model");
  EXPECT_EQ(refused(small_model, {}, {8}),
            name + "no input shape; name one at least, as {{3, 224, 224}}");
  EXPECT_EQ(refused(small_model, {{64, 0}}, {8}),
            name +
                "extent 1 of the input is 0; give the sizes of one item, without the batch, each 1 "
                "or more");
  EXPECT_EQ(refused(small_model, {{64}}, {}), name + "no batch size; name one at least");
  EXPECT_EQ(refused(small_model, {{64}}, {8, 0}), name + "a batch size of 0; expected 1 or more");
  EXPECT_EQ(refused(small_model, {{64}}, {8}, {.training = {.repetitions = 0}}),
            name + "repetitions is 0; expected 1 or more measured steps");
  EXPECT_EQ(refused(small_model, {{64}}, {8}, {.training = {.warm_up = -1}}),
            name + "warm_up is -1; expected 0 or more steps before each measured one");
  EXPECT_EQ(refused(small_model, {{64}}, {8}, {.training = {.optimizer = {}}}),
            name + "optimizer is an empty function; leave it out for the default, or give one");
  EXPECT_EQ(refused(small_model, {{64}}, {8}, {.training = {.batch = {}}}),
            name + "batch is an empty function; leave it out for the default, or give one");
  EXPECT_EQ(refused(small_model, {{64}}, {8}, {.training = {.loss = {}}}),
            name + "loss is an empty function; leave it out for the default, or give one");
  EXPECT_TRUE(refused(small_model, {{64}}, {8}, {.budgets = {"many"}}).starts_with("'many'"));
  analysis::TrainingOptions vector_loss = kOnce();
  vector_loss.loss = [](const at::Tensor& output, const at::Tensor&) { return output; };
  EXPECT_EQ(message_of<InvalidArgument>([&] {
              (void)GradientCheckpointBenchmark(small_model, {{64}}, {8}, {.training = vector_loss})
                  .run_benchmark();
            }),
            "the loss has 512 elements; return a scalar, the mean over the rows");
}

}  // namespace
