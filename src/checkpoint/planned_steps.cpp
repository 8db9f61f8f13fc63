// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "checkpoint/planned_steps.h"

#include "checkpoint/compile.h"
#include "checkpoint/plan_cache.h"
#include "checkpoint/ready_engine.h"
#include "planner/late_frees.h"

#include <algorithm>
#include <chrono>
#include <ranges>
#include <utility>

namespace neap::checkpointing {
namespace {

constexpr std::size_t kMostEntries = 16;
constexpr std::size_t kMostAhead = 4;  // some 400 bytes an operator
constexpr std::size_t kMostSeen = 64;
constexpr int kMostUnused = 4;
constexpr int kMostReplans = 3;
constexpr int kProved = 3;                                // times that a plan was followed
constexpr std::size_t kMostCalls = std::size_t{1} << 19;  // longer steps stay on line

void require_room(const graph::Plan& plan, std::int64_t budget) {
  if (plan.predicted_peak <= budget) return;
  throw InvalidArgument("it takes " + Bytes(plan.predicted_peak).text() + ", the budget is " +
                        Bytes(budget).text());
}

// What is to be said of a plan's file, for people.
std::string about(const std::string& file, const graph::Plan& plan) {
  return file + (plan.label.empty() ? "" : ", made for " + plan.label + ",");
}

// The operators, in their order, do not run again, so what they made stays.
void hold_results(graph::Trace& trace, const std::vector<std::int64_t>& operators) {
  auto next = operators.begin();
  std::int64_t number = 0;
  for (graph::Event& event : trace.events) {
    auto* const op = std::get_if<graph::Operator>(&event);
    if (op == nullptr) continue;
    while (next != operators.end() && *next < number) ++next;
    if (next != operators.end() && *next == number) op->replayable = false;
    ++number;
  }
}

std::int64_t first_margin(std::int64_t budget) {
  return planner::allocator_room(Bytes(budget)).count();
}

}  // namespace

PlannedSteps& PlannedSteps::instance() {
  // Destroyed at exit: no thread of ours outlives the statics that it uses.
  static PlannedSteps steps;
  return steps;
}

PlannedSteps::~PlannedSteps() { stop_.request_stop(); }

graph::Plan PlannedSteps::search(const Job& job, const std::stop_token& stop) {
  const auto solve = [&](const graph::Trace& trace, const auto& known) {
    planner::Options options{.budget = Bytes(job.kind.budget - job.margin),
                             .followable = true,
                             .threads = 1,
                             .stop = stop,
                             .known = known};
    try {
      return planner::solve(trace, options).plan;
    } catch (const planner::Infeasible& error) {
      if (error.smallest_known > Bytes(job.kind.budget)) throw;
      options.budget = error.smallest_known;  // what is left for the allocator may do
      return planner::solve(trace, options).plan;
    }
  };
  if (!job.preferred.empty()) {
    graph::Trace trace = job.trace;
    hold_results(trace, job.preferred);
    auto known = job.known;
    for (std::vector<planner::Repeat>& repeats : known) {
      std::erase_if(repeats, [&](const planner::Repeat& one) {
        return std::ranges::binary_search(job.preferred, one.op);
      });
    }
    try {
      return solve(trace, known);
    } catch (const planner::Infeasible&) {
      // They were only preferred.
    }
  }
  return solve(job.trace, job.known);
}

// REQUIRES: the job has one.
graph::Plan PlannedSteps::fixed_plan(const Job& job) {
  graph::Plan plan = *job.fixed;
  const graph::Outcome outcome = graph::simulate(job.trace, plan);
  plan.predicted_peak = outcome.peak;
  plan.predicted_ns = outcome.ns;
  require_room(plan, job.kind.budget);
  // Where everything fits nothing goes early; else what is free stays with the allocator, whose slabs may need it.
  const std::int64_t limit = planner::repeats_of(plan).empty()
                                 ? std::max(plan.predicted_peak, job.kind.budget - job.margin)
                                 : plan.predicted_peak;
  return planner::free_late(job.trace, std::move(plan), limit);
}

PlannedSteps::Entry PlannedSteps::make(const std::shared_ptr<const Job>& job,
                                       const std::stop_token& stop) {
  const auto start = std::chrono::steady_clock::now();
  Entry entry;
  entry.kind = job->kind;
  entry.job = job;
  entry.base = job->base;
  entry.margin = job->margin;
  try {
    const graph::Plan plan = job->fixed ? fixed_plan(*job) : search(*job, stop);
    entry.repeats = planner::repeats_of(plan);
    entry.step = std::make_shared<const engine::PlannedStep>(
        compile(job->trace, plan, std::min(job->margin, job->kind.budget - plan.predicted_peak),
                job->numbers, job->calls));
    if (!job->cache.empty() && !stop.stop_requested()) {
      try {
        write_cached(job->cache, {job->kind.budget, job->base, job->margin, *entry.step});
      } catch (const Error& error) {
        entry.note = error.what();
      }
    }
  } catch (const std::exception& error) {
    entry.note = (job->kind.plan_file.empty()
                      ? std::string("this step goes on without a plan: ")
                      : job->kind.plan_file + " does not fit this step, which goes on line: ") +
                 error.what();
  }
  entry.planning_ns =
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - start)
          .count();
  return entry;
}

void PlannedSteps::submit(std::shared_ptr<const Job> job) {
  collect();
  if (planning_.valid()) {
    waiting_ = std::move(job);  // the newest is the likeliest to be of use
    return;
  }
  planning_ = std::async(std::launch::async, [job = std::move(job), stop = stop_.get_token()] {
    return make(job, stop);
  });
}

// Takes up the plan that has been made, if one has.
void PlannedSteps::collect() {
  if (!planning_.valid() ||
      planning_.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
    return;
  }
  ++unused_;
  add(planning_.get());
  if (waiting_) submit(std::exchange(waiting_, nullptr));
}

// A plan is never slower than that of a smaller budget.
void PlannedSteps::offer(const Entry& entry) {
  std::vector<std::int64_t> ns;
  for (const graph::Event& event : entry.job->trace.events) {
    if (const auto* const op = std::get_if<graph::Operator>(&event)) ns.push_back(op->ns);
  }
  const auto sum = [&](const std::vector<planner::Repeat>& repeats) {
    std::int64_t total = 0;
    for (const planner::Repeat& one : repeats) total += ns[static_cast<std::size_t>(one.op)];
    return total;
  };
  for (Entry& other : entries_) {
    if (!other.kind.same_step(entry.kind) || other.kind.budget <= entry.kind.budget) continue;
    // By the same measures: those of the other may be older, or of another process.
    if (other.step && (other.repeats.empty() || sum(other.repeats) <= sum(entry.repeats))) continue;
    other.step = entry.step;
    other.repeats = entry.repeats;
    other.base = entry.base;
    other.margin = entry.margin + other.kind.budget - entry.kind.budget;
    other.note.clear();
  }
}

void PlannedSteps::add(Entry entry) {
  if (entry.step && entry.job) offer(entry);
  entry.last_use = ++clock_;
  if (Entry* const known = find(entry.kind)) {
    if (entry.step) {  // else the one before is better than none
      entry.next = known->next;
      entry.replans = known->replans;
      entry.hits = known->hits;
      *known = std::move(entry);
    }
  } else {
    if (entries_.size() == kMostEntries) {
      entries_.erase(std::ranges::min_element(entries_, {}, &Entry::last_use));
    }
    entries_.push_back(std::move(entry));
  }
}

void PlannedSteps::finish() {
  while (planning_.valid()) {
    planning_.wait();
    collect();
  }
}

PlannedSteps::Entry* PlannedSteps::find(const Kind& kind) {
  const auto found = std::ranges::find(entries_, kind, &Entry::kind);
  return found == entries_.end() ? nullptr : &*found;
}

// There is a plan, and no more in memory beside the step than it counts with.
bool PlannedSteps::fits(const Entry& entry) const {
  return entry.step && base_ <= entry.base + entry.margin;
}

// What came after the last step the last time first, then the last that were used. But before a step any that goes on where it
// ends: a shorter step can follow such a plan to its own end, a longer one would lose a shorter plan on the way.
engine::PlanCursor::Steps PlannedSteps::candidates() {
  const Entry* const last = last_ ? find(*last_) : nullptr;
  std::vector<const Entry*> usable;
  for (const Entry& entry : entries_) {
    if (fits(entry) && entry.kind.budget == scope_.budget &&
        entry.kind.plan_file == scope_.plan_file) {
      usable.push_back(&entry);
    }
  }
  std::ranges::sort(usable, std::ranges::greater{}, [&](const Entry* entry) {
    return std::pair(last != nullptr && last->next == entry->kind, entry->last_use);
  });
  const auto goes_on = [&](const Entry* entry) {
    const Kind& first = usable.front()->kind;
    return entry->kind.count > first.count && entry->step->calls[first.count - 1] == first.calls;
  };
  for (auto it = std::ranges::find_if(usable, goes_on); it != usable.end();
       it = std::ranges::find_if(usable, goes_on)) {
    std::rotate(usable.begin(), it, it + 1);
  }
  engine::PlanCursor::Steps steps;
  for (const Entry* const entry : usable) steps.push_back(entry->step);
  return steps;
}

// Plans that were made from the file as it was before go with it.
void PlannedSteps::read_fixed() {
  const std::string& file = scope_.plan_file;
  std::error_code none;
  const auto time = std::filesystem::last_write_time(file, none);
  if (file == fixed_file_ && time == fixed_time_) return;
  fixed_ = std::make_shared<const graph::Plan>(graph::read_plan(file));
  fixed_file_ = file;
  fixed_time_ = time;
  finish();
  std::erase_if(entries_, [&](const Entry& entry) { return entry.kind.plan_file == file; });
}

// Of the step that the file's plan foresees.
PlannedSteps::Kind PlannedSteps::fixed_kind() const {
  Kind kind = scope_;
  kind.calls = fixed_->operators.back().call;
  kind.count = fixed_->operators.size();
  return kind;
}

// A plan that foresees the step's operators is followed from the first step on.
void PlannedSteps::add_fixed() {
  const Kind kind = fixed_kind();
  if (find(kind) != nullptr) return;
  Entry entry;
  entry.kind = kind;
  entry.base = kind.budget;  // whatever is held beside the step: the plan is all that there is
  try {
    require_room(*fixed_, kind.budget);
    const std::int64_t room =
        std::min(first_margin(kind.budget), kind.budget - fixed_->predicted_peak);
    entry.step = std::make_shared<const engine::PlannedStep>(compile(*fixed_, room));
  } catch (const InvalidArgument& error) {
    entry.note = about(kind.plan_file, *fixed_) +
                 " does not fit this step, which goes on line: " + error.what();
  }
  add(std::move(entry));
}

// The step has come to its end, and the file's plan is all that there is for it.
void PlannedSteps::end_fixed() {
  const engine::Engine& engine = ready_engine();
  Entry* const entry = find(fixed_kind());
  if (entry == nullptr) return;
  if (!entry->step) return note(entry->note);
  entry->last_use = ++clock_;
  const engine::PlanCursor& plan = engine.plan();
  if (plan.follows()) return learn_peak(*entry);
  const std::size_t at = plan.foreseen();
  std::string text = about(scope_.plan_file, *fixed_) + " was followed for " + std::to_string(at) +
                     " of " + std::to_string(fixed_->operators.size()) + " operators: ";
  if (const intercept::OperatorTraits* const other = engine.not_foreseen()) {
    text += "operator " + std::to_string(at) + " of this step, " + other->op.schema().name() +
            ", is not what it foresees there, by its name, its sizes or its storages";
  } else if (engine.plan_shortage() > 0) {
    text +=
        "there " + Bytes(engine.plan_shortage()).text() + " more were needed than it counts with";
  } else {
    text += "it was given up there";
  }
  note(text);
}

// When the step took more than was foretold, that is known now.
void PlannedSteps::learn_peak(Entry& entry) {
  if (memory::watermark() <= entry.step->predicted_peak) return;
  auto step = std::make_shared<engine::PlannedStep>(*entry.step);
  step->predicted_peak = memory::watermark();
  entry.step = std::move(step);
}

// Once for each directory and budget.
void PlannedSteps::read_cache() {
  if (cache_.empty() || cached_ == std::pair(cache_, scope_.budget)) return;
  cached_ = {cache_, scope_.budget};
  CachedSteps read = read_cached(cache_, scope_.budget, kMostEntries);
  for (const std::string& ignored : read.ignored) note(ignored);
  std::ranges::reverse(read.steps);  // the last written counts as the last used
  for (CachedStep& cached : read.steps) {
    Entry entry;
    entry.kind = {cached.step.calls.back(), cached.step.calls.size(), cached.budget};
    if (find(entry.kind) != nullptr) continue;
    entry.base = cached.base;
    entry.margin = cached.margin;
    entry.step = std::make_shared<const engine::PlannedStep>(std::move(cached.step));
    add(std::move(entry));
  }
}

void PlannedSteps::begin(const Options& options) {
  planning_ns_ = 0;
  note_.clear();
  if (options.policy.online()) return;
  try {
    open_scope(options);
  } catch (...) {
    give_way();
    throw;
  }
}

void PlannedSteps::open_scope(const Options& options) {
  engine::Engine& engine = ready_engine();
  scope_ = {0, 0, engine.budget_bytes(), options.policy.plan()};
  cache_ = options.policy.cache();
  if (!scope_.plan_file.empty()) read_fixed();
  open_ = true;
  if (foreseen()) add_fixed();
  base_ = memory::usage().live;
  collect();
  read_cache();
  plan_ahead();
  engine::PlanCursor::Steps steps = candidates();
  if ((to_trace_ > 0 || steps.empty()) && !foreseen()) {
    recorder_ = std::make_unique<Recorder>(std::vector<KnownTensor>{});
    engine.set_observer(recorder_.get());
  }
  engine.follow(std::move(steps));
}

void PlannedSteps::give_way() {
  if (!std::exchange(open_, false)) return;
  engine::Engine& engine = ready_engine();
  if (recorder_) engine.set_observer(nullptr);
  recorder_.reset();
  engine.follow({});
}

// REQUIRES: the recording has its calls.
std::shared_ptr<const PlannedSteps::Job> PlannedSteps::job_of(Recording recording, const Kind& kind,
                                                              std::int64_t base) const {
  const engine::Engine& engine = ready_engine();
  // The first step of a training runs on fresh pages, and under a budget it waits for others: one measurement says little.
  for (std::size_t i = 0; i < recording.operators.size(); ++i) {
    recording.operators[i].ns = static_cast<std::int64_t>(engine.cost_ns(recording.signatures[i]));
  }
  for (const std::int64_t op : recording.must_save) {
    recording.operators[static_cast<std::size_t>(op)].replayable = false;
  }
  auto job = std::make_shared<Job>();
  job->kind = kind;
  job->preferred = std::move(recording.prefer_save);
  std::ranges::sort(job->preferred);
  job->numbers = std::move(recording.numbers);
  job->calls = std::move(recording.calls);
  recording.calls.clear();
  job->trace = make_trace(recording, "");
  job->base = base;
  job->margin = first_margin(kind.budget);
  if (!kind.plan_file.empty()) job->fixed = fixed_;
  job->cache = cache_;
  if (!recording.reruns.empty()) job->known.push_back(std::move(recording.reruns));
  for (const Entry& other : entries_) {
    if (other.kind.same_step(kind) && other.kind.budget <= kind.budget && !other.repeats.empty()) {
      job->known.push_back(other.repeats);
    }
  }
  return job;
}

void PlannedSteps::foresee(Recording recording, std::int64_t base) {
  if (recording.calls.empty() || recording.calls.size() > kMostCalls) return;
  if (std::exchange(ahead_used_, false)) ahead_.clear();
  std::erase_if(ahead_, [&](const Ahead& one) { return one.recording.calls == recording.calls; });
  if (ahead_.size() == kMostAhead) ahead_.erase(ahead_.begin());
  ahead_.push_back({std::move(recording), base});
}

// Before the first step there is nothing else to do, so the program waits for these.
void PlannedSteps::plan_ahead() {
  ahead_used_ = true;
  if (ahead_.empty() || !scope_.plan_file.empty()) return;
  // What the program has made since it watched the first of them lies beside all of them.
  const std::int64_t more = std::max<std::int64_t>(0, base_ - ahead_.front().base);
  std::stop_source stop;
  std::vector<std::future<Entry>> made;
  std::vector<Kind> kinds;
  for (const Ahead& one : ahead_) {
    Kind& kind = kinds.emplace_back(scope_);
    kind.calls = one.recording.calls.back();
    kind.count = one.recording.calls.size();
    if (find(kind) != nullptr) continue;
    Recording recording = one.recording;
    for (std::int64_t& bytes : recording.untouched) bytes += more;
    made.push_back(std::async(std::launch::async, make,
                              job_of(std::move(recording), kind, one.base + more),
                              stop.get_token()));
  }
  if (made.empty()) return;
  for (const std::future<Entry>& entry : made) {
    while (entry.wait_for(std::chrono::milliseconds(50)) != std::future_status::ready) {
      if (engine::Engine::interrupt_pending()) stop.request_stop();
    }
  }
  // The last that is added counts as the last used, and the step that was watched first comes first.
  for (auto& entry : std::views::reverse(made)) add(entry.get());
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    if (Entry* const entry = find(kinds[i])) entry->next = kinds[std::min(i + 1, kinds.size() - 1)];
  }
}

bool PlannedSteps::worth_a_plan(const Kind& kind) {
  if (unused_ < kMostUnused) return true;
  if (std::ranges::find(seen_, kind) != seen_.end()) return true;
  if (seen_.size() == kMostSeen) seen_.erase(seen_.begin());
  seen_.push_back(kind);
  return false;
}

void PlannedSteps::note(const std::string& text) {
  if (text.empty()) return;
  if (!note_.empty()) note_ += '\n';
  note_ += text;
}

void PlannedSteps::forget(const Kind& kind) {
  std::erase_if(entries_, [&](const Entry& entry) { return entry.kind == kind; });
  remove_file(kind);
}

// Else the next process would follow it too.
void PlannedSteps::remove_file(const Kind& kind) const {
  if (!cache_.empty()) remove_cached(cache_, kind.calls, kind.count, kind.budget);
}

void PlannedSteps::plan_again(Entry& entry, std::int64_t shortage) {
  if (!entry.job) {
    if (entry.hits >= kProved) return;
    to_trace_ = kTraced;  // another process has made it, and it does not hold here
    return forget(Kind(entry.kind));
  }
  if (entry.replans >= kMostReplans || !entry.kind.plan_file.empty()) return;
  ++entry.replans;
  auto job = std::make_shared<Job>(*entry.job);
  job->margin += shortage;
  submit(std::move(job));
}

void PlannedSteps::end(bool completed) {
  if (!std::exchange(open_, false)) return;
  engine::Engine& engine = ready_engine();
  const std::unique_ptr<Recorder> recorder = std::move(recorder_);
  if (recorder) engine.set_observer(nullptr);
  if (!completed) return distrust();
  const std::span<const std::uint64_t> calls = engine.calls();
  if (calls.empty()) return;
  if (foreseen()) return end_fixed();
  Kind kind = scope_;
  kind.calls = calls.back();
  kind.count = calls.size();
  // The program does something else by now.
  if (std::ranges::none_of(
          ahead_, [&](const Ahead& one) { return one.recording.calls.back() == kind.calls; })) {
    ahead_.clear();
  }
  if (last_) {
    if (Entry* const before = find(*last_)) before->next = kind;
  }
  last_ = kind;
  Entry* const entry = find(kind);
  if (entry != nullptr) {
    entry->last_use = ++clock_;
    planning_ns_ = entry->planning_ns;
    note(entry->note);
    if (to_trace_ > 0) --to_trace_;
    const bool tried = entry->step && engine.plan().tried() == entry->step.get();
    const bool followed = entry->step && engine.plan().completed() == entry->step;
    if (followed) {
      unused_ = 0;
      ++entry->hits;
      learn_peak(*entry);
    }
    // What is planned again may take the place of other entries, and move this one.
    if (tried && engine.plan_shortage() > 0) return plan_again(*entry, engine.plan_shortage());
    if (entry->hits >= kProved) entry->job.reset();  // some hundred bytes an operator
    if (!entry->step || fits(*entry)) return;
  } else {
    to_trace_ = kTraced;
  }
  if (!recorder || calls.size() > kMostCalls || !worth_a_plan(kind)) return;
  Recording recording = recorder->finish();
  recording.calls.assign(calls.begin(), calls.end());
  submit(job_of(std::move(recording), kind, base_));
}

// The step ended by an exception. When the plan's bytes were short by then, it may be the plan's fault.
void PlannedSteps::distrust() {
  const engine::Engine& engine = ready_engine();
  if (engine.plan_shortage() == 0) return;
  for (Entry& entry : entries_) {
    if (!entry.step || entry.step.get() != engine.plan().tried()) continue;
    entry.step.reset();
    remove_file(entry.kind);
    entry.note = "the plan of this step was given up: a step that followed it did not fit";
  }
}

}  // namespace neap::checkpointing
