// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include <neap/graph.h>

#include <map>
#include <string>

namespace neap::graph {
namespace {

class Run {
 public:
  explicit Run(const Trace& trace) : trace_(trace) {
    for (const Event& event : trace.events) {
      if (const auto* const given = std::get_if<Given>(&event)) {
        define(given->storage, given->bytes);
        result_.given += given->bytes;
      }
    }
    result_.peak = live_bytes_;
    result_.at_peak = ids();
  }

  PlainRun run() {
    for (const Event& event : trace_.events) {
      if (const auto* const op = std::get_if<Operator>(&event)) {
        run_operator(*op);
      } else if (const auto* const release = std::get_if<Release>(&event)) {
        require(release->storage, "releases");
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
    ++index_;
    if (op.phase == Phase::Backward && !backward_begun_) {
      backward_begun_ = true;
      result_.after_forward = ids();
    }
    for (const StorageId storage : op.reads) require(storage, op.name + " reads");
    for (const StorageId storage : op.mutates) require(storage, op.name + " writes");
    for (const Made& made : op.makes) define(made.storage, made.bytes);
    if (live_bytes_ + op.workspace <= result_.peak) return;
    result_.peak = live_bytes_ + op.workspace;
    result_.peak_operator = index_;
    result_.workspace = op.workspace;
    result_.at_peak = ids();
  }

  void define(StorageId storage, std::int64_t bytes) {
    if (!live_.emplace(storage, bytes).second) {
      throw InvalidArgument("trace: storage " + std::to_string(storage) + " is defined twice, at " +
                            where());
    }
    live_bytes_ += bytes;
  }

  void require(StorageId storage, const std::string& who) const {
    if (live_.contains(storage)) return;
    throw InvalidArgument("trace: " + who + " storage " + std::to_string(storage) +
                          ", which does not live there, at " + where());
  }

  [[nodiscard]] std::string where() const {
    return index_ < 0 ? "its start" : "operator " + std::to_string(index_);
  }

  [[nodiscard]] std::vector<StorageId> ids() const {
    std::vector<StorageId> all;
    all.reserve(live_.size());
    for (const auto& [storage, bytes] : live_) all.push_back(storage);
    return all;
  }

  const Trace& trace_;
  PlainRun result_;
  std::map<StorageId, std::int64_t> live_;
  std::int64_t live_bytes_ = 0;
  std::int64_t index_ = -1;
  bool backward_begun_ = false;
};

}  // namespace

PlainRun run_plainly(const Trace& trace) { return Run(trace).run(); }

}  // namespace neap::graph
