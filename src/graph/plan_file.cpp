// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Plan files, version 1, and version 2, which has the steps of the tier and predicted_offloaded:
//   plan := head step*
//   step := run | rerun | free | offload | load
// A plan is written in the lowest version that can hold it.
// Either all runs have the keys of Foreseen, or none has.
// A plan has no end line. When a file is cut short between two lines, simulate() notices it, not
// this reader.
#include "graph/json_lines.h"

#include <algorithm>
#include <array>

namespace neap::graph {
namespace {

enum class Kind : std::uint8_t { Head, Run, Rerun, Free, Offload, Load };
constexpr std::array<std::string_view, 6> kKinds{"neap_plan", "run",     "rerun",
                                                 "free",      "offload", "load"};
constexpr std::int64_t kNewest = 2;

constexpr bool needs_a_tier(Step::Action action) {
  return action == Step::Action::Offload || action == Step::Action::Load;
}

Step::Action action_of(Kind kind, const JsonObject& line) {
  switch (kind) {
    case Kind::Run:
      return Step::Action::Run;
    case Kind::Rerun:
      return Step::Action::Rerun;
    case Kind::Free:
      return Step::Action::Free;
    case Kind::Offload:
      return Step::Action::Offload;
    case Kind::Load:
      return Step::Action::Load;
    case Kind::Head:
      break;
  }
  line.refuse("is a second head; a file holds one plan");
}

std::string_view key_of(Step::Action action) {
  switch (action) {
    case Step::Action::Run:
      return "run";
    case Step::Action::Rerun:
      return "rerun";
    case Step::Action::Offload:
      return "offload";
    case Step::Action::Load:
      return "load";
    case Step::Action::Free:
      break;
  }
  return "free";
}

Foreseen read_foreseen(const JsonObject& line) {
  return {.call = line.hash("call"),
          .changes = line.numbers("changes"),
          .releases = line.numbers("releases")};
}

Plan read(JsonLines lines) {
  const JsonObject head = lines.head(kKinds, kNewest);
  const std::int64_t version = head.number(kKinds[0]);
  Plan plan{.budget = head.number("budget"),
            .predicted_peak = head.number("predicted_peak"),
            .predicted_ns = head.number("predicted_ns")};
  if (version > 1) plan.predicted_offloaded = head.number("predicted_offloaded");
  if (head.has("label")) plan.label = head.text("label");
  std::size_t runs = 0;
  while (const std::optional<JsonObject> line = lines.next()) {
    const Step::Action action = action_of(static_cast<Kind>(line->kind(kKinds)), *line);
    if (needs_a_tier(action) && version == 1) {
      line->refuse("\"" + std::string(key_of(action)) +
                   "\": a plan with this step has version 2, and the head says 1");
    }
    plan.steps.push_back({action, line->number(key_of(action))});
    if (action != Step::Action::Run) continue;
    if (line->has("call")) plan.operators.push_back(read_foreseen(*line));
    if (++runs != plan.operators.size() && !plan.operators.empty()) {
      line->refuse("\"call\": expected in each line of a run or in none, and the lines before " +
                   std::string(line->has("call") ? "have none" : "have one"));
    }
  }
  return plan;
}

}  // namespace

Plan read_plan(const std::filesystem::path& path) {
  return read(JsonLines(open_file(path), path.string()));
}

Plan read_plan(std::istream& in, const std::string& name) {
  return read(JsonLines(open_stream(in, name), name));
}

void write_plan(const Plan& plan, std::ostream& out) {
  std::int64_t number = 1;
  LineWriter head("plan", number);
  const bool uses_a_tier =
      plan.predicted_offloaded != 0 || std::ranges::any_of(plan.steps, needs_a_tier, &Step::action);
  head.number("neap_plan", uses_a_tier ? kNewest : 1);
  head.number("budget", plan.budget);
  head.number("predicted_peak", plan.predicted_peak);
  head.number("predicted_ns", plan.predicted_ns);
  if (uses_a_tier) head.number("predicted_offloaded", plan.predicted_offloaded);
  if (!plan.label.empty()) head.text("label", plan.label);
  const auto all = std::ranges::count(plan.steps, Step::Action::Run, &Step::action);
  const bool foresees = !plan.operators.empty();
  if (foresees && plan.operators.size() != static_cast<std::size_t>(all)) {
    head.refuse("something is foreseen of " + std::to_string(plan.operators.size()) +
                " operators, and " + std::to_string(all) + " run");
  }
  head.finish(out);
  std::size_t runs = 0;
  for (const Step& step : plan.steps) {
    LineWriter line("plan", ++number);
    line.number(key_of(step.action), step.target);
    if (step.action == Step::Action::Run && foresees) {
      const Foreseen& one = plan.operators[runs++];
      line.hash("call", one.call);
      line.numbers("changes", one.changes);
      line.numbers("releases", one.releases);
    }
    line.finish(out);
  }
}

}  // namespace neap::graph
