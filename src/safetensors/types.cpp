// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "safetensors/safetensors.h"

#include <algorithm>
#include <array>

namespace neap::safetensors {
namespace {

struct Type {
  std::string_view name;
  std::int64_t bytes;
};
constexpr std::array kTypes = {
    Type{"C64", 8},  Type{"F64", 8},  Type{"I64", 8},     Type{"U64", 8},
    Type{"F32", 4},  Type{"I32", 4},  Type{"U32", 4},     Type{"F16", 2},
    Type{"BF16", 2}, Type{"I16", 2},  Type{"U16", 2},     Type{"I8", 1},
    Type{"U8", 1},   Type{"BOOL", 1}, Type{"F8_E4M3", 1}, Type{"F8_E5M2", 1},
};

}  // namespace

std::int64_t item_bytes(std::string_view type) noexcept {
  const auto* const found = std::ranges::find(kTypes, type, &Type::name);
  return found == kTypes.end() ? 0 : found->bytes;
}

}  // namespace neap::safetensors
