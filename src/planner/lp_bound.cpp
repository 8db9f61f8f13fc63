// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Note [Linear program]
// The relaxation of Checkmate (Jain et al., "Checkmate: Breaking the Memory Wall with Optimal
// Tensor Rematerialization", MLSys 2020, arXiv 1910.02653), stated for what is resident when
// operator t runs, so that it holds for every plan: see Note [Certain]. Variables: `there`, for
// each storage at moment t; `again`, for each earlier operator that runs again between operators
// t - 1 and t. Both are 0 or 1 in a plan, and between 0 and 1 here.
//   there[t][s] <= there[t - 1][s] + again[t][o]      o the maker of s
//   again[t][i] <= there[t - 1][s] + again[t][o]      i reads s; o the maker, each writer it needs
//             1 <= there[t - 1][s] + again[t][o]      operator t reads s
//   the bytes of what is resident, in addition to what is certain, fit at each moment
// The objective is the total cost of the reruns. Every plan gives such values, so no plan costs
// less. The memory between two operators is not constrained, because a plan may run others there in
// any order.
//
// Any prices that the solver finds for these rows give a valid bound by sums alone (weak duality).
// So neither its tolerances nor its time limit can make the bound wrong.
#include "planner/lp_bound.h"

#include "planner/certain.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#ifdef NEAP_CLP
#include <coin/Clp_C_Interface.h>
#endif

namespace neap::planner {

#ifdef NEAP_CLP
namespace {

constexpr int kNoColumn = -1;
constexpr double kUnitNs = 1e3;

std::size_t at(Index i) { return static_cast<std::size_t>(i); }

// Rows of a_r x >= b_r, with columns between 0 and 1.
struct Rows {
  std::vector<double> cost;  // by column
  std::vector<double> least;
  std::vector<int> begin{0};
  std::vector<int> column;
  std::vector<double> factor;

  int add_column(double price) {
    cost.push_back(price);
    return static_cast<int>(cost.size()) - 1;
  }
  void add(int to, double by) {
    column.push_back(to);
    factor.push_back(by);
  }
  void close(double at_least) {
    least.push_back(at_least);
    begin.push_back(static_cast<int>(column.size()));
  }
};

class LinearProgram {
 public:
  LinearProgram(const Certain& certain, std::int64_t budget)
      : certain_(certain),
        program_(certain.program()),
        budget_(budget),
        there_(at(certain.end()) + 1, std::vector<int>(at(program_.storages()), kNoColumn)),
        again_(at(certain.end()) + 1, std::vector<int>(at(program_.operators()), kNoColumn)) {
    for (Index moment = 0; moment <= certain.end(); ++moment) add_columns(moment);
    for (Index moment = 0; moment <= certain.end(); ++moment) {
      if (moment > 0) add_span(moment);
      add_memory(moment);
    }
  }

  [[nodiscard]] const Rows& rows() const { return rows_; }

 private:
  [[nodiscard]] bool is_there(Index storage, Index moment) const {
    if (certain_.pinned(storage, moment)) return true;
    if (moment == certain_.end()) return program_.storage(storage).keep;
    return std::ranges::binary_search(program_.users(storage), moment);
  }

  void add_columns(Index moment) {
    for (Index storage = 0; storage < program_.storages(); ++storage) {
      const Program::Storage& one = program_.storage(storage);
      if (one.given || one.maker >= moment || is_there(storage, moment)) continue;
      there_[at(moment)][at(storage)] = rows_.add_column(0);
    }
    for (Index op = 0; op + 1 < moment; ++op) {
      if (!certain_.may_run_after(op, moment - 1)) continue;
      if (program_.makes(op).empty() && program_.mutates(op).empty()) continue;
      again_[at(moment)][at(op)] =
          rows_.add_column(static_cast<double>(program_.op(op).ns) / kUnitNs);
    }
  }

  // `who` <= resident before + `op` in the span; `who` is 1 when it is no column.
  void add_either(Index moment, int who, Index storage, Index op) {
    if (is_there(storage, moment - 1)) return;
    if (who != kNoColumn) rows_.add(who, -1);
    rows_.add(there_[at(moment) - 1][at(storage)], 1);
    if (const int again = again_[at(moment)][at(op)]; again != kNoColumn) rows_.add(again, 1);
    rows_.close(who == kNoColumn ? 1 : 0);
  }
  // For the maker and the first `version` writers. What the operator before the span has made or
  // written is resident.
  void add_need(Index moment, int who, Index storage, Index version) {
    const Program::Storage& one = program_.storage(storage);
    if (one.given || one.maker >= moment - 1) return;
    add_either(moment, who, storage, one.maker);
    for (const Index writer : program_.writers(storage).first(at(version))) {
      add_either(moment, who, storage, writer);
    }
  }

  // The span between the operator before the moment and the moment.
  void add_span(Index moment) {
    for (Index storage = 0; storage < program_.storages(); ++storage) {
      const int column = there_[at(moment)][at(storage)];
      const Index maker = program_.storage(storage).maker;
      if (column != kNoColumn && maker < moment - 1) add_either(moment, column, storage, maker);
    }
    for (Index op = 0; op + 1 < moment; ++op) {
      const int column = again_[at(moment)][at(op)];
      if (column == kNoColumn) continue;
      for (const graph::Content& need : program_.needs(op)) {
        add_need(moment, column, need.storage, need.version);
      }
    }
    if (moment < certain_.end()) {
      for (const graph::Content& need : program_.needs(moment)) {
        add_need(moment, kNoColumn, need.storage, need.version);
      }
      return;
    }
    for (Index storage = 0; storage < program_.storages(); ++storage) {
      const Program::Storage& one = program_.storage(storage);
      if (one.keep) add_need(moment, kNoColumn, storage, one.versions);
    }
  }

  void add_memory(Index moment) {
    bool any = false;
    for (Index storage = 0; storage < program_.storages(); ++storage) {
      const int column = there_[at(moment)][at(storage)];
      if (column == kNoColumn || program_.storage(storage).bytes == 0) continue;
      rows_.add(column, -of_budget(program_.storage(storage).bytes));
      any = true;
    }
    if (any) rows_.close(of_budget(certain_.bytes(moment) - budget_));
  }
  // Near 1, as the numbers of a solver should be.
  [[nodiscard]] double of_budget(std::int64_t bytes) const {
    return static_cast<double>(bytes) / static_cast<double>(budget_);
  }

  const Certain& certain_;
  const Program& program_;
  std::int64_t budget_;
  std::vector<std::vector<int>> there_, again_;  // by moment; then by storage, by operator
  Rows rows_;
};

// By weak duality: prices times right sides, less what columns between 0 and 1 can gain.
double bound_of(const Rows& rows, const std::vector<double>& prices) {
  std::vector<double> reduced = rows.cost;
  double bound = 0;
  double size = 0;
  const auto add = [&](double part) {
    bound += part;
    size += std::abs(part);
  };
  for (std::size_t row = 0; row < rows.least.size(); ++row) {
    const double price = std::max(prices[row], 0.0);
    add(price * rows.least[row]);
    for (auto i = static_cast<std::size_t>(rows.begin[row]);
         i < static_cast<std::size_t>(rows.begin[row + 1]); ++i) {
      reduced[static_cast<std::size_t>(rows.column[i])] -= price * rows.factor[i];
      size += std::abs(price * rows.factor[i]);
    }
  }
  for (const double one : reduced) add(std::min(one, 0.0));
  return bound - 1e-10 * size;  // exceeds the rounding error of a million terms
}

std::vector<double> prices_of(const Rows& rows, std::chrono::milliseconds time_limit) {
  const auto columns = static_cast<int>(rows.cost.size());
  const auto count = static_cast<int>(rows.least.size());
  Clp_Simplex* const model = Clp_newModel();
  Clp_setLogLevel(model, 0);
  Clp_setMaximumSeconds(model, static_cast<double>(time_limit.count()) / 1000);
  Clp_resize(model, 0, columns);
  const std::vector<double> zeros(rows.cost.size(), 0), ones(rows.cost.size(), 1);
  Clp_chgColumnLower(model, zeros.data());
  Clp_chgColumnUpper(model, ones.data());
  Clp_chgObjCoefficients(model, rows.cost.data());
  const std::vector<double> endless(rows.least.size(), std::numeric_limits<double>::max());
  Clp_addRows(model, count, rows.least.data(), endless.data(), rows.begin.data(),
              rows.column.data(), rows.factor.data());
  Clp_initialDualSolve(model);
  const double* const found = Clp_dualRowSolution(model);
  std::vector<double> prices(found, found + count);
  Clp_deleteModel(model);
  return prices;
}

}  // namespace

std::optional<std::int64_t> lp_bound(const Replays& replays, std::int64_t budget,
                                     std::chrono::milliseconds time_limit) {
  constexpr Index kMostOperators = 300;
  if (budget < 1 || replays.program().operators() > kMostOperators) return {};
  const Certain certain(replays);
  const LinearProgram program(certain, budget);
  const Rows& rows = program.rows();
  if (rows.least.empty()) return 0;
  const double bound = bound_of(rows, prices_of(rows, time_limit)) * kUnitNs;
  if (!std::isfinite(bound)) return {};
  constexpr double kMost = 9e18;
  return static_cast<std::int64_t>(std::ceil(std::clamp(bound, 0.0, kMost)));  // ns are integers
}

#else

std::optional<std::int64_t> lp_bound(const Replays& /*replays*/, std::int64_t /*budget*/,
                                     std::chrono::milliseconds /*time_limit*/) {
  return {};
}

#endif

}  // namespace neap::planner
