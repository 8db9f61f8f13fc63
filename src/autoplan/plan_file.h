// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// autoplan/plan_file.h: a plan that the user names, as `neap plan -o` writes it.
#pragma once

#include "autoplan/catalogue.h"
#include "autoplan/step_id.h"

#include <neap/graph.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

namespace neap::intercept {
struct OperatorTraits;
}

namespace neap::autoplan {

// Where a step left the plan that it had followed.
struct Departure {
  std::size_t operators = 0;  // so many ran as the plan says
  const intercept::OperatorTraits* other =
      nullptr;                // the operator that ran instead of the next one
  std::int64_t shortage = 0;  // bytes that were missing
};

class PlanFile {
 public:
  // Reads the file, unless it is the one that was read last. True: the plan is another one now.
  // Throws: as graph::read_plan().
  bool read(const std::string& path);

  [[nodiscard]] const std::shared_ptr<const graph::Plan>& plan() const { return plan_; }
  // The file names the operators of its step, so no step has to be traced for it.
  [[nodiscard]] bool names_operators() const { return !plan_->operators.empty(); }
  // The plan copies storages to a tier.
  [[nodiscard]] bool offloads() const { return plan_->predicted_offloaded > 0; }
  // The step that the file's plan is for. REQUIRES: names_operators().
  [[nodiscard]] StepId step_of(StepId scope) const;
  // The plan, compiled. Where it does not fit the budget the entry has no step, and its note says
  // why.
  [[nodiscard]] CatalogueEntry entry_for(const StepId& step) const;
  // For people.
  [[nodiscard]] std::string text_of(const Departure& departure) const;

 private:
  [[nodiscard]] std::string name_and_label() const;

  std::shared_ptr<const graph::Plan> plan_;
  std::string path_;
  std::filesystem::file_time_type time_;  // of the file, when it was read
};

// The plan with the peak, the time and the frees that it has on this trace.
// Throws: InvalidArgument when it breaks the trace's rules, or takes more than the budget.
graph::Plan fit_to_trace(graph::Plan plan, const graph::Trace& trace, std::int64_t budget,
                         std::int64_t margin);

}  // namespace neap::autoplan
