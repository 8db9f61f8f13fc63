// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// checkpoint/planned_steps.h: which steps are traced, planned and followed.
//
// Note [Which steps are traced]
// A program has a few kinds of steps: the first one, that makes the optimizer's state; those that only accumulate; batches of
// another length. What kind a step is shows as it goes on, and a trace needs it from its first operator. Tracing costs some
// microseconds an operator, so after a step of a kind that has no plan yet the next few are traced, also those that follow
// a plan, and as long as all of them are known, none is. A program whose steps never repeat would have the planner at
// work for ever: when several plans have been made and none was ever followed, a kind is planned when it comes a second time.
#pragma once

#include "checkpoint/recorder.h"
#include "engine/engine.h"

#include <neap/checkpoint.h>
#include <neap/planner.h>

#include <cstdint>
#include <filesystem>
#include <future>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

namespace neap::checkpointing {

// Threads: the scope's, but for finish(), which any may call while no scope is open.
class PlannedSteps {
 public:
  static PlannedSteps& instance();
  PlannedSteps(const PlannedSteps&) = delete;
  PlannedSteps& operator=(const PlannedSteps&) = delete;
  ~PlannedSteps();

  // The engine has opened the outermost scope, with a budget.
  void begin(const Options& options);
  // The scope is about to close.
  void end(bool completed);
  // What goes in the scope is theirs to say. A region without rules is nothing then, and the rules of others are the planner's too.
  [[nodiscard]] bool open() const { return open_; }
  // The limits of a region say it, until the scope ends.
  void give_way();
  void finish();
  // A step that was watched outside of a budget, and began with so many bytes live. A later scope plans it before its first
  // operator.
  void foresee(Recording recording, std::int64_t base);

  // Of the kind of the last step, or of the plan that is followed.
  [[nodiscard]] std::int64_t planning_ns() const { return planning_ns_; }
  [[nodiscard]] const std::string& note() const { return note_; }

 private:
  // Names a sequence of calls under a budget.
  struct Kind {
    std::uint64_t calls = 0;  // hash of all
    std::size_t count = 0;
    std::int64_t budget = 0;
    std::string plan_file = {};  // empty: the planner's

    bool operator==(const Kind&) const = default;
    // Planned for these calls, whatever the budget.
    [[nodiscard]] bool same_step(const Kind& other) const {
      return calls == other.calls && count == other.count && plan_file.empty() &&
             other.plan_file.empty();
    }
  };
  // A traced step, for the planner's thread.
  struct Job {
    Kind kind;
    graph::Trace trace;
    std::vector<std::uint32_t> numbers;
    std::vector<std::uint64_t> calls;
    std::int64_t base = 0;                     // bytes that were live when it began
    std::int64_t margin = 0;                   // bytes of the budget that the plan leaves free
    std::shared_ptr<const graph::Plan> fixed;  // null: the planner makes it
    std::string cache;                         // where the plan is kept; empty: nowhere
    std::vector<std::vector<planner::Repeat>> known;
    std::vector<std::int64_t>
        preferred;  // operators whose results are to stay, where that leaves a plan
  };
  struct Entry {
    Kind kind;
    std::shared_ptr<const engine::PlannedStep> step;  // null: no plan fits
    std::string note;                                 // for people
    // What it was made from. Null once the plan has proved right, and for one that another process has made.
    std::shared_ptr<const Job> job;
    std::vector<planner::Repeat> repeats;  // of the plan; unknown of what another process has made
    std::int64_t base = 0;                 // of the job
    std::int64_t margin = 0;
    std::int64_t planning_ns = 0;
    std::optional<Kind> next;  // what came after it the last time
    std::uint64_t last_use = 0;
    int hits = 0;
    int replans = 0;
  };

  PlannedSteps() = default;
  static graph::Plan search(const Job& job, const std::stop_token& stop);
  static graph::Plan fixed_plan(const Job& job);
  static Entry make(const std::shared_ptr<const Job>& job, const std::stop_token& stop);
  [[nodiscard]] std::shared_ptr<const Job> job_of(Recording recording, const Kind& kind,
                                                  std::int64_t base) const;
  void plan_ahead();
  void read_fixed();
  // The plan of the open scope's file says itself what it foresees: no step has to be traced for it.
  [[nodiscard]] bool foreseen() const {
    return !scope_.plan_file.empty() && !fixed_->operators.empty();
  }
  [[nodiscard]] Kind fixed_kind() const;
  void add_fixed();
  void open_scope(const Options& options);
  void end_fixed();
  static void learn_peak(Entry& entry);
  void read_cache();
  void add(Entry entry);
  void offer(const Entry& entry);
  void note(const std::string& text);
  void collect();
  void submit(std::shared_ptr<const Job> job);
  Entry* find(const Kind& kind);
  bool worth_a_plan(const Kind& kind);
  void distrust();
  void plan_again(Entry& entry, std::int64_t shortage);
  void forget(const Kind& kind);
  void remove_file(const Kind& kind) const;
  [[nodiscard]] bool fits(const Entry& entry) const;
  [[nodiscard]] engine::PlanCursor::Steps candidates();

  std::vector<Entry> entries_;
  std::uint64_t clock_ = 0;
  std::optional<Kind> last_;  // what the last scope did
  std::vector<Kind> seen_;    // not planned, the newest last
  int unused_ = 0;            // plans made since one was followed to its end
  int to_trace_ = kTraced;    // so many steps
  bool open_ = false;
  Kind scope_;             // the budget and the file of the open one
  std::int64_t base_ = 0;  // bytes that were live when it was opened
  std::unique_ptr<Recorder> recorder_;
  std::int64_t planning_ns_ = 0;
  std::string note_;
  struct Ahead {
    Recording recording;
    std::int64_t base;
  };
  std::vector<Ahead> ahead_;  // of one training, in the order in which they were watched
  bool ahead_used_ = false;   // a scope has been opened since the last was
  std::shared_ptr<const graph::Plan> fixed_;  // of scope_.plan_file, as it was then
  std::string fixed_file_;
  std::string cache_;                            // of the open scope
  std::pair<std::string, std::int64_t> cached_;  // the directory and the budget that were read last
  std::filesystem::file_time_type fixed_time_;

  std::stop_source stop_;
  std::future<Entry> planning_;
  std::shared_ptr<const Job> waiting_;

  static constexpr int kTraced = 8;
};

}  // namespace neap::checkpointing
