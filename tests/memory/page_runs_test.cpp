// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A lost run is memory that nobody finds again, and two overlapping runs are two tensors in one
// place. Addresses are only numbers here: the set touches no page.
#include "memory/page_runs.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

using neap::memory::PageRuns;
using neap::memory::Run;

constexpr std::int64_t kPage = 4096;

char* page(std::int64_t index) {
  return reinterpret_cast<char*>(static_cast<std::uintptr_t>((1000 + index) * kPage));
}
Run run(std::int64_t first, std::int64_t pages) { return {page(first), pages * kPage}; }
std::int64_t index_of(const char* start) {
  return static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(start)) / kPage - 1000;
}
std::pair<std::int64_t, std::int64_t> pages_of(const std::optional<Run>& taken) {
  if (!taken) return {-1, -1};
  return {index_of(taken->start), taken->bytes / kPage};
}
using Pages = std::pair<std::int64_t, std::int64_t>;  // first, count

TEST(PageRuns, neighbours_become_one_run_whichever_comes_last) {
  const std::vector<std::int64_t> orders[] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                              {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
  for (const auto& order : orders) {
    PageRuns runs;
    for (const std::int64_t index : order) runs.insert(run(10 * index, 10));
    EXPECT_EQ(runs.starting_at(page(0)), 30 * kPage);
    EXPECT_EQ(runs.starting_at(page(10)), 0) << "it is inside of a run now";
    EXPECT_EQ(runs.total(), 30 * kPage);
    runs.validate(kPage);
  }
}

TEST(PageRuns, the_best_fit_is_the_smallest_run_that_has_the_bytes_and_the_lowest_of_equal_ones) {
  PageRuns runs;
  for (const auto& [first, count] : {Pages{0, 8}, Pages{20, 3}, Pages{40, 5}, Pages{60, 5}}) {
    runs.insert(run(first, count));
  }
  EXPECT_EQ(pages_of(runs.take_best_fit(4 * kPage)), (Pages{40, 4}));
  EXPECT_EQ(runs.starting_at(page(44)), kPage) << "the rest stays";
  EXPECT_EQ(pages_of(runs.take_best_fit(4 * kPage)), (Pages{60, 4}));
  EXPECT_EQ(pages_of(runs.take_best_fit(3 * kPage)), (Pages{20, 3}));
  EXPECT_EQ(pages_of(runs.take_best_fit(9 * kPage)), (Pages{-1, -1})) << "no run has so many";
  EXPECT_EQ(runs.total(), (8 + 1 + 1) * kPage) << "and nothing was taken";
}

TEST(PageRuns, what_comes_from_the_largest_comes_from_its_end_and_is_no_more_than_it_has) {
  PageRuns runs;
  runs.insert(run(0, 4));
  runs.insert(run(10, 9));
  EXPECT_EQ(pages_of(runs.take_from_largest(2 * kPage)), (Pages{17, 2}));
  EXPECT_EQ(pages_of(runs.take_from_largest(100 * kPage)), (Pages{10, 7}));
  EXPECT_EQ(pages_of(runs.take_from_largest(100 * kPage)), (Pages{0, 4}));
  EXPECT_EQ(runs.take_from_largest(kPage), std::nullopt);
  EXPECT_EQ(runs.total(), 0);
}

TEST(PageRuns, the_largest_run_that_another_set_goes_on_from_is_found_among_the_eight_largest) {
  PageRuns runs, other;
  for (std::int64_t i = 0; i < 10; ++i) runs.insert(run(100 * i, 20 - i));
  EXPECT_EQ(runs.largest_before(other, 25 * kPage), std::nullopt);
  other.insert(run(100 * 3 + 17, 8));  // after the fourth run
  EXPECT_EQ(pages_of(runs.largest_before(other, 25 * kPage)), (Pages{300, 17}));
  EXPECT_EQ(runs.largest_before(other, 26 * kPage), std::nullopt) << "one page is missing";
  other.insert(run(100 * 8 + 12, 90));  // after the ninth; not found
  EXPECT_EQ(runs.largest_before(other, 30 * kPage), std::nullopt);
  other.insert(run(100 * 1 + 19, 50));
  EXPECT_EQ(pages_of(runs.largest_before(other, 25 * kPage)), (Pages{100, 19}));
}

TEST(PageRuns, validation_names_what_does_not_hold) {
  const auto said = [](neap::memory::Run one) -> std::string {
    PageRuns runs;
    runs.insert(one);
    try {
      runs.validate(kPage);
    } catch (const std::logic_error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(said(run(3, 2)), "");
  EXPECT_EQ(said({page(3), kPage + 64}), "page runs: a run is whole pages");
  EXPECT_EQ(said({page(3) + 64, kPage}), "page runs: a run starts on a page");
}

// The naive implementation: a flag for each page.
class NaivePages {
 public:
  explicit NaivePages(std::size_t pages) : there_(pages) {}

  void set(std::int64_t first, std::int64_t count, bool there) {
    for (std::int64_t i = first; i < first + count; ++i) {
      RC_ASSERT(there_.at(static_cast<std::size_t>(i)) != there);
      there_[static_cast<std::size_t>(i)] = there;
    }
  }
  [[nodiscard]] std::vector<Pages> runs() const {
    std::vector<Pages> all;
    for (std::size_t i = 0; i < there_.size(); ++i) {
      if (!there_[i]) continue;
      if (i == 0 || !there_[i - 1]) all.emplace_back(static_cast<std::int64_t>(i), 0);
      ++all.back().second;
    }
    return all;
  }
  [[nodiscard]] std::vector<Pages> gaps() const {
    NaivePages inverse(there_.size());
    for (std::size_t i = 0; i < there_.size(); ++i) inverse.there_[i] = !there_[i];
    return inverse.runs();
  }

 private:
  std::vector<bool> there_;
};

TEST(PageRunsProperty, the_set_agrees_with_a_list_of_pages_after_each_step) {
  EXPECT_TRUE(rc::check([] {
    constexpr std::int64_t kPages = 64;
    PageRuns runs;
    NaivePages naive(kPages);
    const int steps = *rc::gen::inRange(1, 80);
    for (int step = 0; step < steps; ++step) {
      const std::int64_t wanted = *rc::gen::inRange<std::int64_t>(1, 12);
      const int action = *rc::gen::inRange(0, 4);
      const std::vector<Pages> before = naive.runs();
      if (action == 0) {  // a part of a gap
        const std::vector<Pages> gaps = naive.gaps();
        if (gaps.empty()) continue;
        const Pages gap = *rc::gen::elementOf(gaps);
        const std::int64_t count = std::min(wanted, gap.second);
        const std::int64_t first =
            gap.first + *rc::gen::inRange<std::int64_t>(0, gap.second - count + 1);
        runs.insert(run(first, count));
        naive.set(first, count, true);
      } else if (action == 1) {
        const Pages taken = pages_of(runs.take_best_fit(wanted * kPage));
        Pages best{-1, kPages + 1};
        for (const Pages& one : before) {
          if (one.second >= wanted && one.second < best.second) best = one;
        }
        RC_ASSERT(taken.first == best.first);
        if (taken.first >= 0) naive.set(taken.first, wanted, false);
      } else if (action == 2) {
        const std::optional<neap::memory::Run> taken = runs.take_from_largest(wanted * kPage);
        RC_ASSERT(taken.has_value() == !before.empty());
        if (!taken) continue;
        const auto [first, count] = pages_of(taken);
        std::int64_t most = 0;
        for (const Pages& one : before) most = std::max(most, one.second);
        RC_ASSERT(count == std::min(wanted, most));
        RC_ASSERT(std::any_of(before.begin(), before.end(), [&, f = first, c = count](Pages one) {
          return one.second == most && one.first + one.second == f + c;
        }));
        naive.set(first, count, false);
      } else if (!before.empty()) {
        const Pages one = *rc::gen::elementOf(before);
        const std::int64_t count = std::min(wanted, one.second);
        runs.take_front(page(one.first), count * kPage);
        naive.set(one.first, count, false);
      }
      runs.validate(kPage);
      std::int64_t total = 0;
      for (const auto& [first, count] : naive.runs()) {
        RC_ASSERT(runs.starting_at(page(first)) == count * kPage);
        total += count;
      }
      RC_ASSERT(runs.total() == total * kPage);
    }
  }));
}

}  // namespace
