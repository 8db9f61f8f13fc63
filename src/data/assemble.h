// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// data/assemble.h: a batch out of samples. The one place where samples are loaded, checked and copied.
#pragma once

#include <neap/data.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <vector>

namespace neap::data {

// Sets the calling thread's number of LibTorch threads back when it dies. at::set_num_threads() is of the thread, and besides
// of every thread that meets LibTorch later for the first time: see Note [Thread counts] in prefetch.cpp.
class RestoredThreadCount {
 public:
  RestoredThreadCount();
  RestoredThreadCount(const RestoredThreadCount&) = delete;
  RestoredThreadCount& operator=(const RestoredThreadCount&) = delete;
  ~RestoredThreadCount();

 private:
  int before_;
};

struct BatchRequest {
  std::vector<std::int64_t> samples;
  bool pin_memory = false;
  // Asked once, before a batch of so many bytes is allocated. False: nobody wants it any more.
  std::function<bool(std::int64_t bytes)> admit;
  std::stop_token abandoned;
};

// Empty when it was abandoned. Throws: SampleError; errors of neap that are not about the sample as they are.
// REQUIRES: this thread uses one LibTorch thread, so that bits do not depend on where a batch is made.
std::optional<Batch> assemble(const Dataset& dataset, BatchRequest request);

}  // namespace neap::data
