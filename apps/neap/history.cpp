// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "history.h"

#include "output.h"

#include <c10/util/Exception.h>

#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace neap::app {
namespace {

// The first steps fault in pages, fill caches and make a plan, so their times are left out.
constexpr std::size_t kWarmUp = 10;

std::int64_t max_rss_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss * 1024;
}

const char* name_of(Ending ending) {
  switch (ending) {
    case Ending::Done:
      return "done";
    case Ending::StoppedEarly:
      return "stopped_early";
    case Ending::Interrupted:
      return "interrupted";
    case Ending::BudgetExceeded:
      return "budget_exceeded";
    case Ending::OutOfMemory:
      return "out_of_memory";
    case Ending::NonFinite:
      return "not_finite";
    case Ending::Failed:
      break;
  }
  return "failed";
}

const char* words_of(Ending ending) {
  switch (ending) {
    case Ending::Done:
      return "done";
    case Ending::StoppedEarly:
      return "early: no better one came";
    case Ending::Interrupted:
      return "interrupted";
    case Ending::BudgetExceeded:
      return "refused: the budget is too small";
    case Ending::OutOfMemory:
      return "refused: no memory is left";
    case Ending::NonFinite:
      return "stopped: not finite";
    case Ending::Failed:
      break;
  }
  return "failed";
}

}  // namespace

nlohmann::json number(double value) {
  return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(nullptr);
}

void History::add(const train::StepResult& step) {
  ++steps;
  replays += step.stats.replays;
  evictions += step.stats.evictions;
  offloads += step.stats.offloads;
  loads += step.stats.loads;
  offload_peak_bytes = std::max(offload_peak_bytes, step.stats.offload_peak_bytes);
  planned_steps += step.stats.plan_hits;
  if (step.stats.plan_hits > 0) planning_ns = step.stats.planning_ns;
  plan_note = step.stats.plan_note;
  if (!step.stats.rule_note.empty()) rule_note = step.stats.rule_note;
  peak_bytes = std::max(peak_bytes, step.peak.count());
  milliseconds.push_back(step.milliseconds);
  losses.push_back(step.loss);
}

void History::end_by_exception() {
  try {
    throw;
  } catch (const Interrupted& error) {
    ending = Ending::Interrupted;
    reason = "interrupted";
  } catch (const BudgetExceeded& error) {
    ending = Ending::BudgetExceeded;
    reason = error.what();
  } catch (const OutOfMemory& error) {
    ending = Ending::OutOfMemory;
    reason = error.what();
  } catch (const train::NonFinite& error) {
    ending = Ending::NonFinite;
    reason = error.what();
  } catch (const c10::Error& error) {
    ending = Ending::Failed;
    reason = error.what_without_backtrace();
  } catch (const std::exception& error) {
    ending = Ending::Failed;
    reason = error.what();
  } catch (...) {
    ending = Ending::Failed;
    reason = "an exception of no known type; throw one of std::exception";
  }
}

// The mean of the last steps, because the loss of one batch says little.
double History::loss() const {
  const std::size_t count = std::min<std::size_t>(losses.size(), 50);
  if (count == 0) return std::nan("");
  double sum = 0;
  for (std::size_t i = losses.size() - count; i < losses.size(); ++i) sum += losses[i];
  return sum / static_cast<double>(count);
}

double History::median_ms(std::size_t from) const {
  if (milliseconds.size() <= from) return 0;
  std::vector<double> sorted(milliseconds.begin() + static_cast<std::ptrdiff_t>(from),
                             milliseconds.end());
  const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
  std::ranges::nth_element(sorted, middle);
  return *middle;
}

// Absent when there were too few steps to compare.
std::optional<double> History::against_plain() const {
  if (!plain || plain->milliseconds <= 0 || milliseconds.size() < 2 * kWarmUp) return std::nullopt;
  return median_ms(kWarmUp) / plain->milliseconds;
}

nlohmann::json History::summary() const {
  const std::optional<double> ratio = against_plain();
  nlohmann::json json{
      {"event", "summary"},
      {"ending", name_of(ending)},
      {"reason", text_or_null(reason)},
      {"steps", steps},
      {"budget_bytes", nullptr},
      {"peak_bytes", peak_bytes},
      {"plain_peak_bytes", nullptr},
      {"plain_base_bytes", nullptr},
      {"plain_step_ms_median", nullptr},
      {"max_rss_bytes", max_rss_bytes()},
      {"replays", replays},
      {"evictions", evictions},
      {"offloads", offloads},
      {"loads", loads},
      {"offload_peak_bytes", offload_peak_bytes},
      {"planned_steps", planned_steps},
      {"planning_ms", static_cast<double>(planning_ns) / 1e6},
      {"step_ms_median", milliseconds.empty() ? nlohmann::json(nullptr) : number(median_ms())},
      {"against_plain_median", ratio ? number(*ratio) : nlohmann::json(nullptr)},
      {"loss", number(loss())},
      {"accuracy", nullptr},
      {"test_loss", nullptr},
      {"best_step", nullptr},
      {"best_accuracy", nullptr},
      {"best_test_loss", nullptr},
      {"kept_step", nullptr},
      {"snapshot", text_or_null(snapshot)},
  };
  if (budget) json["budget_bytes"] = budget->count();
  if (plain) {
    json["plain_peak_bytes"] = plain->peak.count();
    json["plain_base_bytes"] = plain->base.count();
    if (plain->milliseconds > 0) json["plain_step_ms_median"] = plain->milliseconds;
  }
  if (const std::optional<TestResult>& last = evaluations.last()) {
    json["test_loss"] = number(last->loss);
    if (last->accuracy) json["accuracy"] = *last->accuracy;
  }
  if (evaluations.best_step() > 0) {
    const TestResult& best = evaluations.best();
    json["best_step"] = evaluations.best_step();
    json["best_test_loss"] = number(best.loss);
    if (best.accuracy) json["best_accuracy"] = *best.accuracy;
  }
  if (evaluations.kept_step() > 0) json["kept_step"] = evaluations.kept_step();
  return json;
}

std::string History::table() const {
  std::vector<Row> rows;
  if (ending != Ending::Done) rows.emplace_back("ended", words_of(ending));
  if (plain) {
    rows.emplace_back("plain peak", plain->peak.text());
    rows.emplace_back("of it stays between steps", plain->base.text());
  }
  rows.emplace_back("budget", budget ? budget->text() : "none");
  rows.emplace_back("peak", Bytes(peak_bytes).text());
  rows.emplace_back("process, largest", Bytes(max_rss_bytes()).text());
  rows.emplace_back("steps", std::to_string(steps));
  if (steps > 0) {
    rows.emplace_back("replays a step", format_number("%.1f", static_cast<double>(replays) /
                                                                  static_cast<double>(steps)));
    if (offloads > 0) {
      rows.emplace_back("copied out a step", format_number("%.1f", static_cast<double>(offloads) /
                                                                       static_cast<double>(steps)));
    }
    if (planned_steps > 0) {
      const double seconds = static_cast<double>(planning_ns) / 1e9;
      rows.emplace_back("steps by a plan",
                        std::to_string(planned_steps) +
                            (seconds > 0 ? format_number(", made in %.2f s", seconds) : ""));
    } else if (!plan_note.empty()) {
      rows.emplace_back("steps by a plan", "0: " + plan_note);
    }
    rows.emplace_back("ms a step, median", format_number("%.1f", median_ms()));
    if (const std::optional<double> ratio = against_plain()) {
      rows.emplace_back("time against plain", format_number("%.2fx", *ratio));
    }
    rows.emplace_back("loss", format_number("%.4f", loss()));
  }
  if (!snapshot.empty()) rows.emplace_back("snapshot", snapshot);
  if (const std::optional<TestResult>& last = evaluations.last()) {
    rows.emplace_back("test loss", format_number("%.4f", last->loss));
    if (last->accuracy) {
      rows.emplace_back("test accuracy", format_number("%.2f %%", 100 * *last->accuracy));
    }
    if (evaluations.best_step() != evaluations.last_step()) {
      rows.emplace_back("best after step", std::to_string(evaluations.best_step()));
    }
    if (evaluations.kept_step() > 0 && evaluations.kept_step() != evaluations.best_step()) {
      rows.emplace_back("kept after step", std::to_string(evaluations.kept_step()));
    }
  }
  return app::table(rows);
}

}  // namespace neap::app
