// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/peak_watch.h: the bytes that a kernel takes, for an observer. The counters are those of a
// step in which nothing is evicted: evicted bytes are added, and retained bytes are subtracted.
#pragma once

#include "engine/call.h"
#include "engine/session.h"
#include "engine/store.h"
#include "memory/allocator.h"

#include <cstdint>

namespace neap::engine {

// Reads the allocator's counters: at its start those before the kernel, at its end the peak.
class PeakWatch {
 public:
  PeakWatch(Session& session, const Store& store, Call& call);
  PeakWatch(const PeakWatch&) = delete;
  PeakWatch& operator=(const PeakWatch&) = delete;
  ~PeakWatch();

 private:
  friend class Reclaiming;
  [[nodiscard]] std::int64_t shift() const { return store_.away() - store_.retained(); }
  void end();

  Session& session_;
  const Store& store_;
  Call& call_;
  PeakWatch* outer_;
  memory::PeakGauge gauge_;
};

// While it lives, storages are evicted, and watched kernels do not count the change.
class Reclaiming {
 public:
  explicit Reclaiming(Session& session) noexcept;
  Reclaiming(const Reclaiming&) = delete;
  Reclaiming& operator=(const Reclaiming&) = delete;
  ~Reclaiming();

 private:
  Session& session_;
};

}  // namespace neap::engine
