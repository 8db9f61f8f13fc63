// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// device/cpu/cpu_pages.h: pages of the process, by mmap, mremap and madvise.
#pragma once

#include "device/pages.h"

namespace neap::device {

class CpuPages final : public Pages {
 public:
  Range reserve(std::int64_t bytes) override;
  void prepare(Range range) noexcept override;
  void move(char* from, char* to, std::int64_t bytes) noexcept override;
  void release(Range range) noexcept override;
  void forbid(Range range) noexcept override;
};

}  // namespace neap::device
