// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "offload/extents.h"

#include "offload/scripted_tier.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <vector>

namespace neap::offload {
namespace {

using test::Script;
using test::ScriptedTier;

constexpr std::int64_t kUnit = 512;  // the scripted tier's

class OffloadExtents : public testing::Test {
 protected:
  Extents::Place take(Extents& extents, std::int64_t units) {
    Extents::Place place;
    EXPECT_TRUE(extents.take(units * kUnit, place));
    return place;
  }
  // "u2 w1 h3": in use, warm, holes, with their sizes in units.
  static std::string text(const Extents& extents) {
    std::ostringstream text;
    for (const Extents::Extent& one : extents.all()) {
      if (one.offset != 0) text << ' ';
      text << "uwh"[static_cast<int>(one.kind)] << one.bytes / kUnit;
    }
    return text.str();
  }

  std::shared_ptr<Script> script_ = std::make_shared<Script>();
  ScriptedTier tier_{script_};
};

TEST_F(OffloadExtents, sizes_are_rounded_up_to_the_alignment) {
  Extents extents(tier_, 4 * kUnit);
  Extents::Place place;
  ASSERT_TRUE(extents.take(kUnit + 1, place));
  EXPECT_EQ(extents.in_use(), 2 * kUnit);
  ASSERT_TRUE(extents.take(0, place));
  EXPECT_EQ(extents.in_use(), 3 * kUnit);
  EXPECT_EQ(place->offset, 2 * kUnit);
}

TEST_F(OffloadExtents, never_pass_the_limit) {
  Extents extents(tier_, 4 * kUnit + 100);
  const Extents::Place first = take(extents, 3);
  Extents::Place none;
  EXPECT_TRUE(extents.fits(kUnit));
  EXPECT_FALSE(extents.fits(kUnit + 1));
  EXPECT_FALSE(extents.take(kUnit + 1, none));
  EXPECT_FALSE(extents.take(std::numeric_limits<std::int64_t>::max(), none));
  take(extents, 1);
  EXPECT_FALSE(extents.take(1, none));
  EXPECT_EQ(extents.in_use(), 4 * kUnit);
  extents.give(first);
  EXPECT_EQ(extents.in_use(), kUnit);
  EXPECT_EQ(extents.peak(), 4 * kUnit);
  extents.reset_peak();
  EXPECT_EQ(extents.peak(), kUnit);
}

TEST_F(OffloadExtents, the_smallest_that_fits_is_taken_and_neighbours_become_one) {
  Extents extents(tier_, 100 * kUnit);
  std::vector<Extents::Place> places;
  for (const std::int64_t units : {4, 1, 2, 1, 3, 1}) places.push_back(take(extents, units));
  extents.give(places[0]);
  extents.give(places[2]);
  extents.give(places[4]);
  EXPECT_EQ(text(extents), "w4 u1 w2 u1 w3 u1");
  take(extents, 2);
  EXPECT_EQ(text(extents), "w4 u1 u2 u1 w3 u1");
  take(extents, 1);
  EXPECT_EQ(text(extents), "w4 u1 u2 u1 u1 w2 u1");
  extents.give(places[1]);
  extents.give(places[3]);
  EXPECT_EQ(text(extents), "w5 u2 w1 u1 w2 u1");
  extents.give(places[5]);
  EXPECT_EQ(text(extents), "w5 u2 w1 u1 w3");
}

TEST_F(OffloadExtents, of_equal_ones_the_last_that_was_freed_is_taken) {
  Extents extents(tier_, 100 * kUnit);
  std::vector<Extents::Place> places;
  for (int i = 0; i < 6; ++i) places.push_back(take(extents, 1));
  for (const std::size_t i : {2U, 4U, 0U}) extents.give(places[i]);
  EXPECT_EQ(take(extents, 1)->offset, 0);
  EXPECT_EQ(take(extents, 1)->offset, 4 * kUnit);
  EXPECT_EQ(take(extents, 1)->offset, 2 * kUnit);
}

TEST_F(OffloadExtents, fragments_are_released_so_that_all_below_the_limit_can_be_used) {
  Extents extents(tier_, 6 * kUnit);
  std::vector<Extents::Place> places;
  for (int i = 0; i < 6; ++i) places.push_back(take(extents, 1));
  for (const std::size_t i : {3U, 1U, 5U}) extents.give(places[i]);
  EXPECT_EQ(text(extents), "u1 w1 u1 w1 u1 w1");
  EXPECT_TRUE(extents.fits(3 * kUnit));
  const Extents::Place large = take(extents, 3);
  // The last one, which was released last of the three, had become a hole at the end.
  EXPECT_EQ(text(extents), "u1 h1 u1 h1 u1 u3");
  EXPECT_EQ(extents.touched(), 6 * kUnit);
  extents.give(large);
  extents.give(places[2]);
  EXPECT_EQ(text(extents), "u1 h1 w1 h1 u1 w3");
  take(extents, 2);
  take(extents, 1);
  take(extents, 1);
  EXPECT_EQ(text(extents), "u1 h1 u1 h1 u1 u2 u1");
}

TEST_F(OffloadExtents, a_tier_that_releases_nothing_is_full_when_no_fragment_fits) {
  script_->refuse_release();
  Extents extents(tier_, 4 * kUnit);
  std::vector<Extents::Place> places;
  for (int i = 0; i < 4; ++i) places.push_back(take(extents, 1));
  extents.give(places[0]);
  extents.give(places[2]);
  Extents::Place none;
  EXPECT_FALSE(extents.take(2 * kUnit, none));
  EXPECT_FALSE(extents.fits(2 * kUnit));
  EXPECT_TRUE(extents.fits(kUnit));
  EXPECT_EQ(text(extents), "w1 u1 w1 u1");
  extents.give_released(places[1]);
  EXPECT_EQ(text(extents), "w3 u1");
  take(extents, 2);
}

TEST_F(OffloadExtents, what_the_tier_spoiled_becomes_a_hole) {
  Extents extents(tier_, 9 * kUnit);
  const Extents::Place first = take(extents, 1);
  const Extents::Place spoiled = take(extents, 2);
  const Extents::Place last = take(extents, 1);
  extents.give_released(spoiled);
  EXPECT_EQ(text(extents), "u1 h2 u1");
  EXPECT_EQ(extents.touched(), 2 * kUnit);
  extents.give_released(last);
  EXPECT_EQ(text(extents), "u1");
  extents.give_released(first);
  EXPECT_EQ(text(extents), "");
  EXPECT_EQ(extents.touched(), 0);
}

// Compares with a map of units: who has each one.
TEST_F(OffloadExtents, random_programs_keep_the_invariants) {
  for (unsigned seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const auto below = [&](std::size_t end) { return random() % end; };
    const std::int64_t limit = 20 + static_cast<std::int64_t>(below(40));
    Extents extents(tier_, limit * kUnit);
    std::vector<Extents::Place> places;
    std::int64_t in_use = 0;
    for (int step = 0; step < 300; ++step) {
      if (below(2) == 0 && !places.empty()) {
        const std::size_t which = below(places.size());
        in_use -= places[which]->bytes;
        below(4) == 0 ? extents.give_released(places[which]) : extents.give(places[which]);
        places.erase(places.begin() + static_cast<std::ptrdiff_t>(which));
      } else {
        const auto bytes = static_cast<std::int64_t>(1 + below(10)) * kUnit;
        const bool fits = in_use + bytes <= limit * kUnit;
        ASSERT_EQ(extents.fits(bytes), fits);
        Extents::Place place;
        ASSERT_EQ(extents.take(bytes, place), fits);
        if (fits) {
          ASSERT_EQ(place->bytes, bytes);
          in_use += bytes;
          places.push_back(place);
        }
      }
      std::int64_t end = 0, used = 0, warm = 0;
      Extents::Kind before = Extents::Kind::InUse;
      for (const Extents::Extent& one : extents.all()) {
        ASSERT_EQ(one.offset, end);
        ASSERT_GT(one.bytes, 0);
        ASSERT_TRUE(one.kind == Extents::Kind::InUse || one.kind != before);
        before = one.kind;
        end += one.bytes;
        if (one.kind == Extents::Kind::InUse) used += one.bytes;
        if (one.kind == Extents::Kind::Warm) warm += one.bytes;
      }
      ASSERT_FALSE(before == Extents::Kind::Hole);
      ASSERT_EQ(used, in_use);
      ASSERT_EQ(extents.in_use(), in_use);
      ASSERT_EQ(extents.touched(), used + warm);
      ASSERT_LE(extents.touched(), limit * kUnit);
    }
  }
}

}  // namespace
}  // namespace neap::offload
