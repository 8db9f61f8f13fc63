// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Checks of the models' options and inputs.
#pragma once

#include <neap/base.h>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

namespace neap::nn {

// Throws: InvalidArgument, "ResNet: blocks is 0; expected 1 or more".
inline void require_positive(const char* model, const char* option, std::int64_t value) {
  if (value >= 1) return;
  throw InvalidArgument(std::string(model) + ": " + option + " is " + std::to_string(value) +
                        "; expected 1 or more");
}

inline void require_probability(const char* model, const char* option, double value) {
  if (value >= 0 && value < 1) return;
  throw InvalidArgument(std::string(model) + ": " + option + " is " + std::to_string(value) +
                        "; expected 0 or more and less than 1");
}

inline void require_divides(const char* model, const char* part, std::int64_t divisor,
                            const char* whole, std::int64_t value) {
  if (value % divisor == 0) return;
  throw InvalidArgument(std::string(model) + ": " + part + " is " + std::to_string(divisor) +
                        ", which does not divide " + whole + " (" + std::to_string(value) + ")");
}

// The shape as text: "(2, 3, 30, 30)".
inline std::string shape_text(const at::Tensor& tensor) {
  std::string text = "(";
  for (const std::int64_t extent : tensor.sizes()) {
    if (text.size() > 1) text += ", ";
    text += std::to_string(extent);
  }
  return text + ")";
}

}  // namespace neap::nn
