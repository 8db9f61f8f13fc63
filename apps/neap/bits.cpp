// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "bits.h"

#include <optional>
#include <sstream>

namespace neap::app {
namespace {

std::string text_of(std::int64_t step, const train::State::Difference& difference,
                    const char* expected, const char* found) {
  std::ostringstream text;
  text << "step " << step + 1 << ": " << difference.name;
  if (difference.index >= 0) text << '[' << difference.index << ']';
  text << ": " << expected << ' ' << difference.expected << ", " << found << ' '
       << difference.found;
  return text.str();
}

}  // namespace

std::string bits_differ(std::int64_t step, const train::State& plain, const train::State& inside,
                        const std::function<train::State()>& plain_again) {
  const auto difference = plain.first_difference(inside);
  if (!difference) return {};
  const train::State again = plain_again();
  const auto own = plain.first_difference(again);
  if (!own) {
    return "different bits in " + text_of(step, *difference, "plain", "inside the budget");
  }
  return "plain LibTorch does not repeat its own bits: " + text_of(step, *own, "first", "then") +
         (again.first_difference(inside)
              ? "; inside the budget they are different again, so nothing is proved; the model, or "
                "an operator of it, is not deterministic"
              : "; inside the budget all are those of its second run");
}

}  // namespace neap::app
