// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// graph/simulator.h: executes the steps of a plan one by one, and checks the rules.
#pragma once

#include "graph/program.h"

#include <string>
#include <vector>

namespace neap::graph {

class Simulator {
 public:
  explicit Simulator(const Program& program);

  // Each executes one step. Throws: BrokenPlan, with the step's line, and changes nothing then.
  void run(Index op);
  void rerun(Index op);
  void free(Index storage);
  // Ends the plan. Throws: BrokenPlan when something is missing.
  void end();

  [[nodiscard]] const Outcome& outcome() const { return outcome_; }
  [[noreturn]] void fail(const std::string& what) const;

 private:
  struct State {
    Index version = kNone;  // the resident version; kNone: it is freed
    Index current = 0;      // the version at this point of the program
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
  std::int64_t line_ = 1;  // of the next step
  Index next_ = 0;
  Outcome outcome_;
};

}  // namespace neap::graph
