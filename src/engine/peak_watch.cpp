// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "engine/peak_watch.h"

#include <algorithm>
#include <utility>

namespace neap::engine {

PeakWatch::PeakWatch(Session& session, const Store& store, Call& call)
    : session_(session), store_(store), call_(call), outer_(std::exchange(session.watch, this)) {
  const memory::Usage before = memory::open_gauge(gauge_);
  call_.allocations = before.allocations;
  call_.live = call_.peak = before.live + shift();
}

PeakWatch::~PeakWatch() {
  end();
  session_.watch = outer_;
}

void PeakWatch::end() {
  memory::close_gauge(gauge_);
  call_.peak = std::max(call_.peak, gauge_.live + shift());
}

Reclaiming::Reclaiming(Session& session) noexcept : session_(session) {
  for (PeakWatch* watch = session_.watch; watch != nullptr; watch = watch->outer_) watch->end();
}

Reclaiming::~Reclaiming() {
  for (PeakWatch* watch = session_.watch; watch != nullptr; watch = watch->outer_) {
    memory::open_gauge(watch->gauge_);
  }
}

}  // namespace neap::engine
