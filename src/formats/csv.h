// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// formats/csv.h: tables of numbers with a column of labels, as RFC 4180 has them.
#pragma once

#include "formats/npy.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace neap::formats {

struct Csv {
  std::vector<std::string> names;   // of the features; empty: the file has no first line of names
  std::int64_t features = 0;        // of a row
  std::vector<double> values;       // row by row
  std::vector<std::string> labels;  // one a row; empty: it has none
};

// Parses a whole file. Between cells stand commas, semicolons or tabs, whichever the first line
// has. The first line has names if one of its features is no number, or if its label is none and
// all others are. `label`: the number from 1 of the column with the labels, or its name; empty: the
// last one. Blanks around a cell do not count. An empty line is none. A byte order mark is skipped.
// `unlabeled`: labels may be empty, and a table of so many columns has none where `label` is empty.
// Throws: FormatError, with line and column in its text.
Csv parse_csv(std::string_view text, const std::string& label = "",
              std::optional<std::int64_t> unlabeled = {});

}  // namespace neap::formats
