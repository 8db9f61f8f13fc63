// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// data/assemble.h: makes a batch from samples. All samples are loaded, checked and copied here.
#pragma once

#include <neap/data.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <vector>

namespace neap::data {

// Restores the calling thread's number of LibTorch threads when it is destroyed.
// at::set_num_threads() changes the number of this thread, and of every thread that uses LibTorch
// later for the first time: see Note [Thread counts] in prefetch.cpp.
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
  // Called once, before the batch of this many bytes is allocated. False: the batch is no longer
  // wanted.
  std::function<bool(std::int64_t bytes)> admit;
  std::stop_token abandoned;
  // Changes a sample that was loaded; empty: nothing does.
  std::function<void(std::int64_t index, Sample& sample)> change = {};
};

// Empty when it was abandoned. Throws: SampleError; other errors of neap unchanged.
// REQUIRES: this thread uses one LibTorch thread, so that the bits do not depend on the thread that
// loads.
std::optional<Batch> assemble(const Dataset& dataset, BatchRequest request);

}  // namespace neap::data
