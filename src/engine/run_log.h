// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/run_log.h: remembers which operators ran in each scope, and within how many bytes. A
// BudgetExceeded names a budget that comes from this log.
#pragma once

#include <c10/core/StorageImpl.h>
#include <c10/util/intrusive_ptr.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace neap::engine {

// Two runs count as the same step when they have run the same operators so far, of the same sizes
// and on the same storages.
class RunLog {
 public:
  // A scope has opened. `base`: live bytes at that moment.
  void start(std::int64_t base);

  // Gives a parameter that the run reads. The model lives as long as the parameter. One per run is
  // enough.
  [[nodiscard]] bool has_parameter() const { return parameter_.has_value(); }
  void parameter(c10::StorageImpl& storage);

  // An operator is about to run. Returns the hash of all operators so far; nullopt when there are
  // too many to remember.
  std::optional<std::uint64_t> call(std::uint64_t operator_hash);
  // A rule of a region or set_checkpoint_policy() has decided something about the blocks of this
  // run.
  void decided(std::uint64_t what) noexcept;
  // The hashes after each operator. Valid until the next call.
  [[nodiscard]] std::span<const std::uint64_t> calls() const { return current_.prefix; }

  // The scope ended without an exception: in `peak` bytes and without a budget; within a budget,
  // where the engine decided online; or by a plan, which says nothing about a run without one.
  void fitted_plain(std::int64_t peak);
  void fitted_in(std::int64_t budget);
  void followed_plan();

  // An allocation of the run was refused. It counts unless another operator follows, or the run
  // ends without an exception.
  void refused(std::int64_t budget) noexcept { refused_ = std::max(refused_, budget); }

  // Returns the bytes, more than `budget`, in which a step that began like this one ran, and the
  // steps after it ran. 0: no such number is known.
  [[nodiscard]] std::int64_t smallest_feasible(std::int64_t budget) const;

 private:
  struct Run {
    std::vector<std::uint64_t> prefix;
    std::int64_t base = 0;
    std::optional<std::int64_t> plain_peak;
    std::int64_t refused = 0;  // the largest budget that was too small
    // It ran in them online: the smallest ones above `refused`, in order.
    std::vector<std::int64_t> budgets;
    std::uint32_t id = 0;
    // The ids of runs that came right after it and began with no less memory.
    std::vector<std::uint32_t> next;

    // True when both runs began with about the same memory. If they are the same step, they need
    // the same.
    [[nodiscard]] bool begins_like(const Run& other) const noexcept;
    // What it ran in and will run in again, where `too_small` bytes were too small. 0: unknown.
    [[nodiscard]] std::int64_t limit(std::int64_t too_small) const noexcept;
    void ran_in(std::int64_t budget);
    // What a run that began with `other_base` needs more where it begins as this one did.
    [[nodiscard]] std::int64_t beyond(std::int64_t other_base) const noexcept {
      return std::max<std::int64_t>(0, base - other_base);
    }
  };
  // True when the run began with the operators that the current one has run.
  [[nodiscard]] bool begins_with_current(const Run& run) const noexcept;
  // The record of the run that ends now, and of those like it. Null: it has run nothing, or there
  // is none and `make` is false.
  Run* finished(bool make);
  [[nodiscard]] const Run* find(std::uint32_t id) const;
  [[nodiscard]] std::int64_t largest_limit_from(const Run& run, std::int64_t too_small) const;
  void came_after_last(Run& run);
  void note_refusal() noexcept;

  Run current_;
  std::int64_t refused_ = 0;   // the budget that refused the current run; 0: none
  std::uint64_t decided_ = 0;  // hash of what was decided since the last operator
  std::optional<c10::weak_intrusive_ptr<c10::StorageImpl>> parameter_;
  std::uint32_t last_ = 0;  // id of the run before this one, while its model lives; 0: none
  std::uint32_t ids_ = 0;
  std::vector<Run> known_;
};

}  // namespace neap::engine
