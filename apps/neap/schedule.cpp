// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "schedule.h"

#include <algorithm>
#include <cmath>

namespace neap::app {

Schedule::Schedule(const std::string& kind, std::optional<std::int64_t> warmup)
    : kind_(kind == "linear"     ? Kind::Linear
            : kind == "step"     ? Kind::Step
            : kind == "constant" ? Kind::Constant
                                 : Kind::Cosine),
      warmup_(warmup) {}

double Schedule::rate(double peak, std::int64_t step, std::int64_t total) const {
  const std::int64_t steps = warmup_.value_or(std::max<std::int64_t>(1, total / 20));
  const auto rise = static_cast<double>(steps);
  const auto now = static_cast<double>(step);
  if (now < rise) return peak * ((now + 1) / rise);
  return peak * fall((now - rise) / std::max(1.0, static_cast<double>(total) - rise));
}

double Schedule::fall(double done) const {
  switch (kind_) {
    case Kind::Linear:
      return 1 - done;
    case Kind::Step:
      return done < 1.0 / 3 ? 1 : (done < 2.0 / 3 ? 0.1 : 0.01);
    case Kind::Constant:
      return 1;
    case Kind::Cosine:
      break;
  }
  return 0.5 + 0.5 * std::cos(M_PI * done);
}

}  // namespace neap::app
