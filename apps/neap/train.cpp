// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap train: trains a model inside a budget, on a data set or on batches of the model's library.
#include "automatic_batch.h"
#include "budget.h"
#include "commands.h"
#include "evaluate.h"
#include "evaluations.h"
#include "history.h"
#include "page/whole_page.h"
#include "progress.h"
#include "run_folder.h"
#include "run_record.h"
#include "schedule.h"
#include "trace.h"
#include "training_source.h"
#include "values.h"
#include "weights.h"

#include <neap/planner.h>
#include <neap/version.h>

#include <torch/version.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace neap::app {
namespace {

class Training {
 public:
  Training(const TrainingOptions& options, Output& output)
      : options_(options),
        output_(output),
        wants_least_(options.budget == "min"),
        wanted_(parse_budget(wants_least_ ? "none" : options.budget)),
        policy_(parse_policy(options)),
        offload_(parse_offload(options)),
        history_{.evaluations = Evaluations(options)} {}

  // Prints a summary in any case, so that readers learn how the training ended.
  int run() {
    try {
      train();
    } catch (const UsageError&) {
      throw;
    } catch (...) {
      history_.end_by_exception();
    }
    if (stop_requested && history_.ending == Ending::Done) {
      history_.ending = Ending::Interrupted;
      history_.reason = "interrupted";
    }
    const bool broke_off =
        history_.ending != Ending::Done && history_.ending != Ending::StoppedEarly;
    if (broke_off && folder_ && !folder_->how_to_go_on().empty()) {
      history_.reason += "\n  " + folder_->how_to_go_on();
    }
    tell(record_.add_summary(history_.summary()));
    if (options_.json) output_.json(history_.summary());
    // A training that failed before its first step gets no empty table and no empty page.
    const bool has_something = history_.ending != Ending::Failed || history_.steps > 0;
    if (has_something) {
      if (!options_.json) {
        output_.line(history_.table());
      } else if (!options_.quiet) {
        say(history_.table());
      }
    }
    const bool is_drawn = !has_something || write_page();
    if (!broke_off) return is_drawn ? 0 : 1;
    say("neap: " + history_.reason);
    return history_.ending == Ending::Interrupted ? kInterrupted : 1;
  }

 private:
  // Says why it cannot, since the training has ended as it has ended.
  bool write_page() {
    if (record_.lines().empty()) return true;
    try {
      page_->write([&](std::ostream& file) {
        file << page_of_training(record_.lines(), folder_->folder());
      });
      tell("wrote " + options_.report + kHowToOpen);
      return true;
    } catch (const Error& error) {
      say(std::string("neap: ") + error.what());
      return false;
    }
  }

  void train() {
    open_page();
    if (options_.batch_size == kAutomaticBatch) {
      options_.batch_size =
          automatic_batch(options_, wanted_, [this](const std::string& text) { tell(text); });
    }
    TrainingSource source(options_, find_model(options_));
    if (options_.eval_every > 0 && !source.has_test()) {
      throw UsageError("--eval-every looks at a test set, and " + source.task().name_of_step(1) +
                       " has none; name --data");
    }
    for (const std::string& note : source.notes()) tell(note);
    folder_.emplace(options_, source);
    if (new_folder_) new_folder_->finish();
    for (const std::string& note : folder_->notes()) tell(note);
    // The best weights of another folder stay there.
    if (folder_->goes_on_here()) history_.evaluations.go_on_from(folder_->notes_of_snapshot());
    if (wanted_.is_share() || wants_least_) measure_plain(source);
    history_.budget = wants_least_ ? least_budget(source)
                                   : wanted_.bytes(history_.plain.value_or(train::PlainStep{}));
    announce();
    if (!folder_->folder().empty() || !options_.report.empty()) {
      record_ =
          RunRecord(folder_->folder(), what_is_in_effect(source),
                    folder_->goes_on_here() ? folder_->steps_done() : 0, !options_.report.empty());
    }
    std::optional<Job> job(source.task().make_job());
    for (int tries = 0;; ++tries) {
      try {
        learn(*job, source);
        break;
      } catch (const BudgetExceeded&) {
        job.reset();
        if (stop_requested || !begins_again(source, tries)) throw;
        job.emplace(source.task().make_job());
      }
    }
    if (!stop_requested && !options_.no_test && source.has_test() && !history_.evaluations.last()) {
      evaluate(*job, source, folder_->steps_done() + history_.steps);
    }
  }

  // It may lie in the folder of --out, which is made for it.
  void open_page() {
    if (options_.report.empty()) return;
    const std::filesystem::path folder = std::filesystem::absolute(options_.report).parent_path();
    if (!options_.out.empty() && !std::filesystem::exists(folder)) {
      new_folder_.emplace("--out", options_.out);
    }
    page_.emplace("--report", options_.report);
  }

  void measure_plain(TrainingSource& source) {
    source.begin();
    const PlainNeed need = plain_need(source.task(), source.next(), options_.accumulate);
    history_.plain = need.step;
    tell(need.note);
  }

  // The smallest budget of a plan for the steps after the first one.
  Bytes least_budget(TrainingSource& source) {
    tell("looking for the smallest budget");
    source.begin();
    const graph::Trace trace = traced_step(source.task(), source.next(), options_.accumulate, 1);
    const Bytes found(planner::solve_smallest(trace, {.followable = true}).plan.budget);
    const Bytes above = found + planner::allocator_room(found) - planner::budget_of_share(trace, 0);
    return std::min(history_.plain->base + above, history_.plain->peak);
  }

  bool begins_again(TrainingSource& source, int tries) {
    if (!wants_least_) return tries == 0 && plan_first(source);
    constexpr int kMostTries = 10;
    if (history_.steps >= kFirstSteps || tries == kMostTries) return false;
    // A fiftieth more of what a plain step needs: a plan's bytes are not all that a training holds.
    history_.budget =
        *history_.budget + Bytes((history_.plain->peak - history_.plain->base).count() / 50);
    tell("a first step does not fit: the training begins again in " + history_.budget->text());
    return true;
  }

  // Makes plans of the first steps, so that the training can begin again. Equal steps have equal
  // bits, so the training then repeats what it has done, and reports it once.
  bool plan_first(TrainingSource& source) {
    if (history_.steps >= kFirstSteps || history_.plain || options_.policy != "planned")
      return false;
    tell("step " + std::to_string(history_.steps + 1) +
         " does not fit online: plain steps are run for a plan of it, outside of the budget, and "
         "the training begins again");
    source.begin();
    return plan_first_steps(source.task(), source.next(), options_.accumulate);
  }

  void announce() {
    if (history_.plain) {
      tell("a plain step needs " + history_.plain->peak.text() + ", of which " +
           history_.plain->base.text() + " stay between steps; " +
           (wants_least_ ? "the smallest budget" : "the budget of " + options_.budget) + " is " +
           history_.budget->text());
      if (history_.plain->milliseconds > 0 && options_.policy == "planned") {
        tell("planning the first steps");
      }
    } else if (options_.budget == "auto") {
      tell("budget: " + history_.budget->text() + "; " + memory_left_text() + " are left");
    } else {
      tell("budget: " + (history_.budget ? history_.budget->text() : "none"));
    }
    tell(why_too_large(history_.budget));
  }

  void tell(const std::string& text) const {
    if (!options_.quiet && !text.empty()) say(text);
  }

  void learn(Job& job, TrainingSource& source) {
    const std::int64_t done = folder_->steps_done();
    if (!options_.init.empty() && done == 0) load_weights(job.model, options_.init);
    folder_->load(job);
    source.begin(done);
    const std::int64_t total =
        options_.steps > 0 ? options_.steps : options_.epochs * source.batches();
    tell(folder_->set_steps(total));
    const double peak = source.task().learning_rate();
    const Schedule schedule(options_.schedule, options_.warmup);
    train::Trainer trainer(
        job.loss, *job.optimizer,
        {.budget = history_.budget,
         .clip = options_.clip_norm > 0 ? train::Clip(train::ClipNorm{options_.clip_norm})
                                        : train::Clip(),
         .schedule = [schedule, peak,
                      total](std::int64_t step) { return schedule.rate(peak, step, total); },
         .policy = policy_,
         .offload = offload_,
         .verify = options_.verify,
         .steps_done = done});
    Progress progress("step", std::max<std::int64_t>(0, total - done),
                      options_.quiet || options_.json);
    // A half of a step cannot be saved.
    const FinishSteps finish(!options_.out.empty() || options_.resume);
    std::int64_t step = done;
    for (; step < total && !stop_requested && !history_.evaluations.is_over(); ++step) {
      const train::MicroBatch batch = source.next();
      const train::StepResult result = trainer.step(batch.x, batch.y, options_.accumulate);
      if (step - done < history_.steps) {  // it has been reported already
        progress.advance(batch.y.size(0), {});
        continue;
      }
      if (result.stats.plan_note != history_.plan_note) progress.note(result.stats.plan_note);
      if (result.stats.rule_note != history_.rule_note) progress.note(result.stats.rule_note);
      history_.add(result);
      progress.advance(batch.y.size(0), figures_of(result));
      const nlohmann::json line = line_of(step + 1, result, schedule.rate(peak, step, total));
      if (const std::string note = record_.add(line); !note.empty()) say(note);
      if (options_.json) output_.json(line);
      if (history_.evaluations.is_due(step + 1, total)) evaluate(job, source, step + 1);
      const std::string not_saved = folder_->after_step(job, step + 1);
      if (!not_saved.empty()) say(not_saved);
    }
    if (history_.evaluations.is_over() && step < total) {
      history_.ending = Ending::StoppedEarly;
      history_.reason = history_.evaluations.why_over();
      tell(history_.reason);
    }
    // What could not be written may be written now. It must be known to the snapshot.
    if (history_.evaluations.last_step() == step) keep_best(job);
    history_.snapshot = folder_->save(job, step).string();
    // A short run leaves its plan too.
    if (!options_.plan_cache.empty()) finish_planning();
  }

  static nlohmann::json line_of(std::int64_t step, const train::StepResult& result, double rate) {
    return {{"event", "step"},
            {"step", step},
            {"loss", number(result.loss)},
            {"peak_bytes", result.peak.count()},
            {"replays", result.stats.replays},
            {"planned", result.stats.plan_hits > 0},
            {"plan_note", text_or_null(result.stats.plan_note)},
            {"rule_note", text_or_null(result.stats.rule_note)},
            {"learning_rate", rate},
            {"gradient_norm",
             result.gradient_norm ? number(*result.gradient_norm) : nlohmann::json(nullptr)},
            {"took_ms", result.milliseconds}};
  }

  // The first line of the record.
  [[nodiscard]] nlohmann::ordered_json what_is_in_effect(const TrainingSource& source) const {
    nlohmann::ordered_json line{{"event", "run"}};
    const std::time_t now = std::time(nullptr);
    std::tm utc{};
    gmtime_r(&now, &utc);
    std::array<char, 32> began{};
    (void)std::strftime(began.data(), began.size(), "%Y-%m-%dT%H:%M:%SZ", &utc);
    line["began"] = began.data();
    line["label"] = source.task().name_of_step(source.batch_size());
    line["settings"] = folder_->settings();
    line["budget"] = options_.budget;
    line["policy"] = options_.policy;
    if (!options_.offload.empty()) line["offload"] = options_.offload;
    line["threads"] = at::get_num_threads();
    line["epochs"] = options_.epochs;
    line["asked_steps"] = options_.steps;
    line["first_step"] = folder_->steps_done() + 1;
    line["neap"] = NEAP_VERSION;
    line["torch"] = TORCH_VERSION;
    if (const std::string others = folder_->other_bits(); !others.empty()) {
      line["other_bits"] = others;
    }
    return line;
  }

  [[nodiscard]] std::vector<std::string> figures_of(const train::StepResult& step) const {
    std::vector<std::string> figures{format_number("loss %.4f", step.loss),
                                     "peak " + step.peak.text()};
    if (history_.budget) {
      figures.push_back(format_number("%.1f %% of the budget",
                                      100.0 * static_cast<double>(step.peak.count()) /
                                          static_cast<double>(history_.budget->count())));
    }
    return figures;
  }

  // A look that does not fit is no reason to begin again.
  TestResult look_at(MemoryEfficientDataLoader& test, const Job& job, const TrainingSource& source,
                     Progress& progress, std::int64_t step) {
    try {
      return test_result(job.model, source.task(), test, history_.budget, progress);
    } catch (const BudgetExceeded& error) {
      throw Error("the look at the test set after step " + std::to_string(step) +
                  " does not fit: " + error.what());
    }
  }

  void evaluate(Job& job, TrainingSource& source, std::int64_t step) {
    MemoryEfficientDataLoader test = source.test();
    Progress progress("test batch", test.batches(), options_.quiet || options_.json);
    const TestResult result = look_at(test, job, source, progress, step);
    history_.evaluations.add(step, result);
    keep_best(job);
    nlohmann::json line = json_of(result);
    line["step"] = step;
    // A training that was over keeps the record of its end.
    if (history_.steps > 0) {
      if (const std::string note = record_.add(line); !note.empty()) say(note);
    }
    if (options_.json && options_.eval_every > 0) output_.json(line);
  }

  // The weights are those of the last evaluation.
  void keep_best(const Job& job) {
    Evaluations& found = history_.evaluations;
    if (options_.eval_every > 0 && !folder_->folder().empty() && found.is_to_keep()) {
      const std::string why = folder_->save_best(job);
      if (why.empty()) {
        found.keep();
      } else if (why != why_not_kept_) {
        say("the weights after step " + std::to_string(found.last_step()) +
            " were not kept: " + why + "; " + what_is_kept());
      }
      why_not_kept_ = why;
    }
    folder_->set_found_so_far(found.notes());
  }

  [[nodiscard]] std::string what_is_kept() const {
    const std::int64_t kept = history_.evaluations.kept_step();
    return kept == 0 ? "none are kept yet"
                     : "those after step " + std::to_string(kept) + " are still kept";
  }

  TrainingOptions options_;
  Output& output_;
  bool wants_least_;
  train::Budget wanted_;
  PlanMode policy_;
  std::optional<Offload> offload_;
  std::optional<RunFolder> folder_;
  RunRecord record_;
  std::optional<ReportFolder> new_folder_;  // goes again where the training does not begin
  std::optional<ReportFile> page_;          // --report
  std::string why_not_kept_;                // of the best weights, as it was said last
  History history_;
};

}  // namespace

int train(const TrainingOptions& options, Output& output) {
  return Training(options, output).run();
}

}  // namespace neap::app
