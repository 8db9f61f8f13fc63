// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Where output goes: how wide it is, what it can draw, and tables that fit. No LibTorch here.
#pragma once

#include <neap/report.h>
#include <neap/terminal.h>

#include <cstddef>
#include <string>
#include <vector>

namespace neap::app {

// Of a terminal its own width, asked each time, because people resize their terminals. Else
// COLUMNS, else 80.
std::size_t columns_of(int descriptor);

struct Terminal {
  report::TerminalStyle style;
  bool is_bounded = false;  // a width is known. False: a file or a pipe, where tables may be wide
};
// UTF-8 by LC_ALL, LC_CTYPE or LANG, the first of them that is set.
Terminal terminal_of(int descriptor);

// The words of a text, in lines of at most `columns` bytes where no word is longer.
std::string wrapped(const std::string& text, std::size_t indent, std::size_t columns);

using Rows = std::vector<std::vector<std::string>>;

// A table of which, where the width is bounded, columns are left out until it fits; `first_to_go`
// names them by number. What is still too wide is cut.
std::string fitted_table(const std::vector<report::Column>& columns, const Rows& rows,
                         const std::vector<std::size_t>& first_to_go, const Terminal& terminal);

// A table whose last column is a sentence. Where it does not fit beside the others, it stands below
// its row, in as many lines as it needs.
std::string table_with_reasons(const std::vector<report::Column>& columns, const Rows& rows,
                               const Terminal& terminal);

}  // namespace neap::app
