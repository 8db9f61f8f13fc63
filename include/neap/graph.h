// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/graph.h: a training step as plain data, a plan for it, and the one simulator of both. Knows nothing of LibTorch.
//
//   const neap::graph::Trace trace = neap::graph::read_trace("step.jsonl");
//   const neap::graph::Plan plan = neap::graph::read_plan("plan.jsonl");
//   const neap::graph::Outcome outcome = neap::graph::simulate(trace, plan);
//   std::cout << outcome.peak << " bytes, " << outcome.reruns << " reruns\n";
//
// Units: bytes, nanoseconds. Threads: everything here is a value; no shared state.
//
// Note [Versions]
// Contents of a storage have versions: 0 when it is made or given, one more after each operator that writes into it. An operator
// needs exactly the versions that it read in the trace. So a storage that was written into comes back by running its maker again
// and then each writer, in order. An operator that writes into a given storage never runs again.
#pragma once

#include <neap/base.h>

#include <cstdint>
#include <filesystem>
#include <iosfwd>
#include <string>
#include <variant>
#include <vector>

namespace neap::graph {

// A storage's number in its trace.
using StorageId = std::int64_t;

enum class StorageKind : std::uint8_t { Constant, Parameter, Buffer, Input, Gradient, Optimizer };
enum class Phase : std::uint8_t { Forward, Backward, Optimizer, Other };

// A storage that no operator of the trace makes, and none can make again. Before the first operator it is there from the start;
// after one, from where that operator has run.
struct Given {
  StorageId storage = 0;
  std::int64_t bytes = 0;
  StorageKind kind = StorageKind::Constant;

  bool operator==(const Given&) const = default;
};

struct Made {
  StorageId storage = 0;
  std::int64_t bytes = 0;

  bool operator==(const Made&) const = default;
};

struct Operator {
  std::string name = {};   // aten::addmm
  std::string layer = {};  // encoder.0.linear1; empty: not known
  Phase phase = Phase::Other;
  std::vector<StorageId> reads = {};
  std::vector<StorageId> mutates = {};  // written in place
  // Given storages, written by the first run only; a rerun neither reads nor writes them: running statistics.
  std::vector<StorageId> mutates_once = {};
  std::vector<Made> makes = {};
  std::int64_t ns = 0;
  std::int64_t workspace = 0;  // bytes that live only while it runs, what it makes not counted
  bool random = false;
  bool replayable = true;
  // All operators of the step so far, with their sizes and storages, as a hash that neap's engine knows again; 0: not known. Where
  // it is known, the step's storages have the engine's numbers.
  std::uint64_t call = 0;

  bool operator==(const Operator&) const = default;
};

// After the operator before it, the program holds the storage no longer, and no later operator uses it.
struct Release {
  StorageId storage = 0;

  bool operator==(const Release&) const = default;
};

using Event = std::variant<Given, Operator, Release>;

// One training step. Event number i stands in line i + 2 of its file; messages name that line.
struct Trace {
  std::vector<Event> events = {};
  std::vector<StorageId> keep = {};  // what must hold its data at the end
  std::string label = {};
  std::string device = "cpu";
  std::string torch = {};  // LibTorch's version

  bool operator==(const Trace&) const = default;
};

// What to do, in order. Run: an operator for the first time; all of them, in their order. Rerun: again, to bring back those of
// its results that are gone. Free: the storage's bytes go.
struct Step {
  enum class Action : std::uint8_t { Run, Rerun, Free };
  Action action = Action::Run;
  std::int64_t target = 0;  // an operator, counted from 0; of Free: a storage

  bool operator==(const Step&) const = default;
};

// What of an operator has to be known so that neap follows a plan from the first step on, before it has seen one.
struct Foreseen {
  std::uint64_t call = 0;                // Operator::call
  std::vector<StorageId> changes = {};   // what it makes and writes in place
  std::vector<StorageId> releases = {};  // what the program lets go of when it has run

  bool operator==(const Foreseen&) const = default;
};

// Step number i stands in line i + 2 of its file.
struct Plan {
  std::int64_t budget = 0;
  std::int64_t predicted_peak = 0;
  std::int64_t predicted_ns = 0;
  std::vector<Step> steps = {};
  std::vector<Foreseen> operators = {};  // of the step, in order; empty: not known
  std::string label = {};                // of the trace, for people

  bool operator==(const Plan&) const = default;
};

// A file that is no trace or no plan of version 1: what is wrong, and in which line.
class NEAP_EXPORT FormatError : public InvalidArgument {
 public:
  FormatError(const std::string& text, std::int64_t line);
  ~FormatError() override;
  std::int64_t line;  // counted from 1
};

// A plan that its trace does not allow. `line` is that of the first step that breaks a rule, 1 for what the plan claims, one
// more than the last step's for what is missing at the end.
class NEAP_EXPORT BrokenPlan : public InvalidArgument {
 public:
  BrokenPlan(const std::string& text, std::int64_t line);
  ~BrokenPlan() override;
  std::int64_t line;
};

// JSON Lines, version 1. A path may name a file compressed by gzip. Memory: what the result takes, and one line of 1 MiB at
// most, parsed (50 MiB). Unknown keys are ignored. `name`: for messages.
// Throws: FormatError, with the line, for an unknown version, a missing key, a wrong type, an id that was never defined or is
// defined twice, a use after its release, a line after the end or longer than 1 MiB, a file that is cut short;
// InvalidArgument, with the path, for a file that cannot be read.
NEAP_EXPORT Trace read_trace(const std::filesystem::path& path);
NEAP_EXPORT Trace read_trace(std::istream& in, const std::string& name);
// A plan is read without its trace; simulate() says whether they go together.
NEAP_EXPORT Plan read_plan(const std::filesystem::path& path);
NEAP_EXPORT Plan read_plan(std::istream& in, const std::string& name);
// What is written and read again is equal. The stream's state says whether it could be written.
// Throws: FormatError, with the line, for what could not be read again; lines before it are written then.
NEAP_EXPORT void write_trace(const Trace& trace, std::ostream& out);
NEAP_EXPORT void write_plan(const Plan& plan, std::ostream& out);

// A step under a plan.
struct Outcome {
  std::int64_t peak =
      0;  // largest sum of what is resident, is being made, and is needed while an operator runs
  std::int64_t peak_step =
      -1;  // the plan's step in which it was reached, counted from 0; -1: before the first
  std::int64_t ns = 0;  // of all runs and reruns
  std::int64_t reruns = 0;
};

// The one definition of the peak and the time of a plan. Cost: linear; 100,000 operators in less than 0.1 s: bench/plans.md.
// Throws: BrokenPlan for the first rule that is broken; FormatError when the trace is none.
NEAP_EXPORT Outcome simulate(const Trace& trace, const Plan& plan);
// As simulate(), and what the plan claims is true: `predicted_peak`, `predicted_ns`, and a peak inside `budget`.
// Throws: BrokenPlan of line 1 where it is not.
NEAP_EXPORT Outcome verify(const Trace& trace, const Plan& plan);

// What the trace says of the step for Plan::operators, `call` as it is there: 0 where it is not known.
NEAP_EXPORT std::vector<Foreseen> foreseen(const Trace& trace);

// The step without neap: nothing runs twice, and each storage goes at its release. Its budget is its peak.
NEAP_EXPORT Plan plain_plan(const Trace& trace);

// The same with what lives when.
struct PlainRun {
  std::int64_t given = 0;  // bytes of all given storages
  std::int64_t peak =
      0;  // largest sum of what lives, and of what an operator makes and needs while it runs
  std::int64_t peak_operator =
      -1;  // the operator at which it was reached, counted from 0; -1: before the first
  std::int64_t workspace = 0;            // of that operator
  std::vector<StorageId> at_peak;        // what lives while it runs, results included
  std::vector<StorageId> after_forward;  // what lives when the first operator of a backward begins
  std::vector<StorageId> at_end;
};

// Throws: FormatError when a storage is defined twice, or used or released before it is defined or after its release.
NEAP_EXPORT PlainRun run_plainly(const Trace& trace);

}  // namespace neap::graph
