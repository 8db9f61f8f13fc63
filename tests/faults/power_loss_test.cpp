// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The power is cut at any moment of a program that saves snapshots, files and plans. What was not
// synced is there in parts, in any of the ways that faults/disk.h draws. A reader finds the old
// state or the new one. NEAP_POWER_LOSSES sets how often, NEAP_SEED where.
#include "faults/disk.h"
#include "faults/settings.h"
#include "faults/writers.h"

#include <neap/base.h>

#include <gtest/gtest.h>

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <iostream>
#include <set>

namespace neap::faults {
namespace {

namespace fs = std::filesystem;

ino_t inode_of(const fs::path& path) {
  struct stat status {};
  EXPECT_EQ(::stat(path.c_str(), &status), 0);
  return status.st_ino;
}

// What a writer did, from an empty folder on.
struct Recorded {
  ino_t root = 0;
  std::vector<Event> events;
  std::size_t old = 0;  // events up to the old state
  std::string old_found, new_found;
};

class PowerLoss : public testing::Test {
 protected:
  PowerLoss() : folder_(fast_folder()) {}
  ~PowerLoss() override { fs::remove_all(folder_); }
  PowerLoss(const PowerLoss&) = delete;
  PowerLoss& operator=(const PowerLoss&) = delete;

  Recorded record(const Writer& writer, Without without) {
    const fs::path folder = folder_ / "recorded";
    fs::remove_all(folder);
    fs::create_directory(folder);
    Recorded recorded{.root = inode_of(folder), .events = {}, .old_found = {}, .new_found = {}};
    Journal journal;
    watch(folder.string(), journal, without);
    writer.prepare(folder);
    stop();
    recorded.old = journal.events.size();
    recorded.old_found = writer.found(folder);
    watch(folder.string(), journal, without);
    writer.act(folder);
    stop();
    recorded.new_found = writer.found(folder);
    recorded.events = std::move(journal.events);
    return recorded;
  }

  // What a reader finds after a power cut behind `events` events.
  std::string found_after(const Writer& writer, const Recorded& recorded, std::size_t events,
                          Chance& chance, bool syncs = true) {
    Disk disk(recorded.root);
    for (std::size_t i = 0; i < events; ++i) {
      // What was there before has long been written.
      disk.replay(recorded.events[i], syncs);
      if (i + 1 == recorded.old) disk.sync_all();
    }
    const fs::path folder = folder_ / "after";
    fs::remove_all(folder);
    fs::create_directory(folder);
    disk.cut_power(folder, chance);
    return writer.found(folder);
  }

  fs::path folder_;
};

// run.jsonl is not synced: its lines are for people, and a training goes on without them.
bool is_durable(const Writer& writer) { return !writer.adds_lines; }

TEST_F(PowerLoss, leaves_the_old_state_or_the_new_one) {
  const std::int64_t losses = setting("NEAP_POWER_LOSSES", 2000);
  const std::int64_t seed = setting("NEAP_SEED", 1);
  std::cout << "  NEAP_POWER_LOSSES=" << losses << " NEAP_SEED=" << seed << '\n';
  Chance chance(static_cast<std::uint64_t>(seed));
  std::vector<std::pair<Writer, Recorded>> all;
  for (const Writer& writer : writers()) {
    if (!is_durable(writer)) continue;
    for (const bool plain : {false, true}) {
      Recorded recorded = record(writer, {.unnamed = plain, .exchange = plain ? EINVAL : 0});
      if (recorded.events.size() > recorded.old) all.emplace_back(writer, std::move(recorded));
    }
  }
  std::int64_t old = 0;
  for (std::int64_t i = 0; i < losses; ++i) {
    const auto& [writer, recorded] = all[static_cast<std::size_t>(i) % all.size()];
    // Each second one is near the end, where the new state gets its name.
    const std::size_t most = recorded.events.size();
    const std::size_t first = chance() % 2 == 0 ? recorded.old : most - (most - recorded.old) / 4;
    const std::size_t events = std::uniform_int_distribution<std::size_t>(first, most)(chance);
    SCOPED_TRACE(writer.name + ", power loss " + std::to_string(i) + " behind event " +
                 std::to_string(events) + " of " + std::to_string(most));
    const std::string found = found_after(writer, recorded, events, chance);
    ASSERT_TRUE(found == recorded.old_found || found == recorded.new_found) << found;
    if (events == most) {
      ASSERT_EQ(found, recorded.new_found);
    }
    old += found == recorded.old_found ? 1 : 0;
  }
  std::cout << "  " << losses << " power losses over " << all.size() << " journals; " << old
            << " left the old state\n";
}

// A disk that syncs nothing must be noticed, else the test above could not fail.
TEST_F(PowerLoss, is_noticed_when_nothing_is_synced) {
  Chance chance(1);
  const std::vector<Writer> all = writers();
  for (const char* const name : {"next snapshot", "file plan.jsonl", "plan cache, a better plan"}) {
    const auto writer = std::ranges::find(all, std::string(name), &Writer::name);
    ASSERT_NE(writer, all.end());
    const Recorded recorded = record(*writer, {});
    bool is_lost = false;
    for (int i = 0; i < 200 && !is_lost; ++i) {
      const std::string found =
          found_after(*writer, recorded, recorded.events.size(), chance, /*syncs=*/false);
      is_lost = found != recorded.old_found && found != recorded.new_found;
      // A snapshot that is not whole is passed over, and that the new one is gone is a loss, too.
      is_lost = is_lost || found == recorded.old_found;
    }
    EXPECT_TRUE(is_lost) << name;
  }
}

}  // namespace
}  // namespace neap::faults
