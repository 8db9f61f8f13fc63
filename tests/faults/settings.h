// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/faults/settings.h: how long a test runs, and where its chances begin. `make test-long` sets
// them.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <string>

namespace neap::faults {

inline std::int64_t setting(const char* name, std::int64_t otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::stoll(text);
}

}  // namespace neap::faults
