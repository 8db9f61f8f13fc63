// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A tier that fails: what cannot be written is not copied, what cannot be read is lost, and both
// are said. Nothing throws.
#include "offload/copies_fixture.h"
#include "offload/scripted_tier.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <vector>

namespace neap::test {
namespace {

using offload::Copy;

TEST_F(OffloadCopies, a_failed_write_is_told_and_the_next_one_is_tried) {
  open(2 * kUnit);
  const Content from = content(2 * kUnit, 1);
  script_->fail('w', 1, EIO);
  Copy* const copy = begin(from);
  EXPECT_FALSE(copies_->wait_written(*copy));
  EXPECT_TRUE(copies_->is_written(*copy)) << "there is nothing to wait for";
  EXPECT_EQ(copies_->why_not(),
            "/the/tier cannot be written: Input/output error; check the disk, or write elsewhere");
  EXPECT_EQ(loaded(*copy, from.size()), Content());
  EXPECT_EQ(copies_->why_lost(),
            "/the/tier: a copy of 1.0 KiB could not be written: Input/output error; check the "
            "disk, or write elsewhere");
  EXPECT_EQ(script_->begun('r'), 0);
  copies_->drop(*copy);
  EXPECT_EQ(copies_->in_use(), 0);
  EXPECT_TRUE(copies_->has_room(2 * kUnit));
  Copy& next = written(from);
  EXPECT_TRUE(same_bits(loaded(next, from.size()), from));
}

TEST_F(OffloadCopies, writing_ends_after_five_failures_in_a_row) {
  open(100 * kUnit);
  const Content from = content(kUnit, 1);
  int call = 0;
  for (int i = 0; i < 4; ++i) script_->fail('w', ++call, EIO);
  ++call;  // one that succeeds
  for (int i = 0; i < 5; ++i) script_->fail('w', ++call, EIO);
  for (int i = 0; i < 10; ++i) {
    Copy* const copy = begin(from);
    ASSERT_NE(copy, nullptr) << i;
    EXPECT_EQ(copies_->wait_written(*copy), i == 4);
    copies_->drop(*copy);
  }
  EXPECT_FALSE(copies_->has_room(1));
  EXPECT_EQ(begin(from), nullptr);
  EXPECT_EQ(copies_->why_not(),
            "/the/tier cannot be written: Input/output error; check the disk, or write elsewhere "
            "(5 copies in a row failed; no more are tried)");
  EXPECT_EQ(script_->begun('w'), 10);
}

TEST_F(OffloadCopies, a_full_disk_takes_more_when_a_copy_there_is_dropped) {
  open(100 * kUnit);
  const Content from = content(kUnit, 1);
  Copy& kept = written(from);
  script_->hold('w');
  std::vector<Copy*> refused;
  for (int i = 0; i < 8; ++i) refused.push_back(begin(from));
  for (int k = 2; k <= 9; ++k) script_->fail('w', k, ENOSPC);
  script_->go('w');
  for (Copy* const copy : refused) EXPECT_FALSE(copies_->wait_written(*copy));
  for (Copy* const copy : refused) copies_->drop(*copy);
  EXPECT_EQ(copies_->in_use(), kUnit);
  EXPECT_EQ(script_->kept(), kUnit) << "what failed has been released";
  EXPECT_FALSE(copies_->has_room(kUnit));
  EXPECT_EQ(begin(from), nullptr);
  EXPECT_EQ(copies_->why_not(),
            "/the/tier cannot be written: No space left on device; free the disk, or write "
            "elsewhere");
  copies_->drop(kept);
  EXPECT_TRUE(copies_->has_room(kUnit));
  Copy& next = written(from);  // into the blocks that the dropped one had
  EXPECT_TRUE(same_bits(loaded(next, from.size()), from));
  EXPECT_EQ(script_->begun('w'), 10);
}

TEST_F(OffloadCopies, a_disk_that_stays_full_is_not_tried_for_ever) {
  open(100 * kUnit);
  const Content from = content(kUnit, 1);
  std::vector<Copy*> kept;
  for (int i = 0; i < 6; ++i) kept.push_back(&written(from));
  for (int k = 7; k <= 30; ++k) script_->fail('w', k, ENOSPC);
  int tries = 0;
  for (Copy* const one : kept) {
    Copy* const copy = begin(from);
    if (copy != nullptr) {
      ++tries;
      EXPECT_FALSE(copies_->wait_written(*copy));
      copies_->drop(*copy);
    }
    copies_->drop(*one);
  }
  EXPECT_EQ(tries, 5);
  EXPECT_EQ(begin(from), nullptr);
}

TEST_F(OffloadCopies, a_failed_read_loses_the_copy_and_says_why) {
  open(100 * kUnit);
  const Content from = content(3 * kUnit, 1);
  Copy& copy = written(from);
  script_->fail('r', 1, EIO);
  EXPECT_EQ(loaded(copy, from.size()), Content());
  EXPECT_EQ(copies_->why_lost(),
            "/the/tier: a copy of 1.5 KiB cannot be read back: Input/output error; check the disk, "
            "or name a directory elsewhere");
  EXPECT_EQ(loaded(copy, from.size()), Content()) << "it is of no use";
  EXPECT_EQ(script_->begun('r'), 1);
  copies_->drop(copy);
  EXPECT_EQ(copies_->in_use(), 0);
}

TEST_F(OffloadCopies, one_bit_that_differs_is_found) {
  open(std::int64_t{16} << 20);
  // 3 pieces, so the third read; and a single piece.
  for (const auto& [bytes, read] :
       {std::pair{(std::int64_t{5} << 20) + 1, 3}, std::pair{std::int64_t{3}, 4}}) {
    const Content from = content(bytes, 1);
    Copy& copy = written(from);
    script_->flip_a_bit(read);
    EXPECT_EQ(loaded(copy, from.size()), Content());
    EXPECT_NE(copies_->why_lost().find("is not what was written there, its hash differs"),
              std::string::npos)
        << copies_->why_lost();
    EXPECT_EQ(script_->begun('r'), read);
    copies_->drop(copy);
  }
}

TEST_F(OffloadCopies, a_piece_that_fails_fails_the_copy) {
  open(std::int64_t{16} << 20);
  const Content from = content((std::int64_t{5} << 20) + 1, 1);
  script_->fail('w', 3, EIO);
  Copy* const copy = begin(from);
  EXPECT_FALSE(copies_->wait_written(*copy));
  copies_->drop(*copy);
  EXPECT_EQ(script_->kept(), 0);
  script_->fail('r', 2, EIO);
  Copy& next = written(from);
  EXPECT_EQ(loaded(next, from.size()), Content());
}

}  // namespace
}  // namespace neap::test
