// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/support/plan_jobs.h: steps for the threads that make plans.
#pragma once

#include "autoplan/plan_job.h"

#include <neap/graph.h>

#include <cstdint>
#include <memory>
#include <numeric>

namespace neap::test {

// A chain of operators forward, and one operator back for each. Storage i is what operator i reads.
inline graph::Trace chain(std::int64_t length, std::int64_t bytes) {
  graph::Trace trace;
  trace.events = {graph::Given{0, bytes}};
  for (std::int64_t i = 0; i < length; ++i) {
    trace.events.emplace_back(graph::Operator{
        .name = "forward", .reads = {i}, .makes = {{i + 1, bytes}}, .ns = 100 + i % 7});
  }
  std::int64_t gradient = length;
  for (std::int64_t i = length; i-- > 0;) {
    trace.events.emplace_back(graph::Operator{.name = "back",
                                              .reads = {i, gradient},
                                              .makes = {{gradient + 1, bytes}},
                                              .ns = 200,
                                              .replayable = false});
    trace.events.emplace_back(graph::Release{gradient++});
    if (i > 0 && i < length) trace.events.emplace_back(graph::Release{i});
  }
  trace.keep = {0, gradient};
  return trace;
}

inline std::shared_ptr<const autoplan::PlanJob> plan_job(std::uint64_t kind,
                                                         std::int64_t length = 60) {
  constexpr std::int64_t kBytes = 4096;
  auto job = std::make_shared<autoplan::PlanJob>();
  job->trace = chain(length, kBytes);
  job->numbers.resize(static_cast<std::size_t>(2 * length + 2));
  std::iota(job->numbers.begin(), job->numbers.end(), 0U);
  job->calls.resize(static_cast<std::size_t>(2 * length));
  std::iota(job->calls.begin(), job->calls.end(), kind * 1000);
  job->step.calls = kind;
  job->step.count = job->calls.size();
  job->step.budget = length * kBytes / 3;
  return job;
}

}  // namespace neap::test
