// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap train: a model inside a budget, on data or on batches that it brings along.
#include "commands.h"
#include "job.h"

#include <neap/data.h>

#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace neap::app {
namespace {

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
  std::int64_t planned_steps = 0;
  std::int64_t planning_ns = 0;
  std::string plan_note = {};  // of the last step
  std::int64_t peak_bytes = 0;
  std::vector<double> milliseconds;
  std::vector<double> losses;
  std::optional<double> accuracy;
  bool interrupted = false;

  void add(const train::StepResult& step) {
    ++steps;
    replays += step.stats.replays;
    evictions += step.stats.evictions;
    planned_steps += step.stats.plan_hits;
    if (step.stats.plan_hits > 0) planning_ns = step.stats.planning_ns;
    plan_note = step.stats.plan_note;
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
      {"planned_steps", history.planned_steps},
      {"planning_ms", static_cast<double>(history.planning_ns) / 1e6},
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
    if (history.planned_steps > 0) {
      rows.emplace_back(
          "steps by a plan",
          std::to_string(history.planned_steps) +
              format_number(", made in %.2f s", static_cast<double>(history.planning_ns) / 1e9));
    } else if (!history.plan_note.empty()) {
      rows.emplace_back("steps by a plan", "0: " + history.plan_note);
    }
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

// The share of test labels, or tokens, that the model gives the highest score, computed inside the budget too. Absent when its
// output is no scores of them.
std::optional<double> test_accuracy(Job& job, std::int64_t class_dim,
                                    MemoryEfficientDataLoader& test,
                                    const std::optional<Bytes>& budget, Progress& progress) {
  job.model.module().eval();
  const torch::NoGradGuard no_grad;
  std::int64_t right = 0;
  std::int64_t all = 0;
  for (const data::Batch& batch : test) {
    const at::Tensor& labels = batch.tensors[1];
    Scope scope({.budget = budget, .policy = Online{}});  // nothing is kept for a backward
    const at::Tensor scores = job.model.forward(batch.tensors[0]);
    if (scores.dim() != labels.dim() + 1 || class_dim >= scores.dim()) return std::nullopt;
    const at::Tensor predicted = scores.argmax(class_dim);
    if (predicted.sizes() != labels.sizes()) return std::nullopt;
    right += predicted.eq(labels).sum().item<std::int64_t>();
    all += labels.numel();
    progress.advance(labels.size(0));
  }
  job.model.module().train();
  return static_cast<double>(right) / static_cast<double>(all);
}

// data::open(). Throws: UsageError where that says what is wrong with the text.
data::Splits open_data(const std::string& spec) {
  std::error_code error;
  if (spec != "fashion-mnist" && spec.find(':') == std::string::npos &&
      !std::filesystem::is_directory(spec, error)) {
    throw Error("--data: " + spec +
                " is not a folder; name one with the four IDX files, or fashion-mnist, "
                "cifar10:DIR, cifar100:DIR, text:FILE, synthetic:3x224x224:1000");
  }
  try {
    return data::open(spec);
  } catch (const InvalidArgument& wrong) {
    throw UsageError(std::string("--data: ") + wrong.what());
  }
}

// What a training learns from: a data set, or batches that a library makes without end.
class Source {
 public:
  // Throws: as open_data() and Task; UsageError when it is not said how many steps are wanted.
  Source(const TrainingOptions& options, plugin::Definition definition)
      : task_(make_task(options, std::move(definition))),
        batch_size_(task_.batch_size(options.batch_size, kTrainingBatch)),
        seed_(static_cast<std::uint64_t>(options.seed)) {
    check_parts(options.accumulate, batch_size_);
    if (!splits_ && options.steps == 0) {
      throw UsageError("--model " + options.model +
                       " makes its batches itself, without an end; say how many with --steps, or "
                       "name --data");
    }
  }

  [[nodiscard]] const Task& task() const { return task_; }
  [[nodiscard]] bool has_test() const { return splits_.has_value(); }
  [[nodiscard]] MemoryEfficientDataLoader test() const {
    return MemoryEfficientDataLoader(splits_->test, batch_size_, kInTurn);
  }

  // From the first batch of the first epoch on. Throws: UsageError when there are fewer samples than a batch has.
  void begin() {
    step_ = 0;
    if (!splits_) return;
    if (splits_->training->size() < batch_size_) {
      throw UsageError("--batch-size " + std::to_string(batch_size_) + ": " + name_ + " has " +
                       std::to_string(splits_->training->size()) +
                       " training samples; take at most as many");
    }
    // The last, smaller batch is left out: BatchNorm's statistics of a few samples are noise.
    data::LoaderOptions how = kInTurn;
    how.shuffle = true;
    how.seed = seed_;
    how.drop_last = true;
    loader_.emplace(splits_->training, batch_size_, how);
  }
  // Of an epoch of the data set, after begin().
  [[nodiscard]] std::int64_t batches() const { return loader_->batches(); }
  // Epochs follow each other.
  train::MicroBatch next() {
    if (!splits_) return task_.batch_of_step(batch_size_, step_++);
    std::optional<data::Batch> batch = loader_->next();
    if (!batch) batch = loader_->next();
    return {batch->tensors[0], batch->tensors[1]};
  }

 private:
  Task make_task(const TrainingOptions& options, plugin::Definition definition) {
    if (options.data.empty() && definition.make_batch) {
      return Task::without_data(options, std::move(definition));
    }
    if (options.data.empty() && names_library(options.model)) {
      throw UsageError("--model " + options.model +
                       " makes no batches; name --data, or set make_batch in its definition");
    }
    name_ = options.data.empty() ? "fashion-mnist" : options.data;
    splits_ = open_data(name_);
    return {options, std::move(definition),
            plugin::Samples{splits_->sample_shape, splits_->classes, splits_->vocabulary},
            "--data " + name_};
  }

  std::optional<data::Splits> splits_;
  std::string name_;  // of the data set
  Task task_;         // below these two: make_task() sets them
  std::int64_t batch_size_;
  std::uint64_t seed_;
  std::int64_t step_ = 0;
  std::optional<MemoryEfficientDataLoader> loader_;
};

// Large steps first, small ones at the end: the rate falls along half a cosine, after a short rise.
double rate(double peak, std::int64_t step, std::int64_t total) {
  const auto rise = static_cast<double>(std::max<std::int64_t>(1, total / 20));
  const auto now = static_cast<double>(step);
  return peak * (now < rise ? (now + 1) / rise
                            : 0.5 + 0.5 * std::cos(M_PI * (now - rise) /
                                                   (static_cast<double>(total) - rise)));
}

class Training {
 public:
  Training(const TrainingOptions& options, Output& output)
      : options_(options), output_(output), wanted_(parse_budget(options.budget)) {}

  int run() {
    Source source(options_, find_model(options_.model));
    if (wanted_.is_share()) measure_plain(source);
    history_.budget = wanted_.bytes(history_.plain.value_or(train::PlainStep{}));
    Job job = source.task().make_job();
    announce();
    try {
      learn(job, source);
      if (!stop_requested && !options_.no_test && source.has_test()) evaluate(job, source);
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
  void measure_plain(Source& source) {
    Job job = source.task().make_job();
    source.begin();
    const train::MicroBatch batch = source.next();
    history_.plain =
        train::measure_plain(job.loss, *job.optimizer, batch.x, batch.y, options_.accumulate);
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

  void learn(Job& job, Source& source) {
    source.begin();
    const std::int64_t total =
        options_.steps > 0 ? options_.steps : options_.epochs * source.batches();
    const double peak = source.task().learning_rate();
    train::Trainer trainer(
        job.loss, *job.optimizer,
        {.budget = history_.budget,
         .schedule = [peak, total](std::int64_t step) { return rate(peak, step, total); },
         .policy = parse_policy(options_)});
    Progress progress("step", total, options_.quiet || options_.json);
    for (std::int64_t step = 0; step < total && !stop_requested; ++step) {
      const train::MicroBatch batch = source.next();
      const train::StepResult result = trainer.step(batch.x, batch.y, options_.accumulate);
      if (result.stats.plan_note != history_.plan_note) progress.note(result.stats.plan_note);
      history_.add(result);
      progress.advance(batch.y.size(0), figures_of(result));
      if (options_.json) {
        output_.json({{"event", "step"},
                      {"step", step + 1},
                      {"loss", number(result.loss)},
                      {"peak_bytes", result.peak.count()},
                      {"replays", result.stats.replays},
                      {"planned", result.stats.plan_hits > 0},
                      {"plan_note", result.stats.plan_note},
                      {"ms", result.milliseconds}});
      }
    }
    if (!options_.plan_cache.empty()) finish_planning();  // also a short run leaves its plan
  }

  [[nodiscard]] std::vector<std::string> figures_of(const train::StepResult& step) const {
    std::string peak = "peak " + step.peak.text();
    if (history_.budget) {
      peak += format_number(" (%.1f %% of the budget)",
                            100.0 * static_cast<double>(step.peak.count()) /
                                static_cast<double>(history_.budget->count()));
    }
    return {format_number("loss %.4f", step.loss), peak};
  }

  void evaluate(Job& job, Source& source) {
    MemoryEfficientDataLoader test = source.test();
    Progress progress("test batch", test.batches(), options_.quiet || options_.json);
    history_.accuracy =
        test_accuracy(job, source.task().class_dim(), test, history_.budget, progress);
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
