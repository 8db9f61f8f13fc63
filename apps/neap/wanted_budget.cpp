// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "wanted_budget.h"

#include "command_line.h"
#include "values.h"

#include <neap/planner.h>

#include <optional>

namespace neap::app {

WantedBudget parse_wanted_budget(const std::string& text) {
  if (!text.ends_with('%')) {
    try {
      return Bytes::parse(text);
    } catch (const InvalidArgument& error) {
      throw UsageError(std::string("--budget: ") + error.what());
    }
  }
  const std::optional<double> percent = parse_percent(text);
  if (!percent || !(*percent >= 0 && *percent <= 100)) {
    throw UsageError("--budget: '" + text +
                     "' is no share of what the plain step needs; write 0% to 100%, or bytes, as "
                     "1.5GiB");
  }
  return *percent / 100;
}

Bytes bytes_of(const WantedBudget& wanted, const graph::Trace& trace) {
  const auto* const share = std::get_if<double>(&wanted);
  return share != nullptr ? planner::budget_of_share(trace, *share) : std::get<Bytes>(wanted);
}

}  // namespace neap::app
