// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// formats/encoding.h: texts of any encoding that iconv knows, as UTF-8.
#pragma once

#include "formats/npy.h"

#include <string>
#include <vector>

namespace neap::formats {

// Whether iconv knows an encoding of this name, as UTF-16LE, ISO-8859-1 or Shift_JIS.
bool knows_encoding(const std::string& name);

// Returns the text as UTF-8 without a byte order mark. `encoding`: of the bytes; empty: the one
// that a byte order mark names (UTF-8, UTF-16 or UTF-32), and without one the bytes as they are.
// Throws: FormatError, with the offset of the first byte that is not of the encoding.
// REQUIRES: `encoding` is empty or known.
std::vector<unsigned char> utf8_of(std::vector<unsigned char> bytes, const std::string& encoding);

}  // namespace neap::formats
