// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include <neap/memory.h>
#include <neap/report.h>

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

namespace neap {
namespace {

const char* name_of(SavedStorage::State state) {
  switch (state) {
    case SavedStorage::State::Kept:
      return "kept";
    case SavedStorage::State::Evicted:
      return "evicted";
    case SavedStorage::State::Pinned:
      return "pinned";
  }
  return "";
}

std::string or_dash(const std::string& text) { return text.empty() ? "-" : text; }

}  // namespace

std::string SavedReport::text(std::size_t rows) const {
  struct Group {
    std::vector<std::string> cells;
    std::int64_t bytes = 0;
    std::int64_t count = 0;
  };
  std::map<std::tuple<std::string, std::string, std::string, std::string>, Group> groups;
  for (const SavedStorage& storage : storages) {
    std::string state = name_of(storage.state);
    if (!storage.reason.empty()) state += ": " + storage.reason;
    Group& group = groups[{storage.region, storage.layer, storage.op, state}];
    group.cells = {or_dash(storage.region), or_dash(storage.layer), or_dash(storage.op), state};
    group.bytes += storage.bytes;
    ++group.count;
  }
  std::vector<Group> sorted;
  for (auto& [key, group] : groups) sorted.push_back(std::move(group));
  std::ranges::stable_sort(sorted, std::ranges::greater{}, &Group::bytes);
  const std::size_t left_out = sorted.size() > rows ? sorted.size() - rows : 0;
  sorted.resize(sorted.size() - left_out);

  using enum report::Align;
  report::Table table({{"region", Left},
                       {"layer", Left},
                       {"operator", Left},
                       {"state", Left},
                       {"bytes"},
                       {"storages"}});
  for (Group& group : sorted) {
    group.cells.push_back(Bytes(group.bytes).text());
    group.cells.push_back(std::to_string(group.count));
    table.add_row(std::move(group.cells));
  }
  std::string text = "live " + Bytes(live).text() + ": kept " + Bytes(kept).text() + ", pinned " +
                     Bytes(pinned).text() + ", other " + Bytes(other).text() + "; evicted " +
                     Bytes(evicted).text() + '\n' + table.text();
  if (left_out > 0) return text + "and " + std::to_string(left_out) + " smaller groups";
  text.pop_back();  // its last line break
  return text;
}

}  // namespace neap
