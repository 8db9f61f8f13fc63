// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "page/run_sections.h"

#include <neap/base.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <numeric>
#include <set>

namespace neap::app {
namespace {

constexpr double kNsOfMs = 1e6;

// Null where the line has no such key.
Json value_of(const Json& line, const char* key) {
  const auto found = line.find(key);
  return found == line.end() ? Json() : *found;
}

template <class Text>
Json shallow(Text& text) {
  constexpr int kMostNesting = 32;
  bool is_too_deep = false;
  Json json = Json::parse(
      text,
      [&](int depth, Json::parse_event_t, const Json&) {
        is_too_deep = is_too_deep || depth > kMostNesting;
        return !is_too_deep;
      },
      /*allow_exceptions=*/false);
  return is_too_deep ? Json(Json::value_t::discarded) : json;
}

// One line a run, over the steps that any of them has.
void add_curve(Page& page, const std::vector<TrainingRun>& runs,
               std::vector<Json> TrainingRun::*lines, const char* title, const char* key,
               const char* unit, double factor = 1) {
  std::set<std::int64_t> steps;
  for (const TrainingRun& run : runs) {
    for (const Json& line : run.*lines) steps.insert(step_of(line));
  }
  Json all = Json::array();
  bool any = false;
  for (const TrainingRun& run : runs) {
    std::map<std::int64_t, Json> by_step;
    for (const Json& line : run.*lines) by_step[step_of(line)] = number_of(line, key);
    Json values = Json::array();
    for (const std::int64_t step : steps) {
      const auto found = by_step.find(step);
      Json value = found == by_step.end() ? Json() : found->second;
      any = any || value.is_number();
      if (value.is_number() && factor != 1) value = value.get<double>() * factor;
      values.push_back(std::move(value));
    }
    all.push_back(series(run.name, std::move(values)));
  }
  if (!any) return;
  Json content{
      {"unit", unit}, {"x", {{"name", "step"}, {"unit", ""}, {"values", steps}}}, {"series", all}};
  page.add_section("lines", title, "", content);
}

void add_facts(Page& page, const Json& start) {
  for (const auto& [key, value] : start.items()) {
    if (key == "settings" && value.is_object()) {
      add_facts(page, value);
    } else if (key != "event" && (value.is_string() || value.is_number())) {
      page.add_fact({key, value});
    }
  }
}

// Of the steps that have such a number: also those before the training went on.
std::vector<double> numbers_of(const TrainingRun& run, const char* key) {
  std::vector<double> numbers;
  for (const Json& line : run.steps) {
    const Json number = number_of(line, key);
    if (number.is_number()) numbers.push_back(number.get<double>());
  }
  return numbers;
}
Json median(std::vector<double> numbers) {
  if (numbers.empty()) return {};
  const auto middle = numbers.begin() + static_cast<std::ptrdiff_t>(numbers.size() / 2);
  std::ranges::nth_element(numbers, middle);
  return *middle;
}
// 0 where it has no such count. Bounded, so that no sum of them overflows.
std::int64_t count_of(const Json& line, const char* key) {
  constexpr std::int64_t kMost = std::int64_t{1} << 32;
  const Json value = number_of(line, key);
  if (!value.is_number_integer()) return 0;
  return std::clamp<std::int64_t>(value.get<std::int64_t>(), 0, kMost);
}
Json largest(const TrainingRun& run, const char* key) {
  Json most;
  for (const Json& line : run.steps) {
    const Json number = number_of(line, key);
    if (number.is_number() && (most.is_null() || number > most)) most = number;
  }
  return most;
}
// As in the summary of neap train: the mean of the last ones, since one batch says little.
Json mean_of_last(const std::vector<double>& numbers) {
  constexpr std::size_t kLast = 50;
  const std::size_t count = std::min(numbers.size(), kLast);
  if (count == 0) return {};
  return std::accumulate(numbers.end() - static_cast<std::ptrdiff_t>(count), numbers.end(), 0.0) /
         static_cast<double>(count);
}

void add_comparison(Page& page, const std::vector<TrainingRun>& runs) {
  Json rows = Json::array();
  for (const TrainingRun& run : runs) {
    const RunFigures figures = figures_of(run);
    const auto scaled = [](const Json& number, double factor) {
      return number.is_number() ? Json(factor * number.get<double>()) : Json();
    };
    rows.push_back({run.name, figures.ending.is_string() ? figures.ending : Json("no end"),
                    static_cast<std::int64_t>(run.steps.size()), figures.loss,
                    scaled(figures.accuracy, 100), figures.budget_bytes, figures.peak_bytes,
                    figures.plain_peak_bytes, scaled(figures.step_ms_median, kNsOfMs),
                    figures.against_plain_median, figures.replays, figures.planned_steps});
  }
  page.add_section(
      "table", runs.size() > 1 ? "The trainings side by side" : "The training", "",
      {{"columns",
        {column("training"), column("ending"), column("steps", ""), column("loss", ""),
         column("test accuracy", "percent"), column("budget", "bytes"), column("peak", "bytes"),
         column("plain peak", "bytes"), column("time of a step", "ns"), column("against plain", ""),
         column("operators run again", ""), column("steps by a plan", "")}},
       {"rows", rows}});
}

}  // namespace

Json parsed(const std::string& text) { return shallow(text); }
Json parsed(std::istream& text) { return shallow(text); }

Json number_of(const Json& line, const char* key) {
  const Json value = value_of(line, key);
  return value.is_number() ? value : Json();
}

std::int64_t step_of(const Json& line) {
  const Json step = number_of(line, "step");
  return step.is_number_integer() ? step.get<std::int64_t>() : 0;
}

RunFigures figures_of(const TrainingRun& run) {
  RunFigures figures;
  if (const Json ending = value_of(run.summary, "ending"); ending.is_string()) {
    figures.ending = ending;
  }
  figures.loss = mean_of_last(numbers_of(run, "loss"));
  figures.accuracy = number_of(run.summary, "accuracy");
  figures.test_loss = number_of(run.summary, "test_loss");
  figures.best_step = number_of(run.summary, "best_step");
  figures.best_accuracy = number_of(run.summary, "best_accuracy");
  figures.best_test_loss = number_of(run.summary, "best_test_loss");
  figures.budget_bytes = number_of(run.summary, "budget_bytes");
  figures.peak_bytes = largest(run, "peak_bytes");
  figures.plain_peak_bytes = number_of(run.summary, "plain_peak_bytes");
  figures.step_ms_median = median(numbers_of(run, "took_ms"));
  figures.against_plain_median = number_of(run.summary, "against_plain_median");
  for (const Json& line : run.steps) {
    figures.replays += count_of(line, "replays");
    if (value_of(line, "planned") == true) ++figures.planned_steps;
  }
  return figures;
}

TrainingRun read_run(const std::filesystem::path& path) {
  std::ifstream file(path);
  if (!file) throw Error(path.string() + ": it cannot be read; is it a file of neap train?");
  TrainingRun run = read_run(file, path.string());
  const std::filesystem::path whole = std::filesystem::absolute(path).lexically_normal();
  run.file = whole.filename() == "run.jsonl" ? whole.parent_path() : whole;
  return run;
}

TrainingRun read_run(std::istream& file, const std::string& name) {
  TrainingRun run;
  std::string line;
  for (std::int64_t number = 1; std::getline(file, line); ++number) {
    const Json object = parsed(line);
    const bool is_cut_short = file.eof() && object.is_discarded();
    if (is_cut_short) break;
    const Json named = object.is_object() ? value_of(object, "event") : Json();
    // As a text: where memory runs out, a comparison of Json with a text ends the program.
    const std::string event = named.is_string() ? named.get<std::string>() : std::string();
    if (event == "run") {
      run.start = object;
      const Json began = value_of(object, "began");
      run.parts.push_back({run.steps.size(), began.is_string() ? began.get<std::string>() : ""});
    } else if (event == "step") {
      run.steps.push_back(object);
    } else if (event == "evaluation") {
      run.evaluations.push_back(object);
    } else if (event == "summary") {
      run.summary = object;
    } else {
      throw Error(name + ": line " + std::to_string(number) +
                  ": no line of a training; neap train --out writes run.jsonl, and --json the "
                  "same lines to standard output");
    }
  }
  if (file.bad()) {
    throw Error(name +
                ": it cannot be read to its end; check the disk, or end programs "
                "that take much memory");
  }
  if (run.start.is_null() && run.steps.empty() && run.summary.is_null()) {
    throw Error(name + ": it has no line of a training");
  }
  return run;
}

std::vector<std::string> names_of(const std::vector<std::filesystem::path>& files) {
  const auto name_of = [](const std::filesystem::path& file, int parts) {
    std::filesystem::path name = file.filename();
    std::filesystem::path rest = file;
    for (int i = 1; i < parts && rest.has_parent_path(); ++i) {
      rest = rest.parent_path();
      name = rest.filename() / name;
    }
    return name.string();
  };
  constexpr int kMostParts = 8;
  const std::size_t paths = std::set(files.begin(), files.end()).size();
  std::vector<std::string> names(files.size());
  std::set<std::string> different;
  for (int parts = 1; parts <= kMostParts && different.size() < paths; ++parts) {
    std::ranges::transform(files, names.begin(), [&](const auto& f) { return name_of(f, parts); });
    different = {names.begin(), names.end()};
  }
  const std::multiset<std::string> all(names.begin(), names.end());
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (all.count(names[i]) > 1) names[i] += " (" + std::to_string(i + 1) + ")";
  }
  return names;
}

void name_runs(std::vector<TrainingRun>& runs) {
  std::vector<std::filesystem::path> files;
  for (const TrainingRun& run : runs) files.push_back(run.file);
  const std::vector<std::string> names = names_of(files);
  for (std::size_t i = 0; i < runs.size(); ++i) runs[i].name = names[i];
}

void add_run_sections(Page& page, const std::vector<TrainingRun>& runs) {
  if (runs.empty()) return;
  if (runs.size() == 1 && runs.front().start.is_object()) {
    add_facts(page, runs.front().start);
  }
  add_comparison(page, runs);
  const auto steps = &TrainingRun::steps;
  const auto evaluations = &TrainingRun::evaluations;
  add_curve(page, runs, steps, "Loss", "loss", "");
  add_curve(page, runs, evaluations, "Test loss", "test_loss", "");
  add_curve(page, runs, evaluations, "Test accuracy", "accuracy", "percent", 100);
  add_curve(page, runs, steps, "Peak of each step", "peak_bytes", "bytes");
  add_curve(page, runs, steps, "Time of each step", "took_ms", "ns", kNsOfMs);
  add_curve(page, runs, steps, "Operators that ran again", "replays", "");
  add_curve(page, runs, steps, "Learning rate", "learning_rate", "");
  add_curve(page, runs, steps, "Gradient norm", "gradient_norm", "");
}

}  // namespace neap::app
