// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/region_names.h: the numbers of regions, and the names of regions in reports.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>

namespace neap::engine {

class RegionNames {
 public:
  // Returns the number of a region that opens. Regions of one name share a number. 0 means no
  // region.
  std::uint32_t number(const std::string& name) {
    if (name.empty()) return ++unnamed_ % kNamed;
    const auto next = static_cast<std::uint32_t>(numbers_.size());
    return numbers_.try_emplace(name, kNamed + next).first->second;
  }
  [[nodiscard]] std::string name(std::uint32_t number) const {
    if (number == 0) return "";
    if (number < kNamed) return "checkpoint " + std::to_string(number);
    for (const auto& [name, known] : numbers_) {
      if (known == number) return name;
    }
    return "";
  }
  void clear() noexcept {
    numbers_.clear();
    unnamed_ = 0;
  }

 private:
  static constexpr std::uint32_t kNamed = std::uint32_t{1} << 31;  // regions with a name start here

  std::uint32_t unnamed_ = 0;
  std::unordered_map<std::string, std::uint32_t> numbers_;
};

}  // namespace neap::engine
