// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// checkpoint/selection.h: CheckpointOptions as the engine's selector. One a region; asked by the region's thread only.
//
// Note [Rules that match nothing]
// A pattern that cannot match is refused when its region opens: one of no operator that is seen below autograd, or of no layer that
// neap::name() was told. One that could, and did not in a region, is a note, with the nearest name of what was made there.
#pragma once

#include "engine/selection.h"

#include <neap/checkpoint.h>

#include <cstddef>
#include <string>
#include <vector>

namespace neap::detail {

class Selection final : public engine::Selector {
 public:
  // Throws: InvalidArgument, as documented at detail::Region.
  explicit Selection(const CheckpointOptions& options);

  engine::Decision decide(const engine::Made& made) override;
  void choose(std::span<engine::Candidate> candidates) override;
  [[nodiscard]] bool chooses() const override {
    return options_.keep_at_most.has_value() || options_.free_at_least.has_value();
  }

  // Once the region has closed: the rules that matched nothing in it, and what is nearest there. One a line; empty: none.
  [[nodiscard]] std::string unmatched() const;

 private:
  [[nodiscard]] double importance_of(const std::string& layer) const;
  void see(const std::string& op, const std::string& layer);

  CheckpointOptions options_;
  std::vector<bool> matched_;  // by rule; from the start where nobody wants to know
  std::size_t unmatched_ = 0;
  // Seen while some rule had matched nothing, each once.
  std::vector<std::string> ops_, layers_;
};

// What Stats::rule_note says, of the outermost scope that is open or was last. Threads: the scope's.
class RuleNotes {
 public:
  static RuleNotes& instance();
  void clear() { lines_.clear(); }
  void add(const std::string& lines);  // those that are not there yet
  [[nodiscard]] std::string text() const;

 private:
  std::vector<std::string> lines_;
};

}  // namespace neap::detail
