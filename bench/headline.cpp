// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The largest batch that trains in 4 GiB of LibTorch's memory, and the time of a picture: plain, with checkpoint() around each
// block, in segments, and by a budget alone.
//
// Steps take minutes, so little is run twice: peaks without a budget are the same in each step and grow by the same with each
// picture, so the largest batch is predicted from two small ones and proved by a step at it and one beyond it. Inside
// the budget each batch of a list is tried until one is refused. Then all rows run in turn, twice, on memory that the
// allocator has already, after a step that is not counted: as in training, where only the first step pays for fresh pages.
#include "workload.h"

#include <neap/neap.h>
#include <neap/report.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <map>
#include <optional>

namespace neap::bench {
namespace {

constexpr Bytes kBudget{std::int64_t{4} << 30};

enum class How { Plain, Blocks, Segments, Budget };

struct Attempt {
  bool fits = false;
  Bytes peak;  // live
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
    Scope scope({.budget = how == How::Budget ? std::optional(kBudget) : std::nullopt});
    workload.step(loss);
    scope.end();
    result.peak = Bytes(memory::usage().peak);
    result.fits = result.peak <= kBudget;
  } catch (const BudgetExceeded& error) {
    std::fprintf(stderr, "%s, %lld: %s\n", name.c_str(), static_cast<long long>(batch),
                 error.what());
  }
  result.seconds = (now_ms() - start) / 1000;
  std::fprintf(stderr, "%s, way %d, batch %lld: %s, peak %s, %.1f s\n", name.c_str(),
               static_cast<int>(how), static_cast<long long>(batch), result.fits ? "fits" : "no",
               result.peak.text().c_str(), result.seconds);
  return result;
}

// Proved: it fits, and one more does not.
std::int64_t largest_batch(const std::string& name, How how) {
  const std::int64_t one = attempt(name, how, 2).peak.count();
  const std::int64_t two = attempt(name, how, 4).peak.count();
  std::int64_t batch = std::max<std::int64_t>(1, 4 + (kBudget.count() - two) * 2 / (two - one));
  while (batch > 1 && !attempt(name, how, batch).fits) --batch;
  while (attempt(name, how, batch + 1).fits) ++batch;
  return batch;
}

struct Row {
  std::string way;
  How how;
  std::int64_t batch;
  std::vector<double> seconds_each = {};
  Bytes peak = {};
};

// Inside the budget, multiples of it are tried.
const std::map<std::string, std::int64_t> kStride{{"deck", 8}, {"transformer", 32}, {"unet", 32}};

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
  const std::int64_t stride = kStride.at(name);
  std::int64_t beyond = (std::ranges::max(batches) / stride + 1) * stride;
  const std::int64_t first = beyond;
  while (attempt(name, How::Budget, beyond).fits) beyond += stride;
  if (beyond > first) batches.push_back(beyond - stride);
  std::ranges::sort(batches);
  for (const std::int64_t batch : batches) {
    rows.push_back({"by the budget alone", How::Budget, batch});
  }
  (void)attempt(name, How::Plain, plain);
  constexpr int kRounds = 2;
  for (int round = 0; round < kRounds; ++round) {
    for (Row& row : rows) {
      const Attempt step = attempt(name, row.how, row.batch);
      if (!step.fits) continue;
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
           "not fit (without a budget: passes 4 GiB; inside it, the next of the list is refused).\n"
        << text;
  }
}

}  // namespace neap::bench
