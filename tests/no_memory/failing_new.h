// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/no_memory/failing_new.h: the program's operator new, also that of LibTorch and of the
// standard library, which a test lets fail. Memory that is taken by malloc itself is not seen.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace neap::no_memory {

// From now on, and until stop_failing(), the `k`-th call of operator new in this thread throws
// std::bad_alloc, and each later one if `for_ever`. 0: none does, and they are counted.
void fail_new(std::int64_t k, bool for_ever) noexcept;
// Returns how many calls there were since fail_new().
std::int64_t stop_failing() noexcept;

// The same in all other threads, whose calls are counted together.
void fail_new_elsewhere(std::int64_t k, bool for_ever) noexcept;
std::int64_t stop_failing_elsewhere() noexcept;

// While it lives, no call fails, and none is counted.
class Pause {
 public:
  Pause() noexcept;
  Pause(const Pause&) = delete;
  Pause& operator=(const Pause&) = delete;
  ~Pause();

 private:
  bool was_armed_;
};

// What this thread has taken from operator new less what it has given back.
std::int64_t live_allocations() noexcept;

// The addresses in the functions that led to the call that failed last, innermost first. Of the
// process.
std::span<void* const> failed_call() noexcept;
// Their names, one a line. A program that addr2line cannot look into has less of them.
std::string names_of(std::span<void* const> addresses);

}  // namespace neap::no_memory
