// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// checkpoint/selection.h: CheckpointOptions as the engine's selector. One a region; asked by the region's thread only.
#pragma once

#include "engine/selection.h"

#include <neap/checkpoint.h>

#include <cstdint>
#include <string>

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

 private:
  [[nodiscard]] double importance_of(const std::string& layer) const;

  CheckpointOptions options_;
};

}  // namespace neap::detail
