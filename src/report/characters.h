// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// report/characters.h: text of any origin, as the formats need it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace neap::report {

// How many columns of a terminal: one for each character of UTF-8, one for each byte that is none.
std::size_t width_of(std::string_view text);

// For the text of an XML element or attribute. What XML 1.0 cannot hold (control characters, bytes that are no UTF-8) becomes
// U+FFFD.
std::string xml_text(std::string_view text);

}  // namespace neap::report
