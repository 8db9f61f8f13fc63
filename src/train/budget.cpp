// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include <neap/machine.h>
#include <neap/memory.h>
#include <neap/train.h>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace neap::train {
namespace {

Bytes what_is_left() {
  memory::trim();
  const std::int64_t left = machine::memory().left();
  if (left == 0) {
    throw Error(
        "a budget of auto: what is left of memory is not known here, or nothing is; name bytes, as "
        "1.5GiB");
  }
  constexpr std::int64_t kLeastMargin = std::int64_t{64} << 20;
  const std::int64_t budget = memory::usage().reserved + left - std::max(left / 10, kLeastMargin);
  if (budget <= 0) {
    throw Error("a budget of auto: no more than " + Bytes(left).text() +
                " of memory are left; end other programs, or name bytes, as 40MiB");
  }
  return Bytes(budget);
}

}  // namespace

Budget Budget::parse(std::string_view text) {
  Budget budget;
  if (text == "none") return budget;
  if (text == "auto") {
    budget.bytes_ = what_is_left();
    return budget;
  }
  if (text.empty() || text.back() != '%') {
    budget.bytes_ = Bytes::parse(text);
    if (budget.bytes_->count() == 0) {
      throw InvalidArgument("a budget of '" + std::string(text) +
                            "' holds nothing; name bytes as 1.5GiB, a share as 30%, auto, or none");
    }
    return budget;
  }
  std::string_view number = text.substr(0, text.size() - 1);
  while (number.ends_with(' ')) number.remove_suffix(1);  // neap itself writes "30 %"
  const auto [end, error] =
      std::from_chars(number.data(), number.data() + number.size(), budget.percent_);
  if (error != std::errc() || end != number.data() + number.size() ||
      !std::isfinite(budget.percent_) || budget.percent_ <= 0 || budget.percent_ > 1000) {
    throw InvalidArgument("'" + std::string(text) +
                          "' is not a share: write a number above 0 and up to 1000 before the %, "
                          "as 30%");
  }
  return budget;
}

std::optional<Bytes> Budget::bytes(const PlainStep& plain) const {
  if (!is_share()) return bytes_;
  const auto needed = static_cast<double>((plain.peak - plain.base).count());
  return plain.base + Bytes(static_cast<std::int64_t>(needed * percent_ / 100));
}

}  // namespace neap::train
