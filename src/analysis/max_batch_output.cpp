// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "analysis/output.h"

#include <neap/analysis.h>

namespace neap::analysis {
namespace {

Json json_of(const MaxBatchSide& side) {
  Json json{{"batch_size", side.batch_size},
            {"peak_bytes", side.peak.count()},
            {"item_ms", side.milliseconds_per_item},
            {"proved", side.proved},
            {"next_refusal", text_or_null(side.next_refusal)},
            {"trials", Json::array()}};
  for (const Trial& trial : side.trials) {
    json["trials"].push_back({{"batch_size", trial.batch_size},
                              {"refusal", text_or_null(trial.refusal)},
                              {"peak_bytes", trial.peak.count()},
                              {"took_ms", trial.milliseconds}});
  }
  return json;
}

}  // namespace

std::string MaxBatchResult::text() const {
  report::Table table({{"", report::Align::Left},
                       {"largest batch"},
                       {"peak"},
                       {"ms an item"},
                       {"trials"},
                       {"the next batch", report::Align::Left}});
  for (const auto& [name, side] :
       {std::pair<const char*, const MaxBatchSide&>{"plain", plain}, {"neap", neap}}) {
    const bool any = side.batch_size > 0;
    table.add_row({name, any ? std::to_string(side.batch_size) : "none",
                   any ? side.peak.text() : "",
                   any ? report::fixed(side.milliseconds_per_item, 2) : "",
                   std::to_string(side.trials.size()),
                   side.proved   ? side.next_refusal
                   : interrupted ? "not run: interrupted"
                                 : "not run: the time was over"});
  }
  return "budget: " + budget.text() + '\n' + table.text();
}

std::string MaxBatchResult::to_json() const {
  return dump({{"budget_bytes", budget.count()},
               {"plain", json_of(plain)},
               {"neap", json_of(neap)},
               {"interrupted", interrupted}});
}

}  // namespace neap::analysis
