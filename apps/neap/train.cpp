// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap train: a classifier, or a language model of bytes, inside a budget.
#include "commands.h"
#include "job.h"

#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>
#include <vector>

namespace neap::app {
namespace {

train::Budget parse_budget(const std::string& text) {
  try {
    return train::Budget::parse(text);
  } catch (const InvalidArgument& error) {
    throw UsageError(std::string("--budget: ") + error.what());
  }
}

// This thread loads each batch when its turn comes: what workers hold at a moment would be in the budget, and whether a step
// fits, and what it replays, would depend on their timing.
const data::LoaderOptions kInTurn{.workers = 0};

// What happened so far: the summary is made of it, also after Ctrl-C.
struct History {
  std::optional<train::PlainStep> plain;
  std::optional<Bytes> budget;
  std::int64_t steps = 0;
  std::int64_t replays = 0;
  std::int64_t evictions = 0;
  std::int64_t peak_bytes = 0;
  std::vector<double> milliseconds;
  std::vector<double> losses;
  std::optional<double> accuracy;
  bool interrupted = false;

  void add(const train::StepResult& step) {
    ++steps;
    replays += step.stats.replays;
    evictions += step.stats.evictions;
    peak_bytes = std::max(peak_bytes, step.peak.count());
    milliseconds.push_back(step.milliseconds);
    losses.push_back(step.loss);
  }
  // The last steps' mean: one batch says little.
  [[nodiscard]] double loss() const {
    const std::size_t count = std::min<std::size_t>(losses.size(), 50);
    if (count == 0) return std::nan("");
    double sum = 0;
    for (std::size_t i = losses.size() - count; i < losses.size(); ++i) sum += losses[i];
    return sum / static_cast<double>(count);
  }
  [[nodiscard]] double median_ms() const {
    if (milliseconds.empty()) return 0;
    std::vector<double> sorted = milliseconds;
    std::ranges::nth_element(sorted,
                             sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2));
    return sorted[sorted.size() / 2];
  }
};

std::int64_t max_rss_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss * 1024;
}

// NaN has no JSON; it becomes null.
nlohmann::json number(double value) {
  return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(nullptr);
}

nlohmann::json summary(const History& history) {
  nlohmann::json json{
      {"event", "summary"},
      {"steps", history.steps},
      {"budget_bytes", nullptr},
      {"peak_bytes", history.peak_bytes},
      {"plain_peak_bytes", nullptr},
      {"plain_base_bytes", nullptr},
      {"plain_step_ms_median", nullptr},
      {"max_rss_bytes", max_rss_bytes()},
      {"replays", history.replays},
      {"evictions", history.evictions},
      {"step_ms_median", history.median_ms()},
      {"loss", number(history.loss())},
      {"accuracy", nullptr},
      {"interrupted", history.interrupted},
  };
  if (history.budget) json["budget_bytes"] = history.budget->count();
  if (history.plain) {
    json["plain_peak_bytes"] = history.plain->peak.count();
    json["plain_base_bytes"] = history.plain->base.count();
    json["plain_step_ms_median"] = history.plain->milliseconds;
  }
  if (history.accuracy) json["accuracy"] = *history.accuracy;
  return json;
}

std::string summary_table(const History& history) {
  std::vector<Row> rows;
  if (history.plain) {
    rows.emplace_back("plain peak", history.plain->peak.text());
    rows.emplace_back("of it stays between steps", history.plain->base.text());
  }
  rows.emplace_back("budget", history.budget ? history.budget->text() : "none");
  rows.emplace_back("peak", Bytes(history.peak_bytes).text());
  rows.emplace_back("process, largest", Bytes(max_rss_bytes()).text());
  rows.emplace_back("steps", std::to_string(history.steps));
  if (history.steps > 0) {
    rows.emplace_back("replays a step",
                      format_number("%.1f", static_cast<double>(history.replays) /
                                                static_cast<double>(history.steps)));
    rows.emplace_back("ms a step, median", format_number("%.1f", history.median_ms()));
    if (history.plain) {
      rows.emplace_back("time against plain",
                        format_number("%.2fx", history.median_ms() / history.plain->milliseconds));
    }
    rows.emplace_back("loss", format_number("%.4f", history.loss()));
  }
  if (history.accuracy) {
    rows.emplace_back("test accuracy", format_number("%.2f %%", 100 * *history.accuracy));
  }
  return table(rows);
}

// The share of test labels, or tokens, that the model gives the highest score, computed inside the budget too.
double test_accuracy(Job& job, MemoryEfficientDataLoader& test,
                     const std::optional<Bytes>& budget) {
  job.model.module().eval();
  const torch::NoGradGuard no_grad;
  std::int64_t right = 0;
  std::int64_t all = 0;
  for (const data::Batch& batch : test) {
    const at::Tensor& labels = batch.tensors[1];
    Scope scope({.budget = budget});
    right += job.model.forward(batch.tensors[0]).argmax(-1).eq(labels).sum().item<std::int64_t>();
    all += labels.numel();
  }
  job.model.module().train();
  return static_cast<double>(right) / static_cast<double>(all);
}

class Training {
 public:
  Training(const TrainingOptions& options, Output& output)
      : options_(options), output_(output), wanted_(parse_budget(options.budget)) {
    if (options.accumulate > options.batch_size) {
      throw UsageError("--accumulate " + std::to_string(options.accumulate) +
                       " parts of a batch of " + std::to_string(options.batch_size) +
                       "; take at most one part a sample");
    }
  }

  int run() {
    const data::Splits splits = open_data(options_.data);
    const Problem problem{splits.sample_shape, splits.classes, splits.vocabulary};
    check_fits(options_.model, problem, "--data " + options_.data);
    if (splits.training->size() < options_.batch_size) {
      throw UsageError("--batch-size " + std::to_string(options_.batch_size) + ": " +
                       options_.data + " has " + std::to_string(splits.training->size()) +
                       " training samples; take at most as many");
    }
    if (wanted_.is_share()) measure_plain(splits, problem);
    history_.budget = wanted_.bytes(history_.plain.value_or(train::PlainStep{}));
    announce();

    Job job = make_job(options_, problem);
    try {
      learn(job, splits);
      if (!stop_requested) {
        MemoryEfficientDataLoader test(splits.test, options_.batch_size, kInTurn);
        history_.accuracy = test_accuracy(job, test, history_.budget);
      }
    } catch (const Interrupted&) {
    }
    history_.interrupted = stop_requested;
    if (options_.json) {
      output_.json(summary(history_));
      if (!options_.quiet) std::fprintf(stderr, "%s\n", summary_table(history_).c_str());
    } else {
      output_.line(summary_table(history_));
    }
    return history_.interrupted ? kInterrupted : 0;
  }

 private:
  // Training leaves the last, smaller batch out: BatchNorm's statistics of a few samples are noise.
  [[nodiscard]] data::LoaderOptions in_random_order() const {
    data::LoaderOptions how = kInTurn;
    how.shuffle = true;
    how.seed = static_cast<std::uint64_t>(options_.seed);
    how.drop_last = true;
    return how;
  }

  void measure_plain(const data::Splits& splits, const Problem& problem) {
    Job job = make_job(options_, problem);
    const data::Batch batch =
        MemoryEfficientDataLoader(splits.training, options_.batch_size, in_random_order())
            .next()
            .value();
    history_.plain = train::measure_plain(job.loss, *job.optimizer, batch.tensors[0],
                                          batch.tensors[1], options_.accumulate);
  }

  void announce() {
    if (options_.quiet) return;
    if (history_.plain) {
      std::fprintf(
          stderr, "a plain step needs %s, of which %s stay between steps; the budget of %s is %s\n",
          history_.plain->peak.text().c_str(), history_.plain->base.text().c_str(),
          options_.budget.c_str(), history_.budget->text().c_str());
    } else {
      std::fprintf(stderr, "budget: %s\n",
                   history_.budget ? history_.budget->text().c_str() : "none");
    }
  }

  // Large steps first, small ones at the end: the rate falls along half a cosine, after a short rise.
  [[nodiscard]] double rate(std::int64_t step, std::int64_t total) const {
    const double peak = options_.lr > 0 ? options_.lr : default_lr(options_.optimizer);
    const auto rise = static_cast<double>(std::max<std::int64_t>(1, total / 20));
    const auto now = static_cast<double>(step);
    return peak * (now < rise ? (now + 1) / rise
                              : 0.5 + 0.5 * std::cos(M_PI * (now - rise) /
                                                     (static_cast<double>(total) - rise)));
  }

  void learn(Job& job, const data::Splits& splits) {
    MemoryEfficientDataLoader loader(splits.training, options_.batch_size, in_random_order());
    const std::int64_t total =
        options_.steps > 0 ? options_.steps : options_.epochs * loader.batches();
    train::Trainer trainer(
        job.loss, *job.optimizer,
        {.budget = history_.budget,
         .schedule = [this, total](std::int64_t step) { return rate(step, total); }});
    Progress progress(total, options_.quiet || options_.json);
    for (std::int64_t step = 0; step < total && !stop_requested; ++step) {
      std::optional<data::Batch> batch = loader.next();
      if (!batch) batch = loader.next();  // the first of the next epoch
      const at::Tensor &x = batch->tensors[0], &y = batch->tensors[1];
      const train::StepResult result = trainer.step(x, y, options_.accumulate);
      history_.add(result);
      progress.step({.done = step + 1,
                     .loss = result.loss,
                     .samples = y.size(0),
                     .peak_bytes = result.peak.count(),
                     .budget_bytes = history_.budget.value_or(Bytes(0)).count()});
      if (options_.json) {
        output_.json({{"event", "step"},
                      {"step", step + 1},
                      {"loss", number(result.loss)},
                      {"peak_bytes", result.peak.count()},
                      {"replays", result.stats.replays},
                      {"ms", result.milliseconds}});
      }
    }
  }

  const TrainingOptions& options_;
  Output& output_;
  train::Budget wanted_;
  History history_;
};

}  // namespace

int train(const TrainingOptions& options, Output& output) {
  return Training(options, output).run();
}

}  // namespace neap::app
