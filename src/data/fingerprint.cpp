// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "base/stable_hash.h"

#include <neap/data.h>

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cstdio>

namespace neap::data {

std::string fingerprint(const Dataset& set) {
  constexpr std::int64_t kMostSamples = 64;
  const std::int64_t size = set.size();
  const std::int64_t samples = std::min(size, kMostSamples);
  RunningHash hash;
  hash.update(&size, sizeof size);
  for (std::int64_t i = 0; i < samples; ++i) {
    for (const at::Tensor& tensor : set.get(i * size / samples)) {
      const at::Tensor dense = tensor.contiguous();
      const auto type = static_cast<std::int64_t>(dense.scalar_type());
      hash.update(&type, sizeof type);
      hash.update(dense.sizes().data(), dense.sizes().size() * sizeof(std::int64_t));
      hash.update(dense.const_data_ptr(), dense.nbytes());
    }
  }
  std::array<char, 17> digits{};
  std::snprintf(digits.data(), digits.size(), "%016llx",
                static_cast<unsigned long long>(hash.value()));
  return digits.data();
}

}  // namespace neap::data
