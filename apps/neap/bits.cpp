// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "bits.h"

#include <optional>
#include <sstream>

namespace neap::app {
namespace {

struct Place {
  std::size_t step;  // from 0
  train::State::Difference difference;

  [[nodiscard]] std::string text(const std::string& expected, const std::string& found) const {
    std::ostringstream text;
    text << "step " << step + 1 << ": " << difference.name;
    if (difference.index >= 0) text << '[' << difference.index << ']';
    text << ": " << expected << ' ' << difference.expected << ", " << found << ' '
         << difference.found;
    return text.str();
  }
};

std::optional<Place> first_difference(const States& expected, const States& found) {
  for (std::size_t step = 0; step < expected.size(); ++step) {
    if (auto difference = expected[step].first_difference(found[step])) {
      return Place{step, *std::move(difference)};
    }
  }
  return std::nullopt;
}

}  // namespace

std::string bits_differ(const States& plain, const States& inside,
                        const std::function<States()>& plain_again) {
  const auto difference = first_difference(plain, inside);
  if (!difference) return {};
  const States again = plain_again();
  const auto own = first_difference(plain, again);
  if (!own) return "different bits in " + difference->text("plain", "inside the budget");
  return "plain LibTorch does not repeat its own bits: " + own->text("first", "then") +
         (first_difference(again, inside)
              ? "; inside the budget they are different again, so nothing is proved; the model, or "
                "an operator of it, is not deterministic"
              : "; inside the budget all are those of its second run");
}

}  // namespace neap::app
