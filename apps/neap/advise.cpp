// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap advise: what each budget would cost, from one traced step, and which one to take.
#include "budget.h"
#include "commands.h"
#include "job.h"
#include "trace.h"

#include <neap/planner.h>
#include <neap/report.h>
#include <neap/timeline.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

namespace neap::app {
namespace {

using Json = nlohmann::ordered_json;

struct Choice {
  std::string name;
  std::int64_t budget;
  std::int64_t peak;
  std::int64_t ns;             // of the step, by the times of the trace
  std::int64_t largest_batch;  // in what there is, about
};

class Advice {
 public:
  Advice(const AdviseOptions& options, Output& output) : options_(options), output_(output) {}

  int run() {
    const train::Budget wanted = parse_budget(options_.budget);
    if (wanted.is_share() || !wanted.bytes({})) {
      throw UsageError("--budget: '" + options_.budget +
                       "' is no number of bytes; write what there is, as 4GiB, or auto");
    }
    there_is_ = wanted.bytes({})->count();
    ReportFile csv("--csv", options_.csv);
    const Task task = Task::without_data(options_, find_model(options_), options_.input);
    batch_size_ = task.batch_size(options_.batch_size, kTracingBatch);
    trace_ = traced_step(options_);
    let_signals_end();
    find_choices();
    csv.write([&](std::ostream& out) { out << table(/*for_people=*/false).csv(); });
    tell();
    return recommended() != nullptr ? 0 : 1;
  }

 private:
  void find_choices() {
    add("plain", with_room(graph::plain_plan(trace_)));
    if (!fits(choices_.front())) add_planned(options_.budget, Bytes(there_is_));
    for (const int percent : {70, 50, 30}) {
      add_planned(std::to_string(percent) + " %",
                  planner::budget_of_share(trace_, percent / 100.0));
    }
    add("min", with_room(planner::solve_smallest(trace_, search_).plan));
    std::ranges::stable_sort(choices_, std::ranges::greater{}, &Choice::budget);
  }

  // The allocator's part of a budget comes on top of a peak.
  static graph::Plan with_room(graph::Plan plan) {
    plan.budget += planner::allocator_room(Bytes(plan.budget)).count();
    return plan;
  }
  [[nodiscard]] bool fits(const Choice& choice) const { return choice.budget <= there_is_; }

  void add_planned(const std::string& name, Bytes budget) {
    planner::Options search = search_;
    search.budget = budget;
    try {
      add(name, planner::solve(trace_, search).plan);
    } catch (const planner::Infeasible&) {  // `min` has the smallest
    }
  }

  void add(const std::string& name, const graph::Plan& plan) {
    const graph::Timeline line = graph::timeline(trace_, plan);
    choices_.push_back({name, plan.budget, line.moments[line.peak].total(), line.moments.back().ns,
                        largest_batch(plan.budget, line)});
  }

  // Parameters, gradients and the optimizer's state stay as they are. All else grows with the
  // batch.
  [[nodiscard]] std::int64_t largest_batch(std::int64_t budget, const graph::Timeline& line) const {
    const auto& bytes = line.moments[line.peak].bytes;
    const auto of = [&](graph::Category category) {
      return bytes.at(static_cast<std::size_t>(category));
    };
    const std::int64_t stays = of(graph::Category::Parameters) + of(graph::Category::Gradients) +
                               of(graph::Category::Optimizer);
    const auto of_samples = static_cast<double>(std::max<std::int64_t>(1, budget - stays));
    const auto room = static_cast<double>(std::max<std::int64_t>(0, there_is_ - stays));
    return static_cast<std::int64_t>(static_cast<double>(batch_size_) * room / of_samples);
  }

  // What takes the least time of all that fits; of equal ones the one with most room. Null: nothing
  // fits.
  [[nodiscard]] const Choice* recommended() const {
    const Choice* best = nullptr;
    for (const Choice& one : choices_) {
      if (fits(one) && (best == nullptr || one.ns < best->ns)) best = &one;
    }
    return best;
  }

  [[nodiscard]] std::string why() const {
    const std::string room = Bytes(there_is_).text();
    const Choice* const best = recommended();
    if (best == nullptr) {
      const Choice& smallest = *std::ranges::min_element(choices_, {}, &Choice::budget);
      const std::string text = "no plan of this batch was found for " + room +
                               ": the smallest budget is " + Bytes(smallest.budget).text();
      if (smallest.largest_batch < 1) return text;
      return text + "; a batch of about " + std::to_string(smallest.largest_batch) + " would fit";
    }
    if (best->name == "plain") {
      return "plain: the step fits in " + room + ", and nothing runs again";
    }
    return best->name + ": of what fits in " + room + " it takes the least time, " +
           format_number("%.2f", against_plain(*best)) + " of the plain step's";
  }

  [[nodiscard]] double against_plain(const Choice& choice) const {
    return static_cast<double>(choice.ns) /
           static_cast<double>(std::max<std::int64_t>(1, plain().ns));
  }
  [[nodiscard]] const Choice& plain() const {
    return *std::ranges::find(choices_, "plain", &Choice::name);
  }
  [[nodiscard]] double items_per_second(const Choice& choice) const {
    return 1e9 * static_cast<double>(batch_size_) /
           static_cast<double>(std::max<std::int64_t>(1, choice.ns));
  }

  [[nodiscard]] report::Table table(bool for_people) const {
    if (!for_people) {
      report::Table table({{"choice"},
                           {"budget_bytes"},
                           {"predicted_peak_bytes"},
                           {"predicted_ns"},
                           {"items_per_second"},
                           {"largest_batch"},
                           {"recommended"}});
      for (const Choice& one : choices_) {
        table.add_row({one.name, std::to_string(one.budget), std::to_string(one.peak),
                       std::to_string(one.ns), format_number("%.3f", items_per_second(one)),
                       std::to_string(one.largest_batch), &one == recommended() ? "1" : "0"});
      }
      return table;
    }
    report::Table table({{"", report::Align::Left},
                         {"budget", report::Align::Left},
                         {"bytes"},
                         {"peak"},
                         {"ms a step"},
                         {"against plain"},
                         {"samples/s"},
                         {"batch in " + Bytes(there_is_).text()}});
    for (const Choice& one : choices_) {
      table.add_row(
          {&one == recommended() ? "*" : "", one.name, Bytes(one.budget).text(),
           Bytes(one.peak).text(), format_number("%.1f", static_cast<double>(one.ns) / 1e6),
           format_number("%.2fx", against_plain(one)), format_number("%.1f", items_per_second(one)),
           std::to_string(one.largest_batch)});
    }
    return table;
  }

  void tell() {
    if (!options_.json) {
      output_.line(trace_.label);
      output_.text(table(/*for_people=*/true).text());
      output_.line("* " + why());
      output_.line(
          "Times are those of a traced step's operators. Batches are worked out from this "
          "one; neap max-batch proves them.");
      return;
    }
    Json rows = Json::array();
    for (const Choice& one : choices_) {
      rows.push_back({{"choice", one.name},
                      {"budget_bytes", one.budget},
                      {"predicted_peak_bytes", one.peak},
                      {"predicted_ns", one.ns},
                      {"items_per_second", items_per_second(one)},
                      {"largest_batch", one.largest_batch},
                      {"recommended", &one == recommended()}});
    }
    output_.json(Json{{"label", trace_.label},
                      {"batch_size", batch_size_},
                      {"there_is_bytes", there_is_},
                      {"rows", rows},
                      {"why", why()}});
  }

  const AdviseOptions& options_;
  Output& output_;
  planner::Options search_{.followable = true};
  std::int64_t there_is_ = 0;  // bytes
  std::int64_t batch_size_ = 0;
  graph::Trace trace_;
  std::vector<Choice> choices_;  // the largest budget first
};

}  // namespace

int advise(const AdviseOptions& options, Output& output) { return Advice(options, output).run(); }

}  // namespace neap::app
