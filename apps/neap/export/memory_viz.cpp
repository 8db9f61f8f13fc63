// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "export/memory_viz.h"

#include "export/pickle.h"

#include <neap/timeline.h>

#include <algorithm>
#include <map>
#include <optional>
#include <ranges>
#include <unordered_map>
#include <utility>
#include <vector>

namespace neap::app {
namespace {

using graph::Operator;
using planner::Stay;

// Not 0, so that no address looks like none.
constexpr std::int64_t kFirstAddress = std::int64_t{1} << 40;
constexpr std::int64_t kNsOfUs = 1000;

class Snapshot {
 public:
  explicit Snapshot(const graph::Trace& trace, const graph::Plan& plan)
      : plan_(plan),
        placement_(planner::place(trace, plan)),
        line_(graph::timeline(trace, plan)),
        categories_(graph::categories_of(trace)),
        operators_(graph::operators_of(trace)),
        frames_(operators_.size()) {
    for (const graph::Event& event : trace.events) {
      if (const auto* const given = std::get_if<graph::Given>(&event)) {
        origins_[given->storage] = kGiven;
      }
    }
    for (std::size_t i = 0; i < operators_.size(); ++i) {
      const auto number = static_cast<std::int64_t>(i);
      for (const graph::Made& made : operators_[i]->makes) origins_[made.storage] = number;
      for (const graph::StorageId read : operators_[i]->reads) {
        first_readers_.try_emplace(read, number);
      }
    }
    for (std::size_t i = 0; i < placement_.stays.size(); ++i) {
      by_step_[placement_.stays[i].step].push_back(i);
    }
  }

  std::string write() {
    pickle_.begin_dict();
    pickle_.text("device_traces");
    pickle_.begin_list();
    pickle_.begin_list();
    add_events();
    pickle_.end_list();
    pickle_.end_list();
    pickle_.text("segments");
    pickle_.begin_list();
    add_segment();
    pickle_.end_list();
    pickle_.text("allocator_settings");
    pickle_.begin_dict();
    pickle_.end_dict();
    pickle_.text("external_annotations");
    pickle_.begin_list();
    pickle_.end_list();
    pickle_.end_dict();
    return pickle_.finish();
  }

 private:
  static constexpr std::int64_t kGiven = -1;

  // Follows the plan, and keeps what is live.
  void add_events() {
    if (placement_.arena.count() > 0) {
      add_entry("segment_alloc", kFirstAddress, placement_.arena.count());
      no_frames();
      // The viewer in the browser needs one entry of this category where there are others.
      add_pair("category", "unknown");
      pickle_.end_dict();
    }
    for (const std::size_t stay : by_step_[-1]) begin_stay(stay);
    std::size_t moment = 0;  // of the timeline: the first is before the plan's first step
    for (std::size_t i = 0; i < plan_.steps.size(); ++i) {
      const graph::Step& step = plan_.steps[i];
      if (step.action == graph::Step::Action::Free) {
        const auto live = live_.find(step.target);
        free(live->second);
        live_.erase(live);
        continue;
      }
      if (step.action == graph::Step::Action::Offload) continue;
      if (step.action == graph::Step::Action::Load) {
        for (const std::size_t stay : by_step_[static_cast<std::int64_t>(i)]) begin_stay(stay);
        continue;
      }
      ns_ = line_.moments[++moment].ns;
      run(static_cast<std::int64_t>(i), step.target);
    }
  }

  void run(std::int64_t step, std::int64_t op) {
    running_ = op;
    std::vector<std::size_t> arriving, ending;
    for (const std::size_t i : by_step_[step]) {
      const Stay& stay = placement_.stays[i];
      if (stay.storage >= 0 && origins_.at(stay.storage) == kGiven) {
        arriving.push_back(i);  // after the operator
      } else if (stay.storage < 0 || live_.contains(stay.storage)) {
        ending.push_back(i);  // its workspace, or a second copy of what it makes again
        allocate(i);
      } else {
        begin_stay(i);
      }
    }
    for (const std::size_t i : ending) free(i);
    for (const std::size_t i : arriving) begin_stay(i);
  }

  void begin_stay(std::size_t stay) {
    live_[placement_.stays[stay].storage] = stay;
    allocate(stay);
  }

  void allocate(std::size_t i) {
    const Stay& stay = placement_.stays[i];
    if (stay.bytes == 0) return;
    add_entry("alloc", kFirstAddress + stay.offset, stay.bytes);
    add_frames(stay);
    add_pair("category", stay.storage < 0 ? graph::name_of(graph::Category::Workspace)
                                          : graph::name_of(categories_.at(stay.storage)));
    pickle_.end_dict();
  }

  void free(std::size_t i) {
    const Stay& stay = placement_.stays[i];
    if (stay.bytes == 0) return;
    for (const char* const action : {"free_requested", "free_completed"}) {
      add_entry(action, kFirstAddress + stay.offset, stay.bytes);
      add_frames(stay);
      pickle_.end_dict();
    }
  }

  // The caller ends the dict.
  void add_entry(const char* action, std::int64_t address, std::int64_t bytes) {
    pickle_.begin_dict();
    add_pair("action", action);
    add_pair("addr", address);
    add_pair("size", bytes);
    add_pair("stream", 0);
    add_pair("time_us", ns_ / kNsOfUs);
  }

  // Where the bytes come from: the operator, and the modules that it is in.
  void add_frames(const Stay& stay) {
    pickle_.text("frames");
    const std::int64_t op = stay.storage < 0 ? running_ : origins_.at(stay.storage);
    std::optional<std::uint32_t>& frames =
        op == kGiven ? given_frames_[stay.storage] : frames_[static_cast<std::size_t>(op)];
    if (frames) {
      pickle_.again(*frames);
      return;
    }
    pickle_.begin_list();
    if (op == kGiven) {
      const auto reader = first_readers_.find(stay.storage);
      const std::string layer =
          reader == first_readers_.end() ? "" : operator_of(reader->second).layer;
      add_frame("storage " + std::to_string(stay.storage), layer, 0);
      add_modules(layer);
      add_frame(graph::name_of(categories_.at(stay.storage)), "given", 0);
    } else {
      add_frame(operator_of(op).name, operator_of(op).layer, op);
      add_modules(operator_of(op).layer);
      add_frame(graph::name_of(operator_of(op).phase), "step", 0);
    }
    pickle_.end_list();
    frames = pickle_.remember();
  }
  void add_modules(const std::string& layer) {
    for (const std::string& name : std::views::reverse(graph::modules_of(layer))) {
      add_frame(name, "module", 0);
    }
  }
  void add_frame(const std::string& name, const std::string& file, std::int64_t line) {
    pickle_.begin_dict();
    add_pair("name", name);
    add_pair("filename", file);
    add_pair("line", line);
    pickle_.end_dict();
  }
  void no_frames() {
    pickle_.text("frames");
    pickle_.begin_list();
    pickle_.end_list();
  }

  // All memory, as it is at the end of the step.
  void add_segment() {
    const std::int64_t arena = placement_.arena.count();
    if (arena == 0) return;
    std::vector<Stay> blocks;
    std::int64_t live_bytes = 0;
    for (const auto& [storage, i] : live_) {
      if (placement_.stays[i].bytes == 0) continue;
      blocks.push_back(placement_.stays[i]);
      live_bytes += blocks.back().bytes;
    }
    std::ranges::sort(blocks, {}, &Stay::offset);
    pickle_.begin_dict();
    add_pair("device", 0);
    add_pair("address", kFirstAddress);
    add_pair("total_size", arena);
    add_pair("allocated_size", live_bytes);
    add_pair("active_size", live_bytes);
    add_pair("requested_size", live_bytes);
    add_pair("stream", 0);
    add_pair("segment_type", "large");
    no_frames();
    pickle_.text("is_expandable");
    pickle_.boolean(false);
    pickle_.text("blocks");
    pickle_.begin_list();
    std::int64_t offset = 0;
    for (const Stay& block : blocks) {
      add_hole(offset, block.offset);
      add_block(block.offset, block.bytes, "active_allocated", block.bytes);
      add_frames(block);
      pickle_.end_dict();
      offset = block.offset + block.bytes;
    }
    add_hole(offset, arena);
    pickle_.end_list();
    pickle_.end_dict();
  }
  void add_hole(std::int64_t from, std::int64_t to) {
    if (from == to) return;
    add_block(from, to - from, "inactive", 0);
    no_frames();
    pickle_.end_dict();
  }
  // The caller ends the dict.
  void add_block(std::int64_t offset, std::int64_t bytes, const char* state,
                 std::int64_t requested) {
    pickle_.begin_dict();
    add_pair("address", kFirstAddress + offset);
    add_pair("size", bytes);
    add_pair("requested_size", requested);
    add_pair("state", state);
  }

  void add_pair(const char* key, std::int64_t value) {
    pickle_.text(key);
    pickle_.integer(value);
  }
  void add_pair(const char* key, const std::string& value) {
    pickle_.text(key);
    pickle_.text(value);
  }

  [[nodiscard]] const Operator& operator_of(std::int64_t op) const {
    return *operators_[static_cast<std::size_t>(op)];
  }

  const graph::Plan& plan_;
  planner::Placement placement_;
  graph::Timeline line_;
  std::map<graph::StorageId, graph::Category> categories_;
  std::vector<const Operator*> operators_;
  std::unordered_map<graph::StorageId, std::int64_t> origins_;  // its maker, or kGiven
  std::unordered_map<graph::StorageId, std::int64_t> first_readers_;
  std::unordered_map<std::int64_t, std::vector<std::size_t>> by_step_;  // the stays of a step
  PickleWriter pickle_;
  // Numbers of lists in the pickle; by operator, and by storage that is given.
  std::vector<std::optional<std::uint32_t>> frames_;
  std::unordered_map<graph::StorageId, std::optional<std::uint32_t>> given_frames_;
  std::map<graph::StorageId, std::size_t> live_;  // its stay
  std::int64_t running_ = kGiven;
  std::int64_t ns_ = 0;
};

}  // namespace

std::string memory_snapshot(const TracedStep& step) {
  const graph::Plan plan = step.solution ? step.solution->plan : graph::plain_plan(step.trace);
  return Snapshot(step.trace, plan).write();
}

}  // namespace neap::app
