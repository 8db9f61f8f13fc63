// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Copies while the system has no memory: one that cannot be recorded is refused, one that is there
// comes back, and what promises not to throw does not.
#include "offload/copies.h"
#include "no_memory/failing_new.h"
#include "offload/tier.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

namespace neap::no_memory {
namespace {

using offload::Copies;
using offload::Copy;

constexpr std::int64_t kBytes = 100'000;

// Its reads fail when the test says so.
class FailingTier final : public offload::Tier {
 public:
  explicit FailingTier(const bool& fails) : fails_(fails) {}
  void write(std::int64_t offset, const void* from, std::size_t bytes) override {
    within_->write(offset, from, bytes);
  }
  void read(std::int64_t offset, void* to, std::size_t bytes) override {
    if (fails_) throw std::system_error(EIO, std::generic_category());
    within_->read(offset, to, bytes);
  }
  bool release(std::int64_t offset, std::int64_t bytes) noexcept override {
    return within_->release(offset, bytes);
  }
  [[nodiscard]] std::int64_t alignment() const noexcept override { return within_->alignment(); }
  [[nodiscard]] const std::string& name() const noexcept override { return within_->name(); }

 private:
  const bool& fails_;
  std::unique_ptr<Tier> within_ = offload::open_host_tier();
};

class CopiesWithoutMemory : public testing::Test {
 protected:
  const std::vector<char> from_ = std::vector<char>(kBytes, 'a');
  std::vector<char> to_ = std::vector<char>(kBytes, 'b');
  bool fails_ = false;
};

TEST_F(CopiesWithoutMemory, begin_refuses_or_works) {
  for (const bool for_ever : {false, true}) {
    int refused = 0;
    for (std::int64_t k = 1;; ++k) {
      // The threads are not there yet, so that they may fail to start, too.
      Copies copies(std::make_unique<FailingTier>(fails_), 4 * kBytes);
      fail_new(k, for_ever);
      Copy* copy = copies.begin(from_.data(), kBytes);
      const std::int64_t calls = stop_failing();
      if (copy == nullptr) {
        ++refused;
        EXPECT_EQ(copies.in_use(), 0);
        EXPECT_EQ(copies.why_not(),
                  "the host's memory: there is no memory for the record of a copy; end other "
                  "programs");
        copy = copies.begin(from_.data(), kBytes);
        ASSERT_NE(copy, nullptr);
      }
      fail_new(1, /*for_ever=*/true);
      copies.load(*copy, to_.data());
      const bool came_back = copies.wait_loaded(*copy);
      stop_failing();
      EXPECT_TRUE(came_back);
      EXPECT_EQ(std::memcmp(from_.data(), to_.data(), kBytes), 0);
      std::memset(to_.data(), 'b', kBytes);
      fail_new(1, /*for_ever=*/true);
      copies.drop(*copy);
      EXPECT_EQ(stop_failing(), 0);
      if (calls < k) break;
    }
    EXPECT_GT(refused, 0);
  }
}

TEST_F(CopiesWithoutMemory, a_loss_is_told_with_what_memory_there_is) {
  Copies copies(std::make_unique<FailingTier>(fails_), 4 * kBytes);
  for (std::int64_t k = 1;; ++k) {
    Copy* const copy = copies.begin(from_.data(), kBytes);
    ASSERT_NE(copy, nullptr);
    ASSERT_TRUE(copies.wait_written(*copy));
    fails_ = true;
    fail_new(k, /*for_ever=*/true);
    copies.load(*copy, to_.data());
    const bool came_back = copies.wait_loaded(*copy);
    const std::int64_t calls = stop_failing();
    fails_ = false;
    EXPECT_FALSE(came_back);
    EXPECT_FALSE(copies.why_lost().empty());
    copies.drop(*copy);
    if (calls < k) break;
  }
  EXPECT_EQ(copies.why_lost(),
            "the host's memory: a copy of 97.7 KiB cannot be read back: Input/output error; check "
            "the disk, or name a directory elsewhere");
}

}  // namespace
}  // namespace neap::no_memory
