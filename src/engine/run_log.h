// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/run_log.h: what ran in each scope, and inside which bytes. A refusal names a budget from it.
#pragma once

#include <c10/core/StorageImpl.h>
#include <c10/util/intrusive_ptr.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace neap::engine {

// Two runs that have done the same operators so far, of the same sizes and on the same storages, are taken for the same step.
class RunLog {
 public:
  // A scope opens; `base` bytes are live.
  void start(std::int64_t base);

  // A parameter that the run reads: while it lives, so does the model. One a run is enough.
  [[nodiscard]] bool has_parameter() const { return parameter_.has_value(); }
  void parameter(c10::StorageImpl& storage);

  // An operator is about to run. Returns the hash of all so far; nullopt: there are too many to remember.
  std::optional<std::uint64_t> call(std::uint64_t operator_hash);
  // Regions or tag() decided something about the blocks of this run.
  void decided(std::uint64_t what) noexcept;
  // The hash after each operator. Valid until the next call.
  [[nodiscard]] std::span<const std::uint64_t> calls() const { return current_.prefix; }

  // The scope ended without an exception. `limit`: the bytes inside which all of it ran; nullopt: by a plan, which says nothing of a
  // run without one.
  void finished(std::optional<std::int64_t> limit);

  // What a step that begins like this one ran in, and the steps that came after it; more than `budget`, bytes. 0: nothing is known.
  [[nodiscard]] std::int64_t smallest_feasible(std::int64_t budget) const;

 private:
  struct Run {
    std::vector<std::uint64_t> prefix;
    std::int64_t base = 0;
    std::int64_t limit = 0;
    std::uint32_t id = 0;
    std::vector<std::uint32_t> next;  // runs that came after it and began with no less

    // Steps that do the same and begin with about the same in memory need the same.
    [[nodiscard]] bool begins_like(const Run& other) const noexcept;
  };
  [[nodiscard]] Run* same_as_current();
  [[nodiscard]] const Run* find(std::uint32_t id) const;
  [[nodiscard]] std::int64_t largest_limit_from(const Run& run) const;
  void came_after_last(Run& run);

  Run current_;
  std::uint64_t decided_ = 0;  // a hash of what was decided since the last operator
  std::optional<c10::weak_intrusive_ptr<c10::StorageImpl>> parameter_;
  std::uint32_t last_ = 0;  // the run before this one, while its model lives; 0: none
  std::uint32_t ids_ = 0;
  std::vector<Run> known_;
};

}  // namespace neap::engine
