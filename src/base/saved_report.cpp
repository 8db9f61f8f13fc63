// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include <neap/base.h>

#include <algorithm>
#include <array>
#include <map>
#include <tuple>

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
    std::array<std::string, 5> cells;  // region, layer, operator, state, bytes
    std::int64_t bytes = 0;
    std::int64_t count = 0;
  };
  std::map<std::tuple<std::string, std::string, std::string, std::string>, Group> groups;
  for (const SavedStorage& storage : storages) {
    std::string state = name_of(storage.state);
    if (!storage.reason.empty()) state += ": " + storage.reason;
    Group& group = groups[{storage.region, storage.layer, storage.op, state}];
    group.cells = {or_dash(storage.region), or_dash(storage.layer), or_dash(storage.op), state, ""};
    group.bytes += storage.bytes;
    ++group.count;
  }
  std::vector<Group> sorted;
  for (auto& [key, group] : groups) {
    group.cells[4] = Bytes(group.bytes).text() + " in " + std::to_string(group.count);
    sorted.push_back(std::move(group));
  }
  std::ranges::stable_sort(sorted, std::ranges::greater{}, &Group::bytes);
  const std::size_t left_out = sorted.size() > rows ? sorted.size() - rows : 0;
  sorted.resize(sorted.size() - left_out);
  sorted.insert(sorted.begin(), Group{{"region", "layer", "operator", "state", "bytes"}});

  std::array<std::size_t, 4> widths{};
  for (const Group& group : sorted) {
    for (std::size_t i = 0; i < widths.size(); ++i) {
      widths[i] = std::max(widths[i], group.cells[i].size());
    }
  }
  std::string text = "live " + Bytes(live).text() + ": kept " + Bytes(kept).text() + ", pinned " +
                     Bytes(pinned).text() + ", other " + Bytes(other).text() + "; evicted " +
                     Bytes(evicted).text();
  for (const Group& group : sorted) {
    text += "\n  ";
    for (std::size_t i = 0; i < widths.size(); ++i) {
      text += group.cells[i] + std::string(widths[i] - group.cells[i].size() + 2, ' ');
    }
    text += group.cells[4];
  }
  if (left_out > 0) text += "\n  and " + std::to_string(left_out) + " smaller groups";
  return text;
}

}  // namespace neap
