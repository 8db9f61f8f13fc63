// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/graph.h: a training step as plain data, a plan for it, and the simulator of both. Does not
// depend on LibTorch.
//
//   const neap::graph::Trace trace = neap::graph::read_trace("step.jsonl");
//   const neap::graph::Plan plan = neap::graph::read_plan("plan.jsonl");
//   const neap::graph::Outcome outcome = neap::graph::simulate(trace, plan);
//   std::cout << outcome.peak << " bytes, " << outcome.reruns << " reruns\n";
//
// Units: bytes, nanoseconds. Threads: every type here is a value; there is no shared state.
//
// Note [Versions]
// The contents of a storage have versions: 0 when it is made or given, plus one after each operator
// that writes into it. An operator needs exactly the versions that it read in the trace. To restore
// a storage that was written into, its maker runs again, and then each writer, in order. An
// operator that writes into a given storage never runs again.
//
// Note [Copies]
// A storage may also come back by a copy, from a *tier*: a place outside of the budget, such as a
// file. Copies of each direction are made one after the other, beside the operators: an operator
// waits only for what it reads, and the memory of a storage that is copied out goes when the copy
// has ended. A copy is of the storage's current version, and good until the storage is written
// into. So the peak of a plan depends on its steps alone, and only its time on the two bandwidths.
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

// A storage that no operator of the trace makes, so that none can restore it. If it precedes the
// first operator, it exists from the start; otherwise from the end of the operator before it.
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
  // Given storages that only the first run writes, as running statistics. A rerun neither reads nor
  // writes them.
  std::vector<StorageId> mutates_once = {};
  std::vector<Made> makes = {};
  std::int64_t ns = 0;
  std::int64_t workspace = 0;  // bytes that live only while it runs, without what it makes
  bool random = false;
  bool replayable = true;
  // A hash of all operators of the step up to this one, with their sizes and storages, as neap's
  // engine computes it; 0: unknown. When it is known, the storages of the step have the engine's
  // numbers.
  std::uint64_t call = 0;
  // What the allocator held of the system when it ended: live, or kept for reuse; 0: unknown.
  std::int64_t reserved = 0;

  bool operator==(const Operator&) const = default;
};

// The program drops the storage after the preceding operator. No later operator uses it.
struct Release {
  StorageId storage = 0;

  bool operator==(const Release&) const = default;
};

using Event = std::variant<Given, Operator, Release>;

// One training step. Event number i is in line i + 2 of its file; messages name that line.
struct Trace {
  std::vector<Event> events = {};
  std::vector<StorageId> keep = {};  // storages that must hold their data at the end
  std::string label = {};
  std::string device = "cpu";
  std::string torch = {};     // LibTorch's version
  std::int64_t reserved = 0;  // as Operator::reserved, before the first one
  // How fast copies go to the tier and come back; both 0: there is no tier.
  std::int64_t out_bytes_per_s = 0;
  std::int64_t in_bytes_per_s = 0;

  bool operator==(const Trace&) const = default;
};

// A plan is a list of steps. Run: runs an operator for the first time; every operator runs, in the
// order of the trace. Rerun: runs it again, to restore those of its results that were freed. Free:
// frees the bytes of a storage. Offload: begins to copy a storage to the tier; it stays resident.
// Load: takes memory for a storage that has a copy, and begins to copy it back.
struct Step {
  enum class Action : std::uint8_t { Run, Rerun, Free, Offload, Load };
  Action action = Action::Run;
  std::int64_t target = 0;  // for Run and Rerun, an operator, counted from 0; else a storage

  bool operator==(const Step&) const = default;
};

// What neap must know of an operator to follow a plan from the first step on, before it has seen a
// step.
struct Foreseen {
  std::uint64_t call = 0;                // Operator::call
  std::vector<StorageId> changes = {};   // the storages that it makes or writes in place
  std::vector<StorageId> releases = {};  // the storages that the program drops after it

  bool operator==(const Foreseen&) const = default;
};

// Step number i is in line i + 2 of its file.
struct Plan {
  std::int64_t budget = 0;
  std::int64_t predicted_peak = 0;
  std::int64_t predicted_ns = 0;
  std::vector<Step> steps = {};
  std::vector<Foreseen> operators = {};  // of the step, in order; empty: unknown
  std::string label = {};                // of the trace, for people
  std::int64_t predicted_offloaded = 0;  // the most bytes in the tier

  bool operator==(const Plan&) const = default;
};

// A file that is not a trace or a plan of a known version. Says what is wrong, and in which line.
class NEAP_EXPORT FormatError : public InvalidArgument {
 public:
  FormatError(const std::string& text, std::int64_t line);
  ~FormatError() override;
  std::int64_t line;  // counted from 1
};

// A plan that its trace does not allow. `line` is that of the first step that breaks a rule; 1 for
// a false claim of the header; one more than the last step's for what is missing at the end.
class NEAP_EXPORT BrokenPlan : public InvalidArgument {
 public:
  BrokenPlan(const std::string& text, std::int64_t line);
  ~BrokenPlan() override;
  std::int64_t line;
};

// JSON Lines: a trace of version 1, a plan of version 1, or 2 when it uses the tier. A path may
// name a file compressed by gzip. Memory: that of the result, plus one parsed line of at most 1 MiB
// (50 MiB). Unknown keys are ignored. `name` is for messages.
// Throws: FormatError, with the line, for an unknown version, a missing key, a wrong type, an id
// that was never defined or is defined twice, a use after its release, a line after the end or
// longer than 1 MiB, a file that is cut short;
// InvalidArgument, with the path, for a file that cannot be read.
NEAP_EXPORT Trace read_trace(const std::filesystem::path& path);
NEAP_EXPORT Trace read_trace(std::istream& in, const std::string& name);
// A plan is read without its trace. simulate() checks that they match.
NEAP_EXPORT Plan read_plan(const std::filesystem::path& path);
NEAP_EXPORT Plan read_plan(std::istream& in, const std::string& name);
// Reading back what was written gives an equal value. The state of the stream says whether writing
// succeeded.
// Throws: FormatError, with the line, for a value that could not be read back; the lines before it
// are written then.
NEAP_EXPORT void write_trace(const Trace& trace, std::ostream& out);
NEAP_EXPORT void write_plan(const Plan& plan, std::ostream& out);

// The result of a step under a plan.
struct Outcome {
  // Largest sum of what is resident, being made, and needed while an operator runs.
  std::int64_t peak = 0;
  // The plan's step that reaches it, counted from 0; -1: before the first.
  std::int64_t peak_step = -1;
  std::int64_t ns = 0;         // of all runs and reruns, and of all waits for copies
  std::int64_t waited_ns = 0;  // of these waits
  std::int64_t reruns = 0;
  std::int64_t offloaded_peak = 0;  // the most bytes in the tier
};

// Defines the peak and the time of a plan. Cost: linear; 100,000 operators in less than 0.1 s:
// bench/plans.md.
// Throws: BrokenPlan for the first rule that is broken; FormatError when the trace is invalid.
NEAP_EXPORT Outcome simulate(const Trace& trace, const Plan& plan);
// As simulate(), and checks the claims of the plan: `predicted_peak`, `predicted_ns`,
// `predicted_offloaded`, and a peak inside `budget`.
// Throws: also BrokenPlan of line 1 for a false claim.
NEAP_EXPORT Outcome verify(const Trace& trace, const Plan& plan);

// The trace's operators in the form of Plan::operators. `call` is copied: 0 where it is unknown.
NEAP_EXPORT std::vector<Foreseen> foreseen(const Trace& trace);

// The step without neap: nothing runs twice, and each storage is freed at its release, except
// those in Trace::keep. Its budget is its peak.
NEAP_EXPORT Plan plain_plan(const Trace& trace);

// The plain step, with the storages that are alive at some moments.
struct PlainRun {
  std::int64_t given = 0;  // bytes of all given storages
  // Largest sum of what lives and of what an operator makes and needs while it runs.
  std::int64_t peak = 0;
  // The operator that reaches it, counted from 0; -1: before the first.
  std::int64_t peak_operator = -1;
  std::int64_t workspace = 0;      // of that operator
  std::vector<StorageId> at_peak;  // storages that live while it runs, results included
  // Storages that live when the first backward operator begins; without one, at the end.
  std::vector<StorageId> after_forward;
  std::vector<StorageId> at_end;
};

// Throws: FormatError when a storage is defined twice, or used or released before it is defined or
// after its release.
NEAP_EXPORT PlainRun run_plainly(const Trace& trace);

}  // namespace neap::graph
