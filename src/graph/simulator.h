// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// graph/simulator.h: one step of a plan after the other, by the rules. The planner walks it too, so that what it counts is
// what simulate() will count.
#pragma once

#include "graph/program.h"

#include <string>
#include <vector>

namespace neap::graph {

class Simulator {
 public:
  explicit Simulator(const Program& program);

  // Each takes the step, or throws BrokenPlan with `line()` and takes nothing.
  void run(Index op);
  void rerun(Index op);
  void free(Index storage);
  // The plan ends here. Throws: BrokenPlan when something is missing.
  void end();

  // The line of the next step.
  [[nodiscard]] std::int64_t line() const { return line_; }
  [[nodiscard]] std::int64_t resident_bytes() const { return resident_; }
  // The version that is resident, kNone when none is.
  [[nodiscard]] Index version(Index storage) const { return state(storage).version; }
  // How often it has been written into so far: the version of the program.
  [[nodiscard]] Index current(Index storage) const { return state(storage).current; }
  [[nodiscard]] Index ran() const { return next_; }  // operators
  [[nodiscard]] const Outcome& outcome() const { return outcome_; }
  [[noreturn]] void fail(const std::string& what) const;

 private:
  struct State {
    Index version = kNone;
    Index current = 0;
  };
  [[nodiscard]] const State& state(Index storage) const {
    return states_[static_cast<std::size_t>(storage)];
  }
  State& state(Index storage) { return states_[static_cast<std::size_t>(storage)]; }
  void check_needs(Index op, const char* what) const;
  void arrive(Index op);
  void count(std::int64_t bytes);
  [[nodiscard]] std::string name(Index storage) const;
  [[nodiscard]] bool half_restored(Index storage) const {
    return state(storage).version > 0 && state(storage).version < state(storage).current;
  }

  const Program& program_;
  std::vector<State> states_;
  std::int64_t resident_ = 0;
  std::int64_t line_ = 1;
  Index next_ = 0;
  Outcome outcome_;
};

}  // namespace neap::graph
