// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "autoplan/plan_cache.h"
#include "bench/traces/generators.h"
#include "no_memory/scenarios.h"
#include "output.h"
#include "run_record.h"

#include <neap/graph.h>
#include <neap/machine.h>
#include <neap/planner.h>

#include <chrono>
#include <fstream>
#include <iterator>
#include <ostream>

namespace neap::no_memory {
namespace {

namespace fs = std::filesystem;

const graph::Trace& small_trace() {
  static const graph::Trace trace = bench::make_trace(bench::families()[0], 100, 1);
  return trace;
}

std::string solved(Bytes budget) {
  const planner::Solution solution = planner::solve(
      small_trace(), {.budget = budget, .time_limit = std::chrono::milliseconds(0), .threads = 1});
  graph::verify(small_trace(), solution.plan);
  return "solved";
}

// A file that an option names. A stream keeps its errors to itself, and a part of the text could
// become the file.
Scenario text_file(const std::string& name, std::function<void(std::ostream&)> write) {
  return {.name = "writing " + name,
          .prepare =
              [name](const fs::path& folder) {
                OutputFile file(folder / name);
                file.append("what was there before");
                file.finish();
              },
          .act =
              [name, write = std::move(write)](const fs::path& folder) {
                app::ReportFile("--out", folder / name).write(write);
                return std::string();
              },
          .found = files_below,
          .gives_all_back = true};
}

autoplan::CachedStep cached_step(std::int64_t peak) {
  autoplan::CachedStep cached{.budget = 4096, .base = 1000, .margin = 16, .step = {}};
  cached.step.calls = {11, 22, 33};
  cached.step.operators = {{0, 0, 0, 0, 0, 0, 1}, {1, 2, 2, 3, 3, 4, 4}, {4, 4, 4, 4, 4, 4, 4}};
  cached.step.blocks = {5, 6, 7, 2};
  cached.step.predicted_peak = peak;
  return cached;
}

// Lines are added one by one, so the file may end after each of them.
std::string whole_lines(const fs::path& folder) {
  std::ifstream file(folder / "run.jsonl");
  const std::string text(std::istreambuf_iterator<char>(file), {});
  const std::string all = "{\"event\":\"run\"}\n{\"event\":\"step\",\"step\":1}\n";
  const bool is_whole = text.empty() || text.ends_with('\n');
  return is_whole && all.starts_with(text) ? "whole" : text;
}

}  // namespace

std::vector<Scenario> planners_and_writers() {
  const auto nothing = [](const fs::path&) {};
  std::vector<Scenario> all;
  all.push_back(
      {.name = "a plan for a small trace",
       .prepare = nothing,
       .act = [](const fs::path&) { return solved(planner::budget_of_share(small_trace(), 0.6)); },
       .found = [](const fs::path&) { return std::string(); }});
  all.push_back(
      text_file("trace.jsonl", [](std::ostream& out) { graph::write_trace(small_trace(), out); }));
  all.push_back(text_file("page.html.gz", [](std::ostream& out) { out << "a report"; }));
  all.push_back({.name = "the plan cache",
                 .prepare = nothing,
                 .act =
                     [](const fs::path& folder) {
                       autoplan::write_cached(folder / "plans", cached_step(4000));
                       return std::to_string(
                           autoplan::read_cached(folder / "plans", 4096, false, 4).steps.size());
                     },
                 .found = files_below,
                 .gives_all_back = true});
  // Made before, since nlohmann-json leaks what it has made of a list in braces when it finds no
  // memory for the rest.
  const nlohmann::ordered_json start{{"event", "run"}};
  const nlohmann::json step{{"event", "step"}, {"step", 1}};
  all.push_back({.name = "run.jsonl",
                 .prepare = nothing,
                 .act =
                     [start, step](const fs::path& folder) {
                       app::RunRecord record(folder, start, 0, false);
                       const std::string wrong = record.add(step);
                       if (!wrong.empty()) throw Error(wrong + " (memory)");
                       return std::string();
                     },
                 .found = whole_lines,
                 .left = files_below,
                 .gives_all_back = true});
  return all;
}

}  // namespace neap::no_memory
