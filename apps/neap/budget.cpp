// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "budget.h"

#include <neap/analysis.h>
#include <neap/machine.h>
#include <neap/memory.h>

#include <algorithm>
#include <optional>

namespace neap::app {
namespace {

// Runs a plain step on the first rows of each part of the batch.
train::PlainStep measure(const Task& task, const train::MicroBatch& batch, std::int64_t rows,
                         std::int64_t accumulate) {
  Job job = task.make_job();
  return train::measure_plain(job.loss, *job.optimizer, batch.x.narrow(0, 0, rows * accumulate),
                              batch.y.narrow(0, 0, rows * accumulate), accumulate);
}

// The need by shapes alone. Absent when the layers are not known.
std::optional<std::int64_t> estimate(const Task& task, std::int64_t rows) {
  try {
    const train::Model model = task.make_model();
    const MemoryUsage usage = estimate_memory_usage(model.module(), task.samples().shape, rows,
                                                    analysis::OptimizerKind::Adam);
    if (usage.unknown.empty()) return usage.peak;
  } catch (const Error&) {
  }
  return std::nullopt;
}

}  // namespace

train::Budget parse_budget(const std::string& text, const char* option) {
  try {
    return train::Budget::parse(text);
  } catch (const InvalidArgument& error) {
    throw UsageError(std::string(option) + ": " + error.what());
  }
}

std::string memory_left_text() {
  const machine::Memory memory = machine::memory();
  const bool by_limit = memory.limit && memory.left() == memory.limit_left;
  return Bytes(memory.left()).text() + (by_limit ? " of the container's " : " of the machine's ") +
         Bytes(by_limit ? *memory.limit : memory.total).text();
}

std::string why_too_large(const std::optional<Bytes>& budget) {
  const std::int64_t left = machine::memory().left();
  if (!budget || left == 0 || budget->count() - memory::usage().reserved <= left) return {};
  return "warning: a budget of " + budget->text() + " is more than what is left, " +
         memory_left_text() +
         ": a step that needs all of it is killed, or swaps; name a smaller one, or auto";
}

PlainNeed plain_need(const Task& task, const train::MicroBatch& batch, std::int64_t accumulate) {
  memory::trim();
  const std::int64_t rows = batch.y.size(0) / accumulate;  // of one part
  const std::int64_t left = machine::memory().left();
  // The process also grows beside what LibTorch holds, and an estimate may be some percent too low.
  // So a fifth stays free.
  const auto fits = [left](std::int64_t bytes) { return bytes <= left - left / 5; };
  const auto whole = [&] {
    Job job = task.make_job();
    return PlainNeed{
        .step = train::measure_plain(job.loss, *job.optimizer, batch.x, batch.y, accumulate)};
  };
  if (left == 0) return whole();
  const std::optional<std::int64_t> estimated = estimate(task, rows);
  if (estimated && fits(*estimated)) return whole();

  const std::int64_t few = std::max<std::int64_t>(1, rows / 16);
  const std::int64_t more = std::max(few + 1, rows / 8);
  const std::int64_t held = memory::usage().reserved;
  const auto refuse = [&](const std::string& need) {
    throw NoRoom("a plain step of " + std::to_string(batch.y.size(0)) + " samples needs about " +
                 need + ", and " + memory_left_text() +
                 " are left: a share of it cannot be measured; name --budget in bytes, or auto");
  };
  if (more >= rows) {  // no smaller step can be run
    if (estimated) refuse(Bytes(*estimated).text());
    return whole();
  }
  const train::PlainStep first = measure(task, batch, few, accumulate);
  const auto at = [&](const train::PlainStep& from, std::int64_t slope, std::int64_t extra) {
    return from.peak + Bytes(slope * extra);
  };
  const std::int64_t at_most = (first.peak - first.base).count() / few;
  if (!fits(at(first, at_most, more - few).count() - held)) {
    refuse(at(first, at_most, rows - few).text());
  }
  const train::PlainStep second = measure(task, batch, more, accumulate);
  const std::int64_t slope = (second.peak - first.peak).count() / (more - few);
  const Bytes peak = at(second, slope, rows - more);
  if (fits(peak.count() - held)) return whole();
  return {.step = {.base = second.base, .peak = peak, .milliseconds = 0},
          .note = "a plain step of " + std::to_string(batch.y.size(0)) +
                  " samples would not fit in what is left, " + memory_left_text() +
                  ": what it needs is worked out from steps of " +
                  std::to_string(few * accumulate) + " and " + std::to_string(more * accumulate)};
}

bool plan_first_steps(const Task& task, const train::MicroBatch& batch, std::int64_t accumulate) {
  if (machine::memory().left() == 0) return false;  // it is not known what is left
  try {
    // The planner has watched whole plain steps only when there is no note.
    return plain_need(task, batch, accumulate).note.empty();
  } catch (const NoRoom&) {
    return false;
  } catch (const BudgetExceeded&) {
    return false;
  } catch (const OutOfMemory&) {
    return false;
  }
}

}  // namespace neap::app
