// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "graph/program.h"

#include <map>

namespace neap::graph {
namespace {

class Run {
 public:
  explicit Run(const Program& program) : program_(program) { arrive(kNone); }

  PlainRun run(const Trace& trace) {
    note_peak(kNone, 0);
    for (const Event& event : trace.events) {
      if (const auto* const op = std::get_if<Operator>(&event)) {
        run_operator(*op);
      } else if (const auto* const release = std::get_if<Release>(&event)) {
        live_bytes_ -= live_.at(release->storage);
        live_.erase(release->storage);
      }
    }
    if (!backward_begun_) result_.after_forward = ids();
    result_.at_end = ids();
    return std::move(result_);
  }

 private:
  void run_operator(const Operator& op) {
    if (op.phase == Phase::Backward && !backward_begun_) {
      backward_begun_ = true;
      result_.after_forward = ids();
    }
    for (const Made& made : op.makes) live(made.storage, made.bytes);
    note_peak(next_, op.workspace);
    // What is given after an operator arrives before anything is released.
    arrive(next_);
    note_peak(next_, 0);
    ++next_;
  }

  void arrive(Index op) {
    for (const Index storage : program_.arrivals(op)) {
      const Program::Storage& given = program_.storage(storage);
      live(given.id, given.bytes);
      result_.given += given.bytes;
    }
  }

  void live(StorageId storage, std::int64_t bytes) {
    live_.emplace(storage, bytes);
    live_bytes_ += bytes;
  }

  void note_peak(Index op, std::int64_t workspace) {
    if (op != kNone && live_bytes_ + workspace <= result_.peak) return;
    result_.peak = live_bytes_ + workspace;
    result_.peak_operator = op;
    result_.workspace = workspace;
    result_.at_peak = ids();
  }

  [[nodiscard]] std::vector<StorageId> ids() const {
    std::vector<StorageId> all;
    all.reserve(live_.size());
    for (const auto& [storage, bytes] : live_) all.push_back(storage);
    return all;
  }

  const Program& program_;
  PlainRun result_;
  std::map<StorageId, std::int64_t> live_;
  std::int64_t live_bytes_ = 0;
  Index next_ = 0;  // the next operator
  bool backward_begun_ = false;
};

}  // namespace

PlainRun run_plainly(const Trace& trace) {
  const Program program(trace);
  return Run(program).run(trace);
}

}  // namespace neap::graph
