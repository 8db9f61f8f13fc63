// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// train/checks.h: checks of what a loader and a loss function return. `where` begins the message,
// as "micro-batch 3 of step 7".
#pragma once

#include <neap/base.h>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

namespace neap::train {

// Throws: InvalidArgument when there are no rows.
inline std::int64_t rows_of(const at::Tensor& x, const std::string& where) {
  if (!x.defined() || x.dim() == 0 || x.size(0) == 0) {
    throw InvalidArgument(where + " has no rows; leave it out of the loader");
  }
  return x.size(0);
}

inline void check_scalar(const at::Tensor& value, const std::string& where) {
  if (value.defined() && value.numel() == 1) return;
  throw InvalidArgument(
      where +
      (value.defined() ? " has " + std::to_string(value.numel()) + " elements" : " is undefined") +
      "; return a scalar, the mean over the rows");
}

}  // namespace neap::train
