// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "graph/simulator.h"

#include <limits>

namespace neap::graph {

Simulator::Simulator(const Program& program)
    : program_(program), states_(static_cast<std::size_t>(program.storages())) {
  arrive(kNone);
  ++line_;
}

void Simulator::run(Index op) {
  if (op != next_) {
    fail("run of operator " + std::to_string(op) + ", but the next one that has not run is " +
         (next_ < program_.operators() ? std::to_string(next_) : "none"));
  }
  check_needs(op, "run");
  const Program::Op& flat = program_.op(op);
  count(resident_ + flat.makes_bytes + flat.workspace);
  for (const Content& one : program_.mutates(op)) {
    State& at = state(one.storage);
    at.version = ++at.current;
  }
  for (const Index storage : program_.mutates_once(op)) {
    State& at = state(storage);
    at.version = ++at.current;
  }
  for (const Index storage : program_.makes(op)) state(storage).version = 0;
  resident_ += flat.makes_bytes;
  outcome_.ns += flat.ns;
  ++next_;
  arrive(op);
  ++line_;
}

void Simulator::rerun(Index op) {
  if (op < 0 || op >= next_) {
    fail("rerun of operator " + std::to_string(op) + ", which has not run");
  }
  const Program::Op& flat = program_.op(op);
  if (!flat.replayable) {
    fail("rerun of operator " + std::to_string(op) + ", which must not run again");
  }
  if (flat.ns > std::numeric_limits<std::int64_t>::max() - outcome_.ns) {
    fail("rerun of operator " + std::to_string(op) + " makes the time pass 2^63 - 1 ns");
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
  count(resident_ + flat.makes_bytes + flat.workspace);
  for (const Content& one : program_.mutates(op)) ++state(one.storage).version;
  for (const Index storage : program_.makes(op)) {
    if (state(storage).version == kNone) state(storage).version = 0;
  }
  resident_ += back;
  outcome_.ns += flat.ns;
  ++outcome_.reruns;
  ++line_;
}

void Simulator::free(Index storage) {
  const State& at = state(storage);
  if (at.version == kNone) fail("free of " + name(storage) + ", which is not resident");
  const Program::Storage& one = program_.storage(storage);
  if (one.given && one.released >= next_) {
    fail("free of " + name(storage) + ", which is given and not released yet");
  }
  if (half_restored(storage)) {
    fail("free of " + name(storage) + " at version " + std::to_string(at.version) + " of " +
         std::to_string(at.current) + ": its other writers must run again first");
  }
  state(storage).version = kNone;
  resident_ -= one.bytes;
  ++line_;
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
    if (program_.storage(storage).keep && at.version != at.current) {
      fail("the plan ends without " + name(storage) + ", which is to be kept");
    }
  }
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
  const auto operator_of = [&](const Step& step) {
    if (step.target < 0 || step.target >= program.operators()) {
      simulator.fail("operator " + std::to_string(step.target) + " is none of the trace's " +
                     std::to_string(program.operators()));
    }
    return static_cast<Index>(step.target);
  };
  for (const Step& step : plan.steps) {
    switch (step.action) {
      case Step::Action::Run:
        simulator.run(operator_of(step));
        break;
      case Step::Action::Rerun:
        simulator.rerun(operator_of(step));
        break;
      case Step::Action::Free: {
        const Index storage = program.index_of(step.target);
        if (storage == kNone) {
          simulator.fail("storage " + std::to_string(step.target) + " is none of the trace's");
        }
        simulator.free(storage);
        break;
      }
    }
  }
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
