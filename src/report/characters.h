// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// report/characters.h: text of any origin, made fit for the output formats.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace neap::report {

// Columns in a terminal: one for each UTF-8 character, and one for each byte that is not UTF-8.
std::size_t width_of(std::string_view text);

// For the text of an XML element or attribute. Line feeds and tabs become blanks. What XML 1.0
// cannot hold (other control characters, bytes that are not UTF-8) becomes U+FFFD.
std::string xml_text(std::string_view text);

}  // namespace neap::report
