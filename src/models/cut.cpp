// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "models/cut.h"

#include <algorithm>
#include <cstddef>
#include <limits>

namespace neap::models {
namespace {

constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max() / 2;

class Cut {
 public:
  Cut(const std::vector<std::int64_t>& outputs, std::size_t segments)
      : outputs_(outputs), segments_(segments), count_(outputs.size()) {
    before_.assign(count_ + 1, 0);
    for (std::size_t i = 0; i < count_; ++i) before_[i + 1] = before_[i] + outputs[i];
    plain_.assign(count_, std::vector<std::int64_t>(count_ + 1, 0));
    checkpointed_ = plain_;
    for (std::size_t begin = 0; begin < count_; ++begin) {
      std::int64_t backward = 0, replay = 0;  // largest so far
      for (std::size_t end = begin + 1; end <= count_; ++end) {
        const std::int64_t last = outputs[end - 1];
        backward = std::max(backward, inside(begin, end) + 2 * last);
        plain_[begin][end] = checkpointed_[begin][end] = backward;
        if (end - begin < 2) continue;
        const std::int64_t replayed = outputs[end - 2];
        replay = std::max(replay, inside(begin, end - 1) + replayed);
        checkpointed_[begin][end] = std::max(backward, last + replayed + replay);
      }
    }
  }

  std::vector<std::int64_t> ends() {
    std::int64_t low = 0, high = 4 * before_.back();
    while (low < high) {
      const std::int64_t middle = low + (high - low) / 2;
      if (least_kept(middle) < kNever) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    least_kept(low);
    std::vector<std::int64_t> ends(segments_);
    std::size_t end = count_;
    for (std::size_t run = segments_; run > 0; --run) {
      ends[run - 1] = static_cast<std::int64_t>(end);
      end = begins_[run][end];
    }
    return ends;
  }

 private:
  [[nodiscard]] std::int64_t inside(std::size_t begin, std::size_t end) const {
    return before_[end] - before_[begin];
  }

  // The least that a cut keeps when no segment holds more than `bound`; kNever when there is no
  // such cut. Sets begins_.
  std::int64_t least_kept(std::int64_t bound) {
    // For the first `end` layers in `run` segments: the smallest sum of the segments' outputs or,
    // for all segments, of what stays. Less is better for every later segment, so the smallest is
    // enough.
    std::vector<std::int64_t> held(count_ + 1, kNever), more;
    held[0] = 0;
    begins_.assign(segments_ + 1, std::vector<std::size_t>(count_ + 1, 0));
    for (std::size_t run = 1; run <= segments_; ++run) {
      const bool last = run == segments_;
      const auto& most = last ? plain_ : checkpointed_;
      more.assign(count_ + 1, kNever);
      for (std::size_t end = last ? count_ : run; end <= count_; ++end) {
        for (std::size_t begin = run - 1; begin < end; ++begin) {
          if (held[begin] + most[begin][end] > bound) continue;
          const std::int64_t sum = held[begin] + (last ? inside(begin, end) : outputs_[end - 1]);
          if (sum >= more[end]) continue;
          more[end] = sum;
          begins_[run][end] = begin;
        }
      }
      held.swap(more);
    }
    return held[count_];
  }

  const std::vector<std::int64_t>& outputs_;
  std::size_t segments_, count_;
  std::vector<std::int64_t> before_;  // sums of the outputs before each layer
  std::vector<std::vector<std::int64_t>> plain_, checkpointed_;  // most held in [begin, end)
  std::vector<std::vector<std::size_t>> begins_;                 // begin of the last segment
};

}  // namespace

std::vector<std::int64_t> ends_of_lowest_peak(const std::vector<std::int64_t>& outputs,
                                              std::int64_t segments) {
  return Cut(outputs, static_cast<std::size_t>(segments)).ends();
}

}  // namespace neap::models
