// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// data/waited.h: adds the time that it lives to a counter of waiting time.
#pragma once

#include <chrono>
#include <cstdint>

namespace neap::data {

class Waited {
 public:
  explicit Waited(std::int64_t& ns) : ns_(ns) {}
  Waited(const Waited&) = delete;
  Waited& operator=(const Waited&) = delete;
  ~Waited() {
    ns_ += std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() -
                                                                start_)
               .count();
  }

 private:
  std::int64_t& ns_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace neap::data
