// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "offload/copies.h"

#include "offload/copies_fixture.h"
#include "offload/scripted_tier.h"

#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace neap::test {
namespace {

using offload::Copy;

TEST_F(OffloadCopies, bring_back_the_bits_of_any_size) {
  open(std::int64_t{64} << 20);
  // Around the alignment, and around the pieces of 2 MiB in which copies go.
  for (const std::int64_t bytes :
       {std::int64_t{1}, kUnit - 1, kUnit, kUnit + 1, std::int64_t{2} << 20,
        (std::int64_t{2} << 20) + 1, (std::int64_t{5} << 20) - 3}) {
    SCOPED_TRACE(bytes);
    const Content from = content(bytes, 1);
    Copy& copy = written(from);
    EXPECT_TRUE(same_bits(loaded(copy, from.size()), from));
    EXPECT_TRUE(same_bits(loaded(copy, from.size()), from));  // it stays good
    EXPECT_TRUE(copies_->is_same(copy, from.data()));
    Content other = from;
    other.back() ^= 1;
    EXPECT_FALSE(copies_->is_same(copy, other.data()));
    copies_->drop(copy);
    EXPECT_EQ(copies_->in_use(), 0);
  }
}

TEST_F(OffloadCopies, count_the_bytes_that_they_have_taken) {
  open(4 * kUnit);
  const Content two = content(2 * kUnit, 1), one = content(1, 2);
  Copy& first = written(two);
  Copy& second = written(one);
  EXPECT_EQ(copies_->in_use(), 3 * kUnit);
  EXPECT_EQ(copies_->limit(), 4 * kUnit);
  EXPECT_TRUE(copies_->has_room(kUnit));
  EXPECT_FALSE(copies_->has_room(kUnit + 1));
  EXPECT_EQ(copies_->why_not(),
            "/the/tier is full: 1.5 KiB of 2.0 KiB are in use; raise the limit of what is "
            "offloaded");
  EXPECT_EQ(begin(two), nullptr);
  EXPECT_EQ(copies_->why_not(),
            "/the/tier is full: 1.5 KiB of 2.0 KiB are in use, and a copy of 1.0 KiB does not fit; "
            "raise the limit of what is offloaded");
  EXPECT_EQ(script_->log(), "w0 w1024");
  copies_->drop(first);
  EXPECT_EQ(copies_->in_use(), kUnit);
  EXPECT_EQ(copies_->peak(), 3 * kUnit);
  copies_->reset_peak();
  EXPECT_EQ(copies_->peak(), kUnit);
  written(two);
  EXPECT_EQ(script_->log(), "w0 w1024 w0");
  EXPECT_TRUE(same_bits(loaded(second, 1), one));
}

TEST_F(OffloadCopies, the_threads_take_them_in_the_order_of_the_calls) {
  open(100 * kUnit);
  const Content from = content(kUnit, 1);
  script_->hold('w');
  std::vector<Copy*> copies;
  for (int i = 0; i < 5; ++i) copies.push_back(begin(from));
  script_->wait_begun('w', 1);
  EXPECT_EQ(script_->log(), "w0");
  for (Copy* const copy : copies) EXPECT_FALSE(copies_->is_written(*copy));
  script_->go('w');
  script_->wait_begun('w', 5);
  EXPECT_TRUE(copies_->wait_written(*copies[4]));
  EXPECT_EQ(script_->log(), "w0 w512 w1024 w1536 w2048");
  for (Copy* const copy : copies) EXPECT_TRUE(copies_->is_written(*copy));
  std::vector<Content> to(5, Content(kUnit));
  script_->hold('r');
  for (const int i : {3, 1, 4, 0, 2}) {
    copies_->load(*copies[static_cast<std::size_t>(i)], to[static_cast<std::size_t>(i)].data());
  }
  script_->wait_begun('r', 1);
  script_->go('r');
  script_->wait_begun('r', 5);
  EXPECT_EQ(script_->log(), "w0 w512 w1024 w1536 w2048 r1536 r512 r2048 r0 r1024");
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_TRUE(copies_->wait_loaded(*copies[i]));
    EXPECT_TRUE(same_bits(to[i], from));
  }
}

TEST_F(OffloadCopies, who_waits_for_what_no_thread_has_begun_does_it) {
  open(100 * kUnit);
  const Content from = content(kUnit, 1);
  // The thread is at the first one, and stays there.
  script_->hold('w');
  Copy* const first = begin(from);
  Copy* const second = begin(from);
  Copy* const third = begin(from);
  script_->wait_begun('w', 1);
  // The caller is not held: it goes past the gate, which holds the first call only.
  script_->let_later_pass('w');
  EXPECT_TRUE(copies_->wait_written(*third));
  EXPECT_EQ(script_->log(), "w0 w1024");
  EXPECT_FALSE(copies_->is_written(*first));
  EXPECT_FALSE(copies_->is_written(*second));
  script_->go('w');
  EXPECT_TRUE(copies_->wait_written(*first));
  EXPECT_TRUE(copies_->wait_written(*second));
  EXPECT_EQ(script_->log(), "w0 w1024 w512");
  Content to(kUnit), other(kUnit);
  script_->hold('r');
  copies_->load(*first, to.data());
  copies_->load(*second, other.data());
  script_->wait_begun('r', 1);
  script_->let_later_pass('r');
  EXPECT_TRUE(copies_->wait_loaded(*second));
  EXPECT_TRUE(same_bits(other, from));
  script_->go('r');
  EXPECT_TRUE(copies_->wait_loaded(*first));
  EXPECT_TRUE(same_bits(to, from));
  EXPECT_EQ(script_->log(), "w0 w1024 w512 r0 r512");
}

TEST_F(OffloadCopies, a_load_that_comes_before_the_copy_is_out_waits_for_it) {
  open(100 * kUnit);
  const Content from = content(kUnit, 1);
  Copy* const copy = begin(from);
  EXPECT_TRUE(same_bits(loaded(*copy, from.size()), from));
  EXPECT_EQ(script_->log(), "w0 r0");
}

TEST_F(OffloadCopies, can_be_dropped_in_each_state) {
  open(100 * kUnit);
  const Content from = content(kUnit, 1);
  script_->hold('w');
  Copy* const busy = begin(from);
  Copy* const waiting = begin(from);
  script_->wait_begun('w', 1);
  copies_->drop(*waiting);  // is never written
  EXPECT_EQ(copies_->in_use(), kUnit);
  std::thread helper([&] { script_->go('w'); });
  copies_->drop(*busy);  // waits for what has begun
  helper.join();
  EXPECT_EQ(copies_->in_use(), 0);
  EXPECT_EQ(script_->log(), "w0");

  Content to(kUnit), other(kUnit, 'x');
  Copy& reading = written(from);
  Copy& to_read = written(from);
  script_->hold('r');
  copies_->load(reading, to.data());
  copies_->load(to_read, other.data());
  script_->wait_begun('r', 1);
  copies_->drop(to_read);
  std::thread reader_helper([&] { script_->go('r'); });
  copies_->drop(reading);
  reader_helper.join();
  EXPECT_EQ(other, Content(kUnit, 'x')) << "it was never read";
  EXPECT_EQ(script_->begun('r'), 1);
  copies_->drop(written(from));
  EXPECT_EQ(copies_->in_use(), 0);
}

TEST_F(OffloadCopies, an_end_waits_for_what_has_begun_and_does_no_more) {
  const Content from = content(kUnit, 1);
  open(100 * kUnit);
  script_->hold('w');
  begin(from);
  begin(from);
  script_->wait_begun('w', 1);
  std::thread helper([&] { script_->go('w'); });
  // The thread may begin the second one before it is told to end.
  copies_.reset();
  helper.join();
  EXPECT_GE(script_->begun('w'), 1);
  EXPECT_LE(script_->begun('w'), 2);
}

TEST_F(OffloadCopies, speeds_are_the_tiers_until_a_copy_has_gone) {
  open(100 * kUnit);
  EXPECT_EQ(copies_->out_ns_per_byte(), 3);
  EXPECT_EQ(copies_->in_ns_per_byte(), 2);
  const Content from = content(kUnit, 1);
  Copy& copy = written(from);
  EXPECT_GT(copies_->out_ns_per_byte(), 0);
  EXPECT_NE(copies_->out_ns_per_byte(), 3);
  EXPECT_EQ(copies_->in_ns_per_byte(), 2);
  loaded(copy, from.size());
  EXPECT_NE(copies_->in_ns_per_byte(), 2);
}

// Copies that are begun, loaded, waited for and dropped in any order, while others are under way.
TEST_F(OffloadCopies, random_programs_bring_back_the_bits) {
  for (unsigned seed = 0; seed < 30; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    struct One {
      Copy* copy;
      Content from, to;
      bool loading = false;
    };
    std::vector<std::unique_ptr<One>> all;
    open(40 * kUnit);
    int back = 0;
    for (unsigned step = 0; step < 400; ++step) {
      const auto act = random() % 5;
      if (act == 0) {
        const auto bytes = static_cast<std::int64_t>(1 + random() % 4000);
        auto one = std::make_unique<One>(One{nullptr, content(bytes, step), Content(), false});
        const bool has_room = copies_->has_room(bytes);
        one->copy = begin(one->from);
        ASSERT_EQ(one->copy != nullptr, has_room);
        if (has_room) all.push_back(std::move(one));
        continue;
      }
      if (all.empty()) continue;
      const std::size_t which = random() % all.size();
      One& one = *all[which];
      if (act == 1 && !one.loading) {
        one.to.assign(one.from.size(), 'x');
        copies_->load(*one.copy, one.to.data());
        one.loading = true;
      } else if (act == 2 && one.loading) {
        ASSERT_TRUE(copies_->wait_loaded(*one.copy)) << copies_->why_lost();
        ASSERT_TRUE(same_bits(one.from, one.to));
        one.loading = false;
        ++back;
      } else if (act == 3) {
        ASSERT_TRUE(copies_->wait_written(*one.copy));
        ASSERT_TRUE(copies_->is_written(*one.copy));
        ASSERT_TRUE(copies_->is_same(*one.copy, one.from.data()));
      } else if (act == 4 && random() % 3 == 0) {
        copies_->drop(*one.copy);
        all.erase(all.begin() + static_cast<std::ptrdiff_t>(which));
      }
    }
    EXPECT_GT(back, 10);
    EXPECT_LE(copies_->peak(), copies_->limit());
    copies_.reset();
  }
}

// The names of this process's threads, and the signals that each blocks.
std::map<std::string, std::string> threads() {
  std::map<std::string, std::string> found;
  for (const auto& one : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream file(one.path() / "status");
    std::string line, name;
    while (std::getline(file, line)) {
      if (line.starts_with("Name:\t")) name = line.substr(6);
      if (line.starts_with("SigBlk:\t")) found[name] = line.substr(8);
    }
  }
  return found;
}

TEST_F(OffloadCopies, threads_begin_with_the_first_copy_and_take_no_signals) {
  const std::map<std::string, std::string> before = threads();
  open(100 * kUnit);
  EXPECT_EQ(threads(), before);
  const Content from = content(kUnit, 1);
  Copy* const copy = begin(from);
  script_->wait_begun('w', 1);
  ASSERT_TRUE(copies_->wait_written(*copy));
  std::map<std::string, std::string> now = threads();
  EXPECT_FALSE(now.contains("neap-copy-in"));
  ASSERT_TRUE(now.contains("neap-copy-out"));
  EXPECT_EQ(std::stoull(now["neap-copy-out"], nullptr, 16) & (1U << (SIGINT - 1)),
            1U << (SIGINT - 1));
  EXPECT_EQ(std::stoull(now["neap-copy-out"], nullptr, 16) & (1U << (SIGTERM - 1)),
            1U << (SIGTERM - 1));
  now.erase("neap-copy-out");
  EXPECT_EQ(now, before) << "the caller's signals are as they were";
  Content to(kUnit);
  script_->hold('r');
  copies_->load(*copy, to.data());
  script_->wait_begun('r', 1);
  EXPECT_TRUE(threads().contains("neap-copy-in"));
  script_->go('r');
  EXPECT_TRUE(copies_->wait_loaded(*copy));
}

TEST_F(OffloadCopies, a_child_of_a_fork_leaves_them_to_its_parent) {
  const Content from = content(kUnit, 1);
  open(100 * kUnit);
  Copy& copy = written(from);
  script_->hold('w');
  Copy* const busy = begin(from);
  script_->wait_begun('w', 1);  // a thread that the child will not have is at work
  const pid_t child = ::fork();
  if (child == 0) {
    copies_->abandon_in_child();
    copies_.reset();
    ::_exit(7);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 7);
  script_->go('w');
  EXPECT_TRUE(copies_->wait_written(*busy));
  EXPECT_TRUE(same_bits(loaded(copy, from.size()), from));
}

}  // namespace
}  // namespace neap::test
