// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// checkpoint/nearest_name.h: what a person may have meant.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace neap::checkpointing {

// The one that takes the fewest letters put in, left out or exchanged to become `name`; of equals the one that begins the same for
// longer. Empty: there are none.
std::string nearest_name(std::string_view name, std::span<const std::string> names);

}  // namespace neap::checkpointing
