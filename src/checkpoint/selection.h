// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// checkpoint/selection.h: lets CheckpointOptions decide as an engine::Selector. There is one per
// region, and only the region's thread calls it.
//
// Note [Rules that match nothing]
// A pattern that cannot match is refused when its region opens: it names no operator that is seen
// below autograd, or no layer that neap::name_layers() was told. A pattern that could match, but
// matched nothing in a region, is reported in a note, with the nearest name of what was made there.
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

  std::optional<CheckpointPolicy> decide(const engine::Made& made) override;
  void choose(std::span<engine::Candidate> candidates) override;
  [[nodiscard]] bool chooses() const override {
    return options_.keep_at_most.has_value() || options_.free_at_least.has_value();
  }

  // To be called after the region has closed. Returns the rules that matched nothing in it, with
  // the nearest names, one rule per line. Empty: there are none.
  [[nodiscard]] std::string unmatched() const;

 private:
  [[nodiscard]] double importance_of(const std::string& layer) const;
  void see(const std::string& op, const std::string& layer);

  CheckpointOptions options_;
  std::vector<bool> matched_;  // by rule; optional rules are true from the start
  std::size_t unmatched_ = 0;
  // Names that were seen while some rule had not matched yet, each once.
  std::vector<std::string> ops_, layers_;
};

// The text of Stats::rule_note, for the outermost scope that is open or was open last. Threads: the
// scope's.
class RuleNotes {
 public:
  static RuleNotes& instance();
  void clear() { lines_.clear(); }
  void add(const std::string& lines);  // adds the lines that are not there yet
  [[nodiscard]] std::string text() const;

 private:
  std::vector<std::string> lines_;
};

}  // namespace neap::detail
