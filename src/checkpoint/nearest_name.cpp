// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "checkpoint/nearest_name.h"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <utility>
#include <vector>

namespace neap::detail {
namespace {

// The Levenshtein distance. It keeps one row of the table at a time.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t exchanged = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({exchanged, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::string nearest_name(std::string_view name, std::span<const std::string> names) {
  if (names.empty()) return "";
  const auto begins_alike = [&](const std::string& one) {
    return std::ranges::mismatch(name, one).in1 - name.begin();
  };
  return *std::ranges::min_element(names, {}, [&](const std::string& one) {
    return std::pair(distance(name, one), -begins_alike(one));
  });
}

}  // namespace neap::detail
