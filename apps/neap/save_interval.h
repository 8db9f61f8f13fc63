// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The values of --save-every. No LibTorch here.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace neap::app {

// How often --save-every saves.
struct SaveInterval {
  std::int64_t steps = 0;        // 0: not by steps
  std::chrono::seconds time{0};  // 0: not by time
};
// Parses `200`, `30s`, `10m` or `2h`; empty: neither. Throws: UsageError.
SaveInterval parse_interval(const std::string& text);

}  // namespace neap::app
