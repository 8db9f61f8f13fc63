// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// checkpoint/nearest_name.h: finds the name that a person may have meant.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace neap::detail {

// Returns the name with the smallest edit distance to `name`. Of equally near names, returns the
// one with the longest common beginning. Empty: `names` is empty.
std::string nearest_name(std::string_view name, std::span<const std::string> names);

}  // namespace neap::detail
