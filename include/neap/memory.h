// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/memory.h: how many bytes LibTorch holds, and the line they never pass.
//
//   neap::install();  // once, before the first tensor
//   neap::memory::reset_peak();
//   train_one_step();
//   std::cout << neap::memory::usage().peak << " bytes\n";
//
// Or by phases, each with a peak of its own, also inside of others:
//
//   neap::MemoryTracker tracker;
//   {
//     const auto phase = tracker.track_memory("forward");
//     loss = loss_of(model->forward(x), y);
//   }
//   tracker.log_statistics();
//
// Counts are exact: they come from the allocator. What other libraries allocate is not in them.
// Units: bytes. Threads: any function from any thread at any time.
#pragma once

#include <neap/base.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

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

// Returns the counters; zeros before install().
NEAP_EXPORT Usage usage() noexcept;
// Starts both peaks anew from what is held now.
NEAP_EXPORT void reset_peak() noexcept;
// Gives cached blocks back to the system. Returns the bytes. Cost: a system call an extent.
NEAP_EXPORT Bytes trim() noexcept;
// True after install().
NEAP_EXPORT bool installed() noexcept;

// The whole process as the system counts it: pages in memory, of all libraries. Linux counts them
// in batches, so these are right to about a MiB only. Zeros where there is no /proc.
struct ProcessMemory {
  std::int64_t resident = 0;       // VmRSS
  std::int64_t peak_resident = 0;  // VmHWM: largest since the process started
};
// Cost: about 30 us, to open and read a file of /proc.
NEAP_EXPORT ProcessMemory process_memory();

}  // namespace memory

// What LibTorch holds in named phases of a program: bytes at both ends and the exact peaks between, counted by the
// allocator and not sampled. Phases nest and overlap as they like; neither memory::reset_peak() nor a Scope is touched by
// them, nor they by it.
// Threads: phases of one tracker may begin and end in any threads. What they count is of the process, not of a thread.
// Cost: a phase takes two locks of the allocator and one process_memory(); an allocation, a few instructions for each phase
// that is open, and one comparison when none is.
class NEAP_EXPORT MemoryTracker {
 public:
  // Names and bytes, of what the program wants to see beside the counters: neap::categories_of() in
  // neap/analysis.h makes one for parameters, gradients, optimizer state and buffers.
  using Categories = std::vector<std::pair<std::string, std::int64_t>>;

  // A phase that is open. It ends when it is destroyed, or by end(); it may outlive its tracker. As slides have it, it is also the
  // pair of what was held when it began:
  //   auto [allocated, cached] = tracker.track_memory("forward");
  class NEAP_EXPORT Phase {
   public:
    Phase(Phase&& other) noexcept;
    Phase& operator=(Phase&&) = delete;
    ~Phase();
    // Idempotent. Never throws: what the categories' callback throws goes to Record::category_error.
    void end() noexcept;
    // Bytes when it began: live ones, and those of freed blocks that are kept for reuse. torch.cuda.memory_cached counts both as
    // cached, which is `reserved` here.
    [[nodiscard]] std::int64_t allocated() const { return allocated_; }
    [[nodiscard]] std::int64_t cached() const { return cached_; }
    template <std::size_t Index>
    [[nodiscard]] std::int64_t get() const {
      return Index == 0 ? allocated_ : cached_;
    }

   private:
    friend class MemoryTracker;
    struct Open;
    explicit Phase(std::unique_ptr<Open> open);
    std::unique_ptr<Open> open_;  // null when it has ended
    std::int64_t allocated_ = 0, cached_ = 0;
  };

  // A phase that has ended. Seconds count from the tracker's birth.
  struct Record {
    std::string phase;
    double begin_seconds = 0, end_seconds = 0;
    std::int64_t live_begin = 0, live_end = 0, peak_live = 0;
    std::int64_t reserved_begin = 0, reserved_end = 0, peak_reserved = 0;
    memory::ProcessMemory process;  // when it ended
    Categories categories;          // when it ended
    std::string category_error;     // what the callback threw; empty for nothing
  };

  // Where a phase begins or ends.
  struct Edge {
    std::string phase;
    bool begins = true;
    double seconds = 0;
    std::int64_t live = 0, reserved = 0;
  };

  // p95: the smallest value that 95 % of all do not pass.
  struct Distribution {
    double mean = 0, max = 0, p95 = 0;
  };
  struct Statistics {
    std::string phase;
    std::int64_t count = 0;
    Distribution live_end, cached_end, reserved_end;  // bytes
    Distribution peak_live, peak_reserved, resident;  // bytes
    Distribution seconds;
    std::vector<std::pair<std::string, Distribution>> categories;  // bytes
  };

  MemoryTracker();
  MemoryTracker(const MemoryTracker&) = delete;
  MemoryTracker& operator=(const MemoryTracker&) = delete;
  ~MemoryTracker();

  // Begins a phase, which ends with what is returned: a call whose result nobody holds is a phase of one moment, as on slides.
  // Names may come again: the summary is by name.
  // Throws: InvalidArgument for an empty name; Error when install() was not called, because all counts would be 0.
  Phase track_memory(std::string phase);

  // Called when a phase ends, in the thread that ends it, after its peaks were read. Empty: none.
  void set_categories(std::function<Categories()> callback);

  // In the order in which they ended.
  [[nodiscard]] std::vector<Record> records() const;
  // In the order in which they happened, of open phases too.
  [[nodiscard]] std::vector<Edge> timeline() const;
  // One a name, in the order in which the first of that name ended.
  [[nodiscard]] std::vector<Statistics> statistics() const;

  // The statistics as a table for people, and a second one by category when there are any.
  [[nodiscard]] std::string text() const;
  // Prints text() to std::cout.
  void log_statistics() const;
  // The records, one a line; seconds and bytes. A column for each category.
  [[nodiscard]] std::string csv() const;
  // {"records": [...], "timeline": [...], "statistics": [...]}, seconds and bytes.
  [[nodiscard]] std::string to_json() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace neap

template <>
struct std::tuple_size<neap::MemoryTracker::Phase> : std::integral_constant<std::size_t, 2> {};
template <std::size_t Index>
struct std::tuple_element<Index, neap::MemoryTracker::Phase> {
  using type = std::int64_t;
};
