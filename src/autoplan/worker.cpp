// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "autoplan/worker.h"

#include <chrono>
#include <utility>

namespace neap::autoplan {

void PlanWorker::submit(std::shared_ptr<const PlanJob> job) {
  if (stop_.stop_requested()) return;
  if (running_.valid()) {
    waiting_ = std::move(job);
    return;
  }
  running_ = std::async(std::launch::async, [job = std::move(job), stop = stop_.get_token()] {
    return make_plan(job, stop);
  });
}

std::optional<CatalogueEntry> PlanWorker::take() {
  if (!running_.valid() ||
      running_.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
    return std::nullopt;
  }
  return running_.get();
}

std::optional<CatalogueEntry> PlanWorker::wait() {
  if (!running_.valid()) return std::nullopt;
  return running_.get();
}

void PlanWorker::start_waiting() {
  if (waiting_) submit(std::exchange(waiting_, nullptr));
}

void PlanWorker::forked() {
  // Its destructor would wait for the thread.
  if (running_.valid()) static_cast<void>(new std::future(std::move(running_)));
  waiting_ = nullptr;
  stop_ = {};
}

void PlanWorker::shut_down() {
  stop_.request_stop();
  waiting_ = nullptr;
  if (running_.valid()) running_.wait();
}

std::vector<CatalogueEntry> make_plans(const std::vector<std::shared_ptr<const PlanJob>>& jobs,
                                       const std::function<bool()>& interrupted) {
  constexpr std::chrono::milliseconds kLook{50};
  std::stop_source stop;
  std::vector<std::future<CatalogueEntry>> running;
  for (const std::shared_ptr<const PlanJob>& job : jobs) {
    running.push_back(std::async(std::launch::async, make_plan, job, stop.get_token()));
  }
  std::vector<CatalogueEntry> made;
  for (std::future<CatalogueEntry>& entry : running) {
    while (entry.wait_for(kLook) != std::future_status::ready) {
      if (interrupted()) stop.request_stop();
    }
    made.push_back(entry.get());
  }
  return made;
}

}  // namespace neap::autoplan
