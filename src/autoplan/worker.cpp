// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "autoplan/worker.h"

#include <chrono>
#include <system_error>
#include <utility>

namespace neap::autoplan {

void PlanWorker::submit(std::shared_ptr<const PlanJob> job) {
  if (shut_down_) return;
  // A newer job of the same step knows more.
  std::erase_if(searches_, [&](const auto& one) { return one->step == job->step; });
  if (running_.valid()) {
    waiting_ = std::move(job);
    if (effort_ == Effort::Thorough) stop_.request_stop();
    return;
  }
  start(std::move(job), Effort::Quick);
}

void PlanWorker::start(std::shared_ptr<const PlanJob> job, Effort effort) {
  if (job->fixed) effort = Effort::Thorough;  // there is nothing to search
  running_job_ = job;
  effort_ = effort;
  stop_ = {};
  try {
    running_ = std::async(std::launch::async, make_plan, entry_of(std::move(job)), effort,
                          stop_.get_token());
  } catch (const std::system_error&) {
    running_job_ = nullptr;  // the system gives no thread; the step goes on without a plan
  }
}

CatalogueEntry PlanWorker::result() {
  CatalogueEntry made = running_.get();
  std::shared_ptr<const PlanJob> job = std::move(running_job_);
  if (effort_ == Effort::Quick || (stop_.stop_requested() && !job->fixed)) {
    if (searches_.size() == kMostSearches) searches_.pop_front();
    searches_.push_back(std::move(job));
  }
  return made;
}

std::optional<CatalogueEntry> PlanWorker::take() {
  if (!running_.valid() ||
      running_.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
    return std::nullopt;
  }
  return result();
}

std::optional<CatalogueEntry> PlanWorker::wait() {
  if (!running_.valid()) return std::nullopt;
  return result();
}

void PlanWorker::start_waiting() {
  if (shut_down_) return;
  if (waiting_) {
    start(std::exchange(waiting_, nullptr), Effort::Quick);
  } else if (!searches_.empty()) {
    start(std::move(searches_.front()), Effort::Thorough);
    searches_.pop_front();
  }
}

void PlanWorker::forked() {
  // Its destructor would wait for the thread.
  if (running_.valid()) static_cast<void>(new std::future(std::move(running_)));
  waiting_ = nullptr;
  searches_.clear();
}

void PlanWorker::shut_down() {
  shut_down_ = true;
  stop_.request_stop();
  waiting_ = nullptr;
  searches_.clear();
  if (running_.valid()) running_.wait();
}

std::vector<CatalogueEntry> make_plans(const std::vector<std::shared_ptr<const PlanJob>>& jobs,
                                       const std::function<bool()>& interrupted) {
  constexpr std::chrono::milliseconds kLook{50};
  std::stop_source stop;
  std::vector<std::future<CatalogueEntry>> running;
  const auto begin = [&stop](const std::shared_ptr<const PlanJob>& job, std::launch how) {
    return std::async(how, make_plan, entry_of(job), Effort::Thorough, stop.get_token());
  };
  for (const std::shared_ptr<const PlanJob>& job : jobs) {
    try {
      running.push_back(begin(job, std::launch::async));
    } catch (const std::system_error&) {
      running.push_back(begin(job, std::launch::deferred));  // by this thread
    }
  }
  std::vector<CatalogueEntry> made;
  for (std::future<CatalogueEntry>& entry : running) {
    while (entry.wait_for(kLook) == std::future_status::timeout) {
      if (interrupted()) stop.request_stop();
    }
    made.push_back(entry.get());
  }
  return made;
}

}  // namespace neap::autoplan
