// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/memory.h: how many bytes LibTorch holds, and the line they never pass.
//
//   neap::install();  // once, before the first tensor
//   neap::memory::reset_peak();
//   train_one_step();
//   std::cout << neap::memory::usage().peak << " bytes\n";
//
// Counts are exact: they come from the allocator. What other libraries allocate is not in them.
// Units: bytes. Threads: any function from any thread at any time.
#pragma once

#include <neap/base.h>

#include <cstdint>
#include <memory>
#include <string>

namespace neap {

// Puts neap's allocator behind LibTorch's CPU tensors. Idempotent. Tensors that exist already stay
// where they are; their bytes are counted in Usage::unseen once neap has met them.
// REQUIRES: no other thread allocates tensors during the first call.
NEAP_EXPORT void install();

// The budget cannot hold what must be in memory at one moment. Leaves the operator that asked.
// Nothing was allocated and nothing leaks: the program can go on under a larger budget.
class NEAP_EXPORT BudgetExceeded : public Error {
 public:
  BudgetExceeded(const std::string& text, Bytes need, Bytes in_use, Bytes budget, Bytes feasible);
  ~BudgetExceeded() override;
  Bytes need;               // the refused allocation, with rounding and block header
  Bytes in_use;             // reserved when it was refused
  Bytes budget;             // the limit of the process
  Bytes smallest_feasible;  // a budget known to work for this step; Bytes(0) when none is known
  // What was held when it was refused; null when another thread than the scope's asked.
  std::shared_ptr<const SavedReport> saved;
};

// The system itself has no memory left.
class NEAP_EXPORT OutOfMemory : public Error {
 public:
  explicit OutOfMemory(const std::string& text);
  ~OutOfMemory() override;
};

namespace memory {

// Invariants, exact whenever no other thread is allocating:
//   reserved == live + cached        requested <= live <= peak
//   reserved <= peak_reserved        reserved <= budget, while one is set
struct Usage {
  std::int64_t requested = 0;      // as LibTorch asked for them
  std::int64_t live = 0;           // as taken for blocks in use: requested, rounded, plus headers
  std::int64_t cached = 0;         // freed blocks that are kept for reuse
  std::int64_t reserved = 0;       // what the budget is compared with
  std::int64_t peak = 0;           // largest `live` since reset_peak()
  std::int64_t peak_reserved = 0;  // largest `reserved` since reset_peak()
  std::int64_t unseen = 0;       // allocated by LibTorch before install(), as far as neap met them
  std::int64_t allocations = 0;  // number of blocks handed out since install()
};

// Returns the counters.
NEAP_EXPORT Usage usage() noexcept;
// Starts both peaks anew from what is held now.
NEAP_EXPORT void reset_peak() noexcept;
// Gives cached blocks back to the system. Returns the bytes. Cost: a system call an extent.
NEAP_EXPORT Bytes trim() noexcept;
// True after install().
NEAP_EXPORT bool installed() noexcept;

}  // namespace memory
}  // namespace neap
