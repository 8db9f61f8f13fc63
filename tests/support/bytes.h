// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/support/bytes.h: tensors as bytes, so that tests compare with memcmp.
#pragma once

#include <torch/torch.h>

#include <cstring>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

namespace neap::test {

using ByteLists = std::vector<std::vector<unsigned char>>;

// Reads through operators, so that evicted tensors come back.
inline ByteLists bytes_of(const std::vector<at::Tensor>& tensors) {
  ByteLists result;
  for (const at::Tensor& tensor : tensors) {
    const at::Tensor copy = tensor.detach().clone(at::MemoryFormat::Contiguous);
    const auto* const data = static_cast<const unsigned char*>(copy.const_data_ptr());
    result.emplace_back(data, data + copy.nbytes());
  }
  return result;
}

// Says in words where two lists first differ.
inline std::optional<std::string> first_difference(const ByteLists& expected,
                                                   const ByteLists& actual) {
  if (expected.size() != actual.size()) {
    return std::to_string(expected.size()) + " tensors expected, found " +
           std::to_string(actual.size());
  }
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (expected[i] == actual[i]) continue;
    std::ostringstream text;
    text << "tensor " << i;
    if (expected[i].size() != actual[i].size()) {
      text << ": " << expected[i].size() << " bytes expected, found " << actual[i].size();
      return text.str();
    }
    std::size_t at = 0;
    while (expected[i][at] == actual[i][at]) ++at;
    text << ", byte " << at << ": 0x" << std::hex << int{expected[i][at]} << " expected, found 0x"
         << int{actual[i][at]};
    return text.str();
  }
  return std::nullopt;
}

}  // namespace neap::test
