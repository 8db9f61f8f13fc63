// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Measures the largest batch that trains in 4 GiB of LibTorch's memory, and the time per picture:
// plain, with checkpoint() around each block, in segments, and by a budget alone, online and by a
// plan.
//
// Steps take minutes, so few are repeated. Without a budget, the peak is the same in each step and
// grows by the same with each picture. So the largest batch is predicted from two small ones, and
// proved by a step with it and a step with one more. Inside the budget, the batches of a list are
// tried until one is refused or the list ends. These steps run online, and plans are made from
// them.
// Then all rows run in turn, twice. A step that is not counted comes first, so that the allocator
// has its memory already. That is as in training, where only the first step faults in fresh pages
// and has no plan.
#include "workload.h"

#include <neap/neap.h>
#include <neap/report.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <utility>

namespace neap::bench {
namespace {

constexpr Bytes kBudget{std::int64_t{4} << 30};

enum class How { Plain, Blocks, Segments, Online, Planned };

struct Attempt {
  bool fits = false;
  bool by_plan = false;
  Bytes peak;  // live bytes
  double seconds = 0;
};

Attempt attempt(const std::string& name, How how, std::int64_t batch) {
  Workload workload = make_large_workload(name, batch);
  const auto& loss = how == How::Blocks     ? workload.checkpointed_loss
                     : how == How::Segments ? workload.sequential_loss
                                            : workload.loss;
  Attempt result;
  const double start = now_ms();
  memory::reset_peak();
  try {
    Options options;
    if (how == How::Online || how == How::Planned) options.budget = kBudget;
    if (how == How::Online) options.policy = Online{};
    Scope scope(options);
    workload.step(loss);
    scope.end();
    result.by_plan = scope.stats().plan_hits > 0;
    result.peak = Bytes(memory::usage().peak);
    result.fits = result.peak <= kBudget;
  } catch (const BudgetExceeded& error) {
    std::fprintf(stderr, "%s, %lld: %s\n", name.c_str(), static_cast<long long>(batch),
                 error.what());
  }
  result.seconds = (now_ms() - start) / 1000;
  finish_planning();  // so that no planner runs beside the next step
  std::fprintf(stderr, "%s, way %d, batch %lld: %s%s, peak %s, %.1f s\n", name.c_str(),
               static_cast<int>(how), static_cast<long long>(batch), result.fits ? "fits" : "no",
               result.by_plan ? " by plan" : "", result.peak.text().c_str(), result.seconds);
  return result;
}

// The result is proved: this batch fits, and a batch of one more does not.
std::int64_t largest_batch(const std::string& name, How how) {
  const auto bytes_of = [&](std::int64_t batch) { return attempt(name, how, batch).peak.count(); };
  std::int64_t fits = 2, fits_bytes = bytes_of(fits);
  std::int64_t other = 2 * fits, other_bytes = bytes_of(other);
  while (other_bytes <= kBudget.count() && other_bytes < fits_bytes + fits_bytes / 8) {
    // In small batches, the optimizer's step takes the most.
    fits = std::exchange(other, 2 * other);
    fits_bytes = std::exchange(other_bytes, bytes_of(other));
  }
  std::int64_t fails = std::numeric_limits<std::int64_t>::max();
  while (fails - fits > 1) {
    // Extrapolates from the last two batches.
    const std::int64_t growth = (other_bytes - fits_bytes) / (other - fits);
    const std::int64_t more = (kBudget.count() - fits_bytes) / std::max<std::int64_t>(1, growth);
    const std::int64_t next = std::clamp(fits + more, fits + 1, fails - 1);
    const std::int64_t bytes = bytes_of(next);
    if (bytes <= kBudget.count()) {
      other = std::exchange(fits, next);
      other_bytes = std::exchange(fits_bytes, bytes);
    } else {
      other = fails = next;
      other_bytes = bytes;
    }
  }
  return fits;
}

struct Row {
  std::string way;
  How how;
  std::int64_t batch;
  std::vector<double> seconds_each = {};
  Bytes peak = {};
};

// Batches to try inside the budget: multiples of the stride up to `most`, where a step still takes
// minutes and not hours.
struct Batches {
  std::int64_t stride, most;
};
const std::map<std::string, Batches> kInside{
    {"deck", {16, 64}}, {"transformer", {64, 448}}, {"unet", {32, 128}}};

std::vector<Row> measure(const std::string& name) {
  std::vector<Row> rows;
  const std::int64_t plain = largest_batch(name, How::Plain);
  rows.push_back({"plain LibTorch", How::Plain, plain});
  rows.push_back({"`checkpoint()` on each block", How::Blocks, largest_batch(name, How::Blocks)});
  if (make_large_workload(name, 1).sequential_loss) {
    rows.push_back({"in segments", How::Segments, largest_batch(name, How::Segments)});
  }
  std::vector<std::int64_t> batches;
  for (const Row& row : rows) {
    if (row.how != How::Plain) batches.push_back(row.batch);
  }
  const auto [stride, most] = kInside.at(name);
  std::int64_t beyond = (std::ranges::max(batches) / stride + 1) * stride;
  const std::int64_t first = beyond;
  for (const std::int64_t batch : batches) (void)attempt(name, How::Planned, batch);
  while (beyond <= most && attempt(name, How::Planned, beyond).fits) beyond += stride;
  std::ranges::sort(batches);
  for (const std::int64_t batch : batches) {
    rows.push_back({"by the budget alone, online", How::Online, batch});
    rows.push_back({"by the budget alone, by plan", How::Planned, batch});
  }
  for (const std::int64_t batch : std::set{first, beyond - stride}) {
    if (batch < beyond) rows.push_back({"by the budget alone, by plan", How::Planned, batch});
  }
  (void)attempt(name, How::Plain, plain);
  constexpr int kRounds = 2;
  for (int round = 0; round < kRounds; ++round) {
    for (Row& row : rows) {
      const Attempt step = attempt(name, row.how, row.batch);
      if (!step.fits) continue;
      if (row.how == How::Planned && !step.by_plan)
        row.way = "by the budget alone, no plan followed";
      row.peak = step.peak;
      row.seconds_each.push_back(step.seconds / static_cast<double>(row.batch));
    }
  }
  return rows;
}

}  // namespace

void measure_headline(const std::vector<std::string>& names, const std::string& folder) {
  std::string text;
  for (const std::string& name : names) {
    const std::vector<Row> rows = measure(name);
    report::Table table({{"way", report::Align::Left},
                         {"batch"},
                         {"peak"},
                         {"seconds an item"},
                         {"time against plain"}});
    report::Plot plot;
    plot.title = name + ": time of an item in 4 GiB, by batch";
    plot.x.label = "batch";
    plot.y.label = "against plain";
    const double plain = median(rows[0].seconds_each);
    std::map<std::string, std::size_t> series;
    for (const Row& row : rows) {
      const double each = median(row.seconds_each);
      table.add_row({row.way, std::to_string(row.batch), row.peak.text(),
                     median_and_spread(row.seconds_each), report::fixed(each / plain, 2)});
      const auto [at, added] = series.try_emplace(row.way, plot.series.size());
      if (added) plot.series.push_back({row.way, {}});
      plot.series[at->second].points.push_back({static_cast<double>(row.batch), each / plain});
    }
    text += "\n## " + name + "\n\n" + make_large_workload(name, 1).definition + ".\n\n" +
            table.markdown() + "\n![](headline-" + name + ".svg)\n";
    std::ofstream(folder + "/headline-" + name + ".svg") << report::svg(plot);
    std::ofstream(folder + "/headline.md")
        << "# The largest batch in 4 GiB\n\n`make bench-headline`, " << machine()
        << ", one thread. Steps include zero_grad, forward, loss, backward and optimizer; two "
           "rounds in turn, each step of a fresh model. Largest batches are proved: one more does "
           "not fit (without a budget: passes 4 GiB; inside it, the next multiple of "
           "the stride is refused or was not tried).\n"
        << text;
  }
}

}  // namespace neap::bench
