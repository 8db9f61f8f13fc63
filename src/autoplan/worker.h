// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// autoplan/worker.h: the thread that makes plans while the program trains.
#pragma once

#include "autoplan/catalogue.h"
#include "autoplan/plan_job.h"

#include <cstddef>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <stop_token>
#include <vector>

namespace neap::autoplan {

// One job at a time. Threads: one at a time calls it.
class PlanWorker {
 public:
  PlanWorker() = default;
  PlanWorker(const PlanWorker&) = delete;
  PlanWorker& operator=(const PlanWorker&) = delete;
  ~PlanWorker() { shut_down(); }
  // Stops the search that is under way and waits for its end. Later jobs are dropped.
  void shut_down();

  // A quick plan comes first, because steps go on meanwhile, and then a thorough one. While a job
  // is under way one other waits; a newer one takes its place, because its step is likelier to come
  // again. A thorough search begins when no job waits, and is put off when one comes. Where the
  // system gives no thread, the job is dropped. Throws: std::bad_alloc.
  void submit(std::shared_ptr<const PlanJob> job);
  // The plan that has been made, if one has. start_waiting() must follow.
  std::optional<CatalogueEntry> take();
  // The same, but waits for a job that is under way. Nullopt: there is none.
  std::optional<CatalogueEntry> wait();
  // Starts the job that waits, if one does.
  void start_waiting();
  // In a child of fork(), where the thread does not exist. The job is dropped.
  void forked();

 private:
  static constexpr std::size_t kMostSearches = 8;

  void start(std::shared_ptr<const PlanJob> job, Effort effort);
  CatalogueEntry result();

  bool shut_down_ = false;
  std::stop_source stop_;  // of the one that runs
  std::future<CatalogueEntry> running_;
  std::shared_ptr<const PlanJob> running_job_;
  Effort effort_ = Effort::Quick;  // of the one that runs
  std::shared_ptr<const PlanJob> waiting_;
  std::deque<std::shared_ptr<const PlanJob>> searches_;  // that wait, the oldest first
};

// Makes all plans at once, each in a thread of its own or, where the system gives none, in this
// one, and waits for them. When `interrupted` becomes true the searches end with the best that they
// have. In the order of the jobs. Throws: std::bad_alloc.
std::vector<CatalogueEntry> make_plans(const std::vector<std::shared_ptr<const PlanJob>>& jobs,
                                       const std::function<bool()>& interrupted);

}  // namespace neap::autoplan
