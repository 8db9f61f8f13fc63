// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "graph/simulator.h"

#include <algorithm>
#include <limits>

namespace neap::graph {

Simulator::Simulator(const Program& program)
    : program_(program), states_(static_cast<std::size_t>(program.storages())) {
  arrive(kNone);
  ++line_;
}

void Simulator::take(const Step& step) {
  switch (step.action) {
    case Step::Action::Run:
      run(operator_of(step));
      break;
    case Step::Action::Rerun:
      rerun(operator_of(step));
      break;
    case Step::Action::Free:
      free(storage_of(step));
      break;
    case Step::Action::Offload:
      offload(storage_of(step));
      break;
    case Step::Action::Load:
      load(storage_of(step));
      break;
  }
  ++line_;
}

Index Simulator::operator_of(const Step& step) const {
  if (step.target < 0 || step.target >= program_.operators()) {
    fail("operator " + std::to_string(step.target) + " is none of the trace's " +
         std::to_string(program_.operators()));
  }
  return static_cast<Index>(step.target);
}

Index Simulator::storage_of(const Step& step) const {
  const Index storage = program_.index_of(step.target);
  if (storage == kNone) fail("storage " + std::to_string(step.target) + " is none of the trace's");
  return storage;
}

void Simulator::run(Index op) {
  if (op != next_) {
    fail("run of operator " + std::to_string(op) + ", but the next one that has not run is " +
         (next_ < program_.operators() ? std::to_string(next_) : "none"));
  }
  check_needs(op, "run");
  for (const Index storage : program_.mutates_once(op)) {
    if (state(storage).version != kNone) continue;
    fail("run of operator " + std::to_string(op) + ": " + name(storage) + " is not resident");
  }
  wait_for(op, true);
  const Program::Op& flat = program_.op(op);
  count(resident_ + flat.makes_bytes + flat.workspace);
  for (const Content& one : program_.mutates(op)) {
    write(one.storage);
    State& at = state(one.storage);
    at.version = ++at.current;
  }
  for (const Index storage : program_.mutates_once(op)) {
    write(storage);
    State& at = state(storage);
    at.version = ++at.current;
  }
  for (const Index storage : program_.makes(op)) state(storage).version = 0;
  resident_ += flat.makes_bytes;
  pass(flat.ns, "run of operator " + std::to_string(op));
  ++next_;
  arrive(op);
}

void Simulator::rerun(Index op) {
  if (op >= next_) fail("rerun of operator " + std::to_string(op) + ", which has not run");
  const Program::Op& flat = program_.op(op);
  if (!flat.replayable) {
    fail("rerun of operator " + std::to_string(op) + ", which must not run again");
  }
  check_needs(op, "rerun");
  std::int64_t back = 0;
  bool brings = !program_.mutates(op).empty();
  for (const Index storage : program_.makes(op)) {
    if (state(storage).version != kNone) continue;
    brings = true;
    back += program_.storage(storage).bytes;
  }
  if (!brings) {
    fail("rerun of operator " + std::to_string(op) +
         " brings nothing back: all that it makes is resident");
  }
  wait_for(op, false);
  pass(flat.ns, "rerun of operator " + std::to_string(op));
  count(resident_ + flat.makes_bytes + flat.workspace);
  for (const Content& one : program_.mutates(op)) {
    write(one.storage);
    ++state(one.storage).version;
  }
  for (const Index storage : program_.makes(op)) {
    if (state(storage).version == kNone) state(storage).version = 0;
  }
  resident_ += back;
  ++outcome_.reruns;
}

void Simulator::free(Index storage) {
  State& at = state(storage);
  if (at.version == kNone) fail("free of " + name(storage) + ", which is not resident");
  const Program::Storage& one = program_.storage(storage);
  if (one.given && one.released >= next_ && at.copy == kNone) {
    fail("free of " + name(storage) + ", which is given and not released yet" +
         (program_.has_tier() ? ", and has no copy" : ""));
  }
  if (half_restored(storage)) {
    fail("free of " + name(storage) + " at version " + std::to_string(at.version) + " of " +
         std::to_string(at.current) + ": its other writers must run again first");
  }
  now_ = std::max({now_, at.copied, at.ready});
  at.version = kNone;
  resident_ -= one.bytes;
}

void Simulator::offload(Index storage) {
  if (!program_.has_tier()) {
    fail("offload of " + name(storage) + ", but the trace's head has no out_bytes_per_s");
  }
  State& at = state(storage);
  if (at.version == kNone) fail("offload of " + name(storage) + ", which is not resident");
  if (at.version != at.current) {
    fail("offload of " + name(storage) + " at version " + std::to_string(at.version) + " of " +
         std::to_string(at.current) + "; a copy is of the last version");
  }
  if (at.copy != kNone) {
    fail("offload of " + name(storage) + ", which has a copy already, from line " +
         std::to_string(copies_[static_cast<std::size_t>(at.copy)].begun));
  }
  at.copied = copied_by(std::max({now_, out_free_, at.ready}), storage, program_.out_bytes_per_s(),
                        "offload of ");
  out_free_ = at.copied;
  at.copy = static_cast<Index>(copies_.size());
  copies_.push_back({storage, line_});
}

void Simulator::load(Index storage) {
  State& at = state(storage);
  if (at.version != kNone) fail("load of " + name(storage) + ", which is resident");
  if (at.copy == kNone) fail("load of " + name(storage) + ", which has no copy");
  at.ready = copied_by(std::max({now_, in_free_, at.copied}), storage, program_.in_bytes_per_s(),
                       "load of ");
  in_free_ = at.ready;
  at.version = at.current;
  resident_ += program_.storage(storage).bytes;
  copies_[static_cast<std::size_t>(at.copy)].last = line_;
  count(resident_);
}

void Simulator::end() {
  if (next_ < program_.operators()) {
    fail("the plan ends, but operator " + std::to_string(next_) + " has not run");
  }
  for (Index storage = 0; storage < program_.storages(); ++storage) {
    const State& at = state(storage);
    if (half_restored(storage)) {
      fail("the plan ends with " + name(storage) + " at version " + std::to_string(at.version) +
           " of " + std::to_string(at.current) + ": its other writers must run again");
    }
    const Program::Storage& one = program_.storage(storage);
    if (one.keep && at.version != at.current) {
      fail("the plan ends without " + name(storage) + ", which is to be kept");
    }
    if (one.given && one.released == kNever && at.version == kNone) {
      fail("the plan ends without " + name(storage) + ", which is given and not released");
    }
    if (at.copy != kNone) write(storage);
    // What is loaded at the end must have arrived.
    if (at.version != kNone) now_ = std::max(now_, at.ready);
  }
  count_copies();
  outcome_.waited_ns = now_ - outcome_.ns;
  outcome_.ns = now_;
}

void Simulator::check_needs(Index op, const char* what) const {
  for (const Content& one : program_.needs(op)) {
    const Index version = state(one.storage).version;
    if (version == one.version) continue;
    const std::string who = std::string(what) + " of operator " + std::to_string(op) + ": ";
    if (version == kNone) fail(who + name(one.storage) + " is not resident");
    fail(who + name(one.storage) + " is resident at version " + std::to_string(version) +
         ", needed at " + std::to_string(one.version));
  }
}

void Simulator::wait_for(Index op, bool first) {
  for (const Content& one : program_.needs(op)) now_ = std::max(now_, state(one.storage).ready);
  for (const Content& one : program_.mutates(op)) now_ = std::max(now_, state(one.storage).copied);
  if (!first) return;
  for (const Index storage : program_.mutates_once(op)) {
    now_ = std::max({now_, state(storage).ready, state(storage).copied});
  }
}

// The storage's content changes, or the plan ends: its copy is of no more use.
void Simulator::write(Index storage) {
  State& at = state(storage);
  if (at.copy == kNone) return;
  const Copy& copy = copies_[static_cast<std::size_t>(at.copy)];
  if (copy.last == 0) {
    fail("the copy of " + name(storage) + " from line " + std::to_string(copy.begun) +
         " is never loaded");
  }
  at.copy = kNone;
}

void Simulator::pass(std::int64_t ns, const std::string& what) {
  if (ns > std::numeric_limits<std::int64_t>::max() - now_) {
    fail(what + " makes the time pass 2^63 - 1 ns");
  }
  now_ += ns;
  outcome_.ns += ns;
}

// When a copy that begins at `start` ends.
std::int64_t Simulator::copied_by(std::int64_t start, Index storage, std::int64_t bytes_per_s,
                                  const char* what) const {
  const std::optional<std::int64_t> ns = copy_ns(program_.storage(storage).bytes, bytes_per_s);
  if (!ns || *ns > std::numeric_limits<std::int64_t>::max() - start) {
    fail(what + name(storage) + " makes the time pass 2^63 - 1 ns");
  }
  return start + *ns;
}

// A copy counts from its offload to its last load, both included.
void Simulator::count_copies() {
  std::vector<std::int64_t> change(copies_.empty() ? 0 : static_cast<std::size_t>(line_) + 1, 0);
  for (const Copy& copy : copies_) {
    const std::int64_t bytes = program_.storage(copy.storage).bytes;
    change[static_cast<std::size_t>(copy.begun)] += bytes;
    change[static_cast<std::size_t>(copy.last) + 1] -= bytes;
  }
  std::int64_t bytes = 0;
  for (const std::int64_t one : change) {
    bytes += one;
    outcome_.offloaded_peak = std::max(outcome_.offloaded_peak, bytes);
  }
}

void Simulator::arrive(Index op) {
  for (const Index storage : program_.arrivals(op)) {
    state(storage).version = 0;
    resident_ += program_.storage(storage).bytes;
  }
  count(resident_);
}

// Names the first step that reaches the peak.
void Simulator::count(std::int64_t bytes) {
  if (bytes <= outcome_.peak) return;
  outcome_.peak = bytes;
  outcome_.peak_step = line_ - 2;
}

std::string Simulator::name(Index storage) const {
  return "storage " + std::to_string(program_.storage(storage).id) + " (" +
         Bytes(program_.storage(storage).bytes).text() + ")";
}

void Simulator::fail(const std::string& what) const {
  throw BrokenPlan("plan: line " + std::to_string(line_) + ": " + what, line_);
}

namespace {

Outcome simulate(const Program& program, const Plan& plan) {
  Simulator simulator(program);
  for (const Step& step : plan.steps) simulator.take(step);
  simulator.end();
  return simulator.outcome();
}

void expect(std::int64_t claimed, std::int64_t is, const char* key) {
  if (claimed == is) return;
  throw BrokenPlan("plan: line 1: " + std::string(key) + " says " + std::to_string(claimed) +
                       ", by the steps it is " + std::to_string(is),
                   1);
}

}  // namespace

Outcome simulate(const Trace& trace, const Plan& plan) { return simulate(Program(trace), plan); }

Outcome verify(const Trace& trace, const Plan& plan) {
  const Outcome outcome = simulate(trace, plan);
  expect(plan.predicted_peak, outcome.peak, "predicted_peak");
  expect(plan.predicted_ns, outcome.ns, "predicted_ns");
  expect(plan.predicted_offloaded, outcome.offloaded_peak, "predicted_offloaded");
  if (outcome.peak > plan.budget) {
    throw BrokenPlan("plan: line 1: its peak of " + std::to_string(outcome.peak) +
                         " bytes passes its budget of " + std::to_string(plan.budget),
                     1);
  }
  return outcome;
}

Plan plain_plan(const Trace& trace) {
  const Program program(trace);
  Plan plan;
  Index ran = 0;
  for (const Event& event : trace.events) {
    if (std::holds_alternative<Operator>(event)) {
      plan.steps.push_back({Step::Action::Run, ran++});
    } else if (const auto* const release = std::get_if<Release>(&event)) {
      const Index storage = program.index_of(release->storage);
      if (!program.storage(storage).keep) {
        plan.steps.push_back({Step::Action::Free, release->storage});
      }
    }
  }
  const Outcome outcome = simulate(program, plan);
  plan.predicted_peak = plan.budget = outcome.peak;
  plan.predicted_ns = outcome.ns;
  return plan;
}

}  // namespace neap::graph
