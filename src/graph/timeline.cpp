// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include <neap/timeline.h>

#include "graph/categories.h"
#include "graph/simulator.h"

#include <algorithm>
#include <numeric>

namespace neap::graph {

std::int64_t Moment::total() const {
  return std::accumulate(bytes.begin(), bytes.end(), std::int64_t{0});
}

namespace {

class Follower {
 public:
  Follower(const Trace& trace, const Program& program)
      : program_(program),
        operators_(operators_of(trace)),
        categories_(categories_of(trace, program)),
        clock_(program),
        is_there_(static_cast<std::size_t>(program.storages())) {}

  // `collect`: the moment whose holders are wanted; -1: none.
  Timeline follow(const Plan& plan, std::int64_t collect) {
    collect_ = collect;
    arrive(kNone);
    note(-1, false);
    const auto steps = static_cast<std::int64_t>(plan.steps.size());
    for (std::int64_t i = 0; i < steps; ++i) {
      const Step& step = plan.steps[static_cast<std::size_t>(i)];
      clock_.take(step);
      switch (step.action) {
        case Step::Action::Run:
        case Step::Action::Rerun:
          run(i, static_cast<Index>(step.target), step.action == Step::Action::Rerun);
          break;
        case Step::Action::Free:
          remove(program_.index_of(step.target));
          break;
        case Step::Action::Offload:
          break;
        case Step::Action::Load:
          add(program_.index_of(step.target));
          note_if_more(line_.moments.back().step);
          break;
      }
    }
    clock_.end();
    ns_ = clock_.now();
    note(steps, false);
    std::ranges::stable_sort(line_.at_the_peak, std::ranges::greater{}, &Holder::bytes);
    return std::move(line_);
  }

 private:
  void run(std::int64_t step, Index op, bool rerun) {
    const Program::Op& flat = program_.op(op);
    running_ = op;
    if (!rerun) next_ = op + 1;
    // What a rerun makes although it is there has a second copy until the rerun ends.
    for (const Index storage : program_.makes(op)) {
      if (is_there_[static_cast<std::size_t>(storage)]) copies_.push_back(storage);
      add(storage);
    }
    for (const Index storage : copies_) bytes_of(storage) += program_.storage(storage).bytes;
    workspace() = flat.workspace;
    ns_ = clock_.now() - flat.ns;  // it may have waited for a copy
    note(step, rerun);
    workspace() = 0;
    for (const Index storage : copies_) bytes_of(storage) -= program_.storage(storage).bytes;
    copies_.clear();
    running_ = kNone;
    ns_ = clock_.now();
    if (!rerun && !program_.arrivals(op).empty()) {
      arrive(op);
      note_if_more(step);
    }
  }

  void arrive(Index op) {
    for (const Index storage : program_.arrivals(op)) add(storage);
  }
  void add(Index storage) {
    if (is_there_[static_cast<std::size_t>(storage)]) return;
    is_there_[static_cast<std::size_t>(storage)] = true;
    bytes_of(storage) += program_.storage(storage).bytes;
  }
  void remove(Index storage) {
    is_there_[static_cast<std::size_t>(storage)] = false;
    bytes_of(storage) -= program_.storage(storage).bytes;
  }
  std::int64_t& bytes_of(Index storage) {
    return now_.at(static_cast<std::size_t>(categories_[static_cast<std::size_t>(storage)]));
  }
  std::int64_t& workspace() { return now_.at(static_cast<std::size_t>(Category::Workspace)); }

  void note(std::int64_t step, bool rerun) {
    line_.moments.push_back({step, ns_, rerun, now_});
    note_peak(line_.moments.size() - 1);
  }
  // What is given after an operator counts as soon as it has run, and what is loaded after it at
  // once.
  void note_if_more(std::int64_t step) {
    const Moment after = {step, line_.moments.back().ns, line_.moments.back().rerun, now_};
    if (after.total() <= line_.moments.back().total()) return;
    line_.moments.back() = after;
    note_peak(line_.moments.size() - 1);
  }
  void note_peak(std::size_t moment) {
    if (line_.moments[moment].total() > line_.moments[line_.peak].total()) line_.peak = moment;
    if (static_cast<std::int64_t>(moment) == collect_) collect();
  }
  void collect() {
    line_.at_the_peak.clear();
    for (Index storage = 0; storage < program_.storages(); ++storage) {
      if (is_there_[static_cast<std::size_t>(storage)]) {
        line_.at_the_peak.push_back(holder(storage));
      }
    }
    for (const Index storage : copies_) {
      line_.at_the_peak.push_back(holder(storage));
      line_.at_the_peak.back().why =
          "a second copy, until the operator that makes it has run again";
    }
    if (workspace() > 0) {
      const Operator& op = of(running_);
      line_.at_the_peak.push_back(
          {-1, workspace(), Category::Workspace, op.layer, op.name, text_of(op) + " runs"});
    }
  }

  [[nodiscard]] Holder holder(Index index) const {
    const Program::Storage& storage = program_.storage(index);
    Holder holder;
    holder.storage = storage.id;
    holder.bytes = storage.bytes;
    holder.category = categories_[static_cast<std::size_t>(index)];
    const std::span<const Index> users = program_.users(index);
    if (!storage.given) {
      holder.maker = of(storage.maker).name;
      holder.layer = of(storage.maker).layer;
    } else if (!users.empty()) {
      holder.layer = of(users.front()).layer;
    }
    holder.why = why(index);
    return holder;
  }

  [[nodiscard]] std::string why(Index index) const {
    const Program::Storage& storage = program_.storage(index);
    if (running_ != kNone && std::ranges::count(program_.makes(running_), index) > 0) {
      return text_of(of(running_)) + " makes it";
    }
    std::string text;
    for (const Index user : program_.users(index)) {
      if (user < next_ && user != running_) continue;
      text = text_of(of(user)) + " reads it";
      break;
    }
    if (text.empty()) text = "the program holds it";
    if (!storage.given && !program_.op(storage.maker).replayable) {
      text += ", and it cannot be made again";
    }
    return text;
  }

  [[nodiscard]] const Operator& of(Index op) const {
    return *operators_[static_cast<std::size_t>(op)];
  }

  const Program& program_;
  std::vector<const Operator*> operators_;
  std::vector<Category> categories_;
  Simulator clock_;
  std::vector<bool> is_there_;
  std::array<std::int64_t, kCategories> now_ = {};
  std::int64_t ns_ = 0;
  Index running_ = kNone;
  std::vector<Index> copies_;  // that the operator makes beside those that are there
  Index next_ = 0;             // the first operator that has not run
  std::int64_t collect_ = -1;
  Timeline line_;
};

// A measure of the plain step says nothing of another plan.
void add_cached(const Trace& trace, const Plan& plan, Timeline& line) {
  if (plan.steps != plain_plan(trace).steps) return;
  const std::vector<const Operator*> operators = operators_of(trace);
  std::int64_t reserved = trace.reserved;
  for (Moment& moment : line.moments) {
    const bool runs =
        moment.step >= 0 && moment.step < static_cast<std::int64_t>(plan.steps.size());
    if (runs) {
      const Step& step = plan.steps[static_cast<std::size_t>(moment.step)];
      reserved = operators[static_cast<std::size_t>(step.target)]->reserved;
    }
    // Another thread may have changed it since the operator's peak.
    if (reserved > 0) moment.cached = std::max<std::int64_t>(0, reserved - moment.total());
  }
}

}  // namespace

Timeline timeline(const Trace& trace, const Plan& plan) {
  (void)simulate(trace, plan);  // throws where the plan is none for the trace
  const Program program(trace);
  // Twice: what is there at a moment is listed for the peak alone, which is not known before.
  const Timeline line = Follower(trace, program).follow(plan, -1);
  Timeline with_holders =
      Follower(trace, program).follow(plan, static_cast<std::int64_t>(line.peak));
  add_cached(trace, plan, with_holders);
  return with_holders;
}

}  // namespace neap::graph
