// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/memory.h: how many bytes LibTorch holds, and the budget that they never exceed.
//
//   neap::install();  // once, before the first tensor
//   neap::memory::reset_peak();
//   train_one_step();
//   std::cout << neap::memory::usage().peak << " bytes\n";
//
// Or by phases, which may nest, each with its own peak:
//
//   neap::MemoryTracker tracker;
//   {
//     const auto phase = tracker.track_memory("forward");
//     loss = loss_of(model->forward(x), y);
//   }
//   tracker.log_statistics();
//
// Counts are exact, because they come from the allocator. They do not include what other libraries
// allocate.
// Units: bytes. Threads: any function, from any thread, at any time.
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

// Puts neap's allocator behind LibTorch's CPU tensors. Idempotent. Existing tensors stay where they
// are. Usage::unseen counts their bytes once neap has met them.
// REQUIRES: no other thread allocates tensors during the first call.
NEAP_EXPORT void install();

// A storage that LibTorch holds, or that was evicted. A row of a SavedReport.
struct SavedStorage {
  enum class State : std::uint8_t {
    Kept,     // in memory; it can be recomputed, or its region has closed and kept it
    Evicted,  // not in memory; a read runs the operators that make it again
    Pinned,   // in memory, and cannot be evicted: see `reason`
  };
  std::string region;      // the checkpoint() region or the like; empty: made outside of a region
  std::string layer;       // from neap::name_layers(); empty: unknown
  std::string op;          // the operator that made it, as aten::mm; empty: older than the scope
  std::int64_t bytes = 0;  // as the allocator counts them, with rounding
  State state = State::Kept;
  std::string reason;  // why it cannot be evicted; empty unless Pinned
};

// All storages that LibTorch holds at one moment, each once. kept + pinned + other == live.
struct NEAP_EXPORT SavedReport {
  std::vector<SavedStorage> storages;  // largest first
  std::int64_t kept = 0;
  std::int64_t pinned = 0;
  std::int64_t evicted = 0;  // not part of `live`
  std::int64_t other = 0;    // storages that no operator of the scope has read or made
  std::int64_t live = 0;     // `live` of memory::usage() at that moment

  // The sums, then the largest groups of equal region, layer, operator and state; at most `rows`
  // groups.
  [[nodiscard]] std::string text(std::size_t rows = 20) const;
};

// The budget cannot hold what must be in memory at one moment. The operator that allocated throws
// it. Nothing was allocated and nothing leaks: the program can go on under a larger budget.
class NEAP_EXPORT BudgetExceeded : public Error {
 public:
  BudgetExceeded(const std::string& text, Bytes need, Bytes in_use, Bytes budget, Bytes feasible);
  ~BudgetExceeded() override;
  Bytes need;               // the refused allocation, with rounding
  Bytes in_use;             // `reserved` when it was refused
  Bytes budget;             // the limit of the process
  Bytes smallest_feasible;  // a budget that is known to work for this step; Bytes(0) when unknown
  // What was held when it was refused; null when a thread other than the scope's allocated.
  std::shared_ptr<const SavedReport> saved;
};

// The system has no memory left.
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
  std::int64_t requested = 0;      // as LibTorch requested them
  std::int64_t live = 0;           // taken by blocks in use: requested, rounded
  std::int64_t cached = 0;         // freed memory that is kept for reuse
  std::int64_t reserved = 0;       // live + cached; the budget limits this
  std::int64_t peak = 0;           // largest `live` since reset_peak()
  std::int64_t peak_reserved = 0;  // largest `reserved` since reset_peak()
  std::int64_t unseen = 0;  // allocated by LibTorch before install(), as far as neap has met them
  std::int64_t allocations = 0;  // number of blocks handed out since install()
};

// Zeros before install().
NEAP_EXPORT Usage usage() noexcept;
// Restarts both peaks from the current values.
NEAP_EXPORT void reset_peak() noexcept;
// Returns cached memory to the system, and returns how many bytes that was. Cost: a system call for
// each run of pages.
NEAP_EXPORT Bytes trim() noexcept;
// True after install().
NEAP_EXPORT bool installed() noexcept;

// The whole process as the system counts it: resident pages of all libraries. Linux updates these
// counts in batches, so they are accurate to about 1 MiB. Zeros without /proc.
struct ProcessMemory {
  std::int64_t resident = 0;       // VmRSS
  std::int64_t peak_resident = 0;  // VmHWM: largest since the process started
};
// Cost: about 30 us, to open and read a file of /proc.
NEAP_EXPORT ProcessMemory process_memory();

}  // namespace memory

// Measures named phases of a program: the bytes that LibTorch holds at both ends, and the exact
// peaks between. The allocator counts them; nothing is sampled. Phases may nest and overlap. They
// are independent of memory::reset_peak() and of Scopes.
// Threads: phases of one tracker may begin and end in any thread. Counts are of the process, not of
// a thread.
// Cost: a phase takes two locks of the allocator and one process_memory(); an allocation, a few
// instructions for each open phase, and one comparison when none is open.
class NEAP_EXPORT MemoryTracker {
 public:
  // Names and bytes that the program wants to see beside the counters. neap::categories_of() in
  // neap/analysis.h provides parameters, gradients, optimizer state and buffers.
  using Categories = std::vector<std::pair<std::string, std::int64_t>>;

  // An open phase. It ends in end() or in its destructor, and may outlive its tracker. As on the
  // slides, it can be unpacked into the bytes at its beginning:
  //   auto [allocated, cached] = tracker.track_memory("forward");
  class NEAP_EXPORT Phase {
   public:
    Phase(Phase&& other) noexcept;
    Phase& operator=(Phase&&) = delete;
    ~Phase();
    // Idempotent. Never throws: an exception of the categories' callback goes to
    // Record::category_error.
    void end() noexcept;
    // Bytes at the beginning: `live`, and the freed memory that is kept for reuse.
    // torch.cuda.memory_cached includes both in "cached", which is `reserved` here.
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

  // An ended phase. Seconds count from the construction of the tracker.
  struct Record {
    std::string phase;
    double begin_seconds = 0, end_seconds = 0;
    std::int64_t live_begin = 0, live_end = 0, peak_live = 0;
    std::int64_t reserved_begin = 0, reserved_end = 0, peak_reserved = 0;
    memory::ProcessMemory process;  // at its end
    Categories categories;          // at its end
    std::string category_error;     // what the callback threw; empty: nothing
  };

  // The beginning or end of a phase.
  struct Edge {
    std::string phase;
    bool begins = true;
    double seconds = 0;
    std::int64_t live = 0, reserved = 0;
  };

  // p95: the smallest value that at least 95 % of all do not exceed.
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

  // Begins a phase. It ends with the returned object, so a call whose result is dropped is a phase
  // of one moment, as on the slides. Names may repeat; statistics are by name.
  // Throws: InvalidArgument for an empty name; Error when install() was not called, because all
  // counts would be 0.
  Phase track_memory(std::string phase);

  // Called at the end of a phase, in the thread that ends it, after its peaks were read.
  // Empty: none.
  void set_categories(std::function<Categories()> callback);

  // In the order in which they ended.
  [[nodiscard]] std::vector<Record> records() const;
  // In order of time, including open phases.
  [[nodiscard]] std::vector<Edge> timeline() const;
  // One for each name, in the order in which the first phase of each name ended.
  [[nodiscard]] std::vector<Statistics> statistics() const;

  // Tables of the statistics for people, and one by category when there are any.
  [[nodiscard]] std::string text() const;
  // Prints text() to std::cout.
  void log_statistics() const;
  // The records, one a line, in seconds and bytes, with a column for each category.
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
