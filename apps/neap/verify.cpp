// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap verify: runs the same steps twice, plain and inside a budget, and compares all bits after
// each step. The plain steps run in a second process. In this process, their bytes would count in
// the budget. The two processes take turns.
#include "bits.h"
#include "budget.h"
#include "commands.h"
#include "sibling.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>
#include <utility>

namespace neap::app {
namespace {

// The first character of a message of the second process.
constexpr char kState = 's', kFailed = 'f', kInterruption = 'i';

// A model in training, plain or inside a budget.
class Steps {
 public:
  // `begins_again`: when one of the first steps is refused, plans are made from plain steps and the
  // training begins again.
  Steps(const Task& task, std::int64_t batch_size, std::int64_t accumulate,
        train::TrainerOptions how, bool begins_again)
      : task_(task),
        batch_size_(batch_size),
        accumulate_(accumulate),
        how_(std::move(how)),
        begins_again_(begins_again) {
    begin();
  }

  train::State next() {
    try {
      return advance();
    } catch (const BudgetExceeded&) {
      if (step_ >= kFirstSteps || !std::exchange(begins_again_, false)) throw;
      training_.reset();
      if (!plan_first_steps(task_, task_.batch_of_step(batch_size_, 0), accumulate_)) throw;
    }
    say("step " + std::to_string(step_ + 1) +
        " does not fit online: plain steps were run for a plan of it, and the steps begin again");
    const std::int64_t done = step_;
    begin();
    while (step_ < done) (void)advance();
    return advance();
  }

  std::int64_t replays = 0;
  std::int64_t planned = 0;  // steps
  std::string unplanned;     // the first step that did not follow a plan, and why
  Bytes peak;

 private:
  struct Training {
    Job job;
    train::Trainer trainer;
  };

  void begin() {
    step_ = replays = planned = 0;
    unplanned.clear();
    Job job = task_.make_job();
    train::Trainer trainer(job.loss, *job.optimizer, how_);
    training_.emplace(std::move(job), std::move(trainer));
  }

  train::State advance() {
    auto& [job, trainer] = *training_;
    const train::MicroBatch batch = task_.batch_of_step(batch_size_, step_);
    const train::StepResult result = trainer.step(batch.x, batch.y, accumulate_);
    ++step_;
    train::State state = train::State::of(job.model.module(), *job.optimizer, result.loss);
    replays += result.stats.replays;
    planned += result.stats.plan_hits;
    // The first step makes the optimizer's state, which the plans of later steps do not have.
    const bool by_plan =
        result.stats.plan_hits > 0 || (result.step == 1 && result.stats.planned_operators > 0);
    if (!by_plan && unplanned.empty()) {
      unplanned = "step " + std::to_string(result.step) + " was online";
      if (!result.stats.plan_note.empty()) unplanned += ": " + result.stats.plan_note;
    }
    finish_planning();  // so that later steps follow a plan
    peak = std::max(peak, result.peak);
    // The other process needs the memory next.
    memory::trim();
    return state;
  }

  const Task& task_;
  std::int64_t batch_size_;
  std::int64_t accumulate_;
  train::TrainerOptions how_;
  bool begins_again_;
  std::optional<Training> training_;
  std::int64_t step_ = 0;  // number of steps done
};

struct Run {
  explicit Run(const TrainingOptions& options)
      : task(Task::of_context(options, find_model(options))),
        batch_size(task.batch_size(options.batch_size, kVerifyingBatch)),
        accumulate(options.accumulate) {
    check_parts(accumulate, batch_size);
  }
  [[nodiscard]] Steps steps(const train::TrainerOptions& how, bool begins_again = false) const {
    return {task, batch_size, accumulate, how, begins_again};
  }
  Task task;
  std::int64_t batch_size;
  std::int64_t accumulate;
};

// Asks the second process for the plain steps.
class PlainSteps {
 public:
  explicit PlainSteps(Sibling& sibling) : sibling_(sibling) {}

  train::State next() { return ask("next"); }
  // The state after `steps` steps of a new model.
  train::State again(std::int64_t steps) { return ask(std::to_string(steps)); }
  [[nodiscard]] Bytes peak() const { return peak_; }

 private:
  train::State ask(const std::string& what) {
    std::optional<std::string> answer;
    if (sibling_.send(what)) answer = sibling_.receive();
    if (!answer) {
      throw Error("the process with the plain steps " + sibling_.ending() +
                  "; where that is for want of memory, take a smaller --batch-size");
    }
    const std::string_view text = std::string_view(*answer).substr(1);
    if (answer->front() == kInterruption) throw Interrupted();
    if (answer->front() == kFailed) throw Error("plain steps: " + std::string(text));
    std::int64_t peak = 0;
    const std::size_t end = text.find('\n');
    std::from_chars(text.data(), text.data() + end, peak);
    peak_ = std::max(peak_, Bytes(peak));
    return train::State::unpacked(text.substr(end + 1));
  }

  Sibling& sibling_;
  Bytes peak_;
};

}  // namespace

void serve_plain_steps(const TrainingOptions& options, Sibling& sibling) {
  std::optional<Run> run;
  std::optional<Steps> steps;
  const auto answer = [&](const std::string& question) {
    if (!run) run.emplace(options);
    if (question == "next") {
      if (!steps) steps.emplace(run->steps({.plain = true}));
      const train::State state = steps->next();
      return kState + std::to_string(steps->peak.count()) + '\n' + state.packed();
    }
    std::int64_t count = 0;
    std::from_chars(question.data(), question.data() + question.size(), count);
    Steps others = run->steps({.plain = true});
    while (--count > 0) (void)others.next();
    const train::State state = others.next();
    return kState + std::to_string(others.peak.count()) + '\n' + state.packed();
  };
  while (const std::optional<std::string> question = sibling.receive()) {
    std::string message;
    try {
      message = answer(*question);
    } catch (const Interrupted&) {
      message = kInterruption;
    } catch (const c10::Error& error) {
      message = kFailed + std::string(error.what_without_backtrace());
    } catch (const std::exception& error) {
      message = kFailed + std::string(error.what());
    } catch (...) {
      message = kFailed + std::string("an exception of no known type; throw one of std::exception");
    }
    if (!sibling.send(message)) return;
  }
}

int verify(const TrainingOptions& options, Output& output, Sibling& sibling) {
  const train::Budget wanted = parse_budget(options.budget);
  const PlanMode policy = parse_policy(options);
  const std::optional<Offload> offload = parse_offload(options);
  const Run run(options);
  train::PlainStep plain{};
  if (wanted.is_share()) {
    const PlainNeed need =
        plain_need(run.task, run.task.batch_of_step(run.batch_size, 0), run.accumulate);
    if (!need.note.empty()) {
      throw Error(need.note + ", " + need.step.peak.text() +
                  "; so no plain steps can be compared with: take a smaller --batch-size");
    }
    plain = need.step;
  }
  const std::optional<Bytes> budget = wanted.bytes(plain);
  if (const std::string warning = why_too_large(budget); !warning.empty()) say(warning);

  PlainSteps expected(sibling);
  // For a share, the plain steps have been run already.
  const bool begins_again = options.policy == "planned" && !wanted.is_share();
  Steps found = run.steps({.budget = budget, .policy = policy, .offload = offload}, begins_again);
  std::int64_t bytes = 0;
  std::int64_t tensors = 0;
  for (std::int64_t step = 0; step < options.steps; ++step) {
    if (stop_requested) throw Interrupted();
    const train::State before = expected.next();
    const train::State after = found.next();
    const std::string difference =
        bits_differ(step, before, after, [&] { return expected.again(step + 1); });
    if (!difference.empty()) {
      output.line(difference);
      return 1;
    }
    bytes += after.bytes();
    tensors += after.parts();
  }
  output.line("equal bits: " + std::to_string(tensors) + " tensors, " + std::to_string(bytes) +
              " bytes");
  say(std::to_string(options.steps) + " steps: plain peak " + expected.peak().text() + ", budget " +
      (budget ? budget->text() : "none") + ", peak " + found.peak.text() + ", " +
      std::to_string(found.replays) + " operators replayed, " + std::to_string(found.planned) +
      " steps by a plan");
  if (policy.plan().empty() || found.unplanned.empty()) return 0;
  // A plan that does not name its operators is followed only after they have been seen.
  if (graph::read_plan(policy.plan()).operators.empty() && found.planned > 0) return 0;
  say("not by the plan of --policy: " + found.unplanned);
  return 1;
}

}  // namespace neap::app
