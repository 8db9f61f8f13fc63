// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// graph/simulator.h: one step of a plan after the other, by the rules.
#pragma once

#include "graph/program.h"

#include <string>
#include <vector>

namespace neap::graph {

class Simulator {
 public:
  explicit Simulator(const Program& program);

  // Each takes the step, or throws BrokenPlan with the step's line and takes nothing.
  void run(Index op);
  void rerun(Index op);
  void free(Index storage);
  // The plan ends here. Throws: BrokenPlan when something is missing.
  void end();

  [[nodiscard]] const Outcome& outcome() const { return outcome_; }
  [[noreturn]] void fail(const std::string& what) const;

 private:
  struct State {
    Index version = kNone;  // that is resident
    Index current = 0;      // of the program: how often it has been written into so far
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
