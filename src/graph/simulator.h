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

  // Executes one step. Throws: BrokenPlan, with the step's line; the simulator is of no use then.
  void take(const Step& step);
  // Ends the plan. Throws: BrokenPlan when something is missing.
  void end();

  // Complete after end().
  [[nodiscard]] const Outcome& outcome() const { return outcome_; }
  // When the last step ended, from the start.
  [[nodiscard]] std::int64_t now() const { return now_; }

 private:
  // Note [Copies in the simulator]
  // now_ is the time of the operators. Each queue is free from out_free_ and in_free_ on. A storage
  // may be used from `ready` on, and may change or go from `copied` on. Both stay as they were
  // after the copy has ended: by then they are not later than now_.
  struct State {
    Index version = kNone;  // the resident version; kNone: it is freed
    Index current = 0;      // the version at this point of the program
    Index copy = kNone;     // in copies_; kNone: it has none
    std::int64_t ready = 0;
    std::int64_t copied = 0;
  };
  struct Copy {
    Index storage;
    std::int64_t begun;     // the line of its offload
    std::int64_t last = 0;  // the line of its last load
  };
  [[nodiscard]] const State& state(Index storage) const {
    return states_[static_cast<std::size_t>(storage)];
  }
  State& state(Index storage) { return states_[static_cast<std::size_t>(storage)]; }
  [[nodiscard]] Index operator_of(const Step& step) const;
  [[nodiscard]] Index storage_of(const Step& step) const;
  void run(Index op);
  void rerun(Index op);
  void free(Index storage);
  void offload(Index storage);
  void load(Index storage);
  void check_needs(Index op, const char* what) const;
  // The operator begins when all that it needs has arrived, and what it changes is copied out.
  void wait_for(Index op, bool first);
  void write(Index storage);
  void pass(std::int64_t ns, const std::string& what);
  [[nodiscard]] std::int64_t copied_by(std::int64_t start, Index storage, std::int64_t bytes_per_s,
                                       const char* what) const;
  void arrive(Index op);
  void count(std::int64_t bytes);
  void count_copies();
  [[nodiscard]] std::string name(Index storage) const;
  [[noreturn]] void fail(const std::string& what) const;
  [[nodiscard]] bool half_restored(Index storage) const {
    return state(storage).version > 0 && state(storage).version < state(storage).current;
  }

  const Program& program_;
  std::vector<State> states_;
  std::vector<Copy> copies_;
  std::int64_t resident_ = 0;
  std::int64_t now_ = 0;
  std::int64_t out_free_ = 0;
  std::int64_t in_free_ = 0;
  std::int64_t line_ = 1;  // of the next step
  Index next_ = 0;
  Outcome outcome_;
};

}  // namespace neap::graph
