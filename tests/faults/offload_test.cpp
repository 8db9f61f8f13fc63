// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Each call of the system that copies in a file make fails in turn: once or for ever, with each
// error that it may have. A copy comes back with its bits, or is said to be lost; a tier opens or
// is refused with the directory's name; nothing else is thrown, and nothing stays there.
#include "faults/shim.h"
#include "faults/writers.h"
#include "offload/copies.h"
#include "offload/disk_tier.h"
#include "support/message_of.h"

#include <neap/base.h>

#include <gtest/gtest.h>

#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace neap::faults {
namespace {

namespace fs = std::filesystem;
using offload::BackingFile;
using offload::Copies;
using offload::Copy;
using offload::DiskTier;
using offload::HostMemory;
using offload::Way;

constexpr std::int64_t kUnit = 4096;

struct Outcome {
  int back = 0;     // copies that came back with their bits
  int refused = 0;  // that were not begun, or not written
  int lost = 0;
  int opened = 0;
  std::vector<std::string> wrong = {};
};

class OffloadCalls : public testing::TestWithParam<DiskTier::How> {
 protected:
  // Not in memory, whose files may have no direct way.
  OffloadCalls() : folder_(fs::temp_directory_path() / ("neap_calls_" + std::to_string(getpid()))) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    for (std::size_t i = 0; i < memory_.bytes(); ++i) {
      memory_.start()[i] = static_cast<char>(i * 7 + i / 4099);
    }
  }
  ~OffloadCalls() override {
    stop();
    fs::remove_all(folder_);
  }
  OffloadCalls(const OffloadCalls&) = delete;
  OffloadCalls& operator=(const OffloadCalls&) = delete;

  // Copies go and come back in a tier that is nearly full, in whole pages and not, so that room is
  // released too.
  Outcome act() {
    Outcome outcome;
    const auto expect_named = [&](const std::string& text) {
      if (text.find(folder_.string()) == std::string::npos) outcome.wrong.push_back(text);
    };
    std::optional<Copies> copies;
    try {
      copies.emplace(std::make_unique<DiskTier>(folder_, GetParam()), 16 * kUnit);
    } catch (const Error& error) {
      expect_named(error.what());
      return outcome;
    }
    outcome.opened = 1;
    std::array<Copy*, 8> all{};
    const auto from = [&](std::size_t i) { return memory_.start() + i * 8 * kUnit; };
    const auto bytes = [](std::size_t i) { return static_cast<std::int64_t>(i + 1) * kUnit - 5; };
    const auto begin = [&](std::size_t i) {
      all.at(i) = copies->begin(from(i), bytes(i));
      if (all.at(i) == nullptr) {
        expect_named(copies->why_not());
      } else if (copies->wait_written(*all.at(i))) {
        return;
      } else {
        expect_named(copies->why_not());
        copies->drop(*all.at(i));
        all.at(i) = nullptr;
      }
      ++outcome.refused;
    };
    const auto bring_back = [&](std::size_t i) {
      if (all.at(i) == nullptr) return;
      const auto size = static_cast<std::size_t>(bytes(i));
      std::memset(back_.start(), 'x', size);
      copies->load(*all.at(i), back_.start());
      if (!copies->wait_loaded(*all.at(i))) {
        ++outcome.lost;
        expect_named(copies->why_lost());
      } else if (std::memcmp(back_.start(), from(i), size) != 0) {
        outcome.wrong.emplace_back("other bits");
      } else {
        ++outcome.back;
      }
    };
    const auto drop = [&](std::size_t i) {
      if (all.at(i) != nullptr) copies->drop(*all.at(i));
      all.at(i) = nullptr;
    };
    for (const std::size_t i : {0, 1, 2, 3, 4}) begin(i);
    for (const std::size_t i : {1, 3}) drop(i);
    for (const std::size_t i : {0, 2, 4}) bring_back(i);
    begin(5);  // only where fragments have been released
    for (const std::size_t i : {5, 0}) bring_back(i);
    for (const std::size_t i : {0, 2, 4}) drop(i);
    begin(6);
    bring_back(6);
    if (copies->in_use() > copies->limit()) outcome.wrong.emplace_back("above the limit");
    return outcome;
  }

  fs::path folder_;
  HostMemory memory_{64 * kUnit}, back_{8 * kUnit};
};

INSTANTIATE_TEST_SUITE_P(Ways, OffloadCalls,
                         testing::Values(DiskTier::How{.way = Way::Buffered},
                                         DiskTier::How{.way = Way::Direct},
                                         DiskTier::How{.name = BackingFile::Name::Always}),
                         [](const auto& info) {
                           if (info.param.name == BackingFile::Name::Always) return "named";
                           return info.param.way == Way::Direct ? "direct" : "buffered";
                         });

std::vector<int> errors_of(Call call) {
  switch (call) {
    case Call::Read:
      return {EIO, EINTR, kShort};
    case Call::Write:
      return {EIO, ENOSPC, EDQUOT, EINTR, kShort};
    case Call::Map:
      return {ENOMEM};
    case Call::Control:
      return {EINVAL};
    case Call::Allocate:
      return {EOPNOTSUPP, EIO, ENOSPC, EINTR};
    default:
      return {EIO, ENOSPC, EMFILE};
  }
}

TEST_P(OffloadCalls, each_that_fails_loses_no_bits) {
  watch(folder_.string());
  const Outcome whole = act();
  stop();
  EXPECT_EQ(whole.back, 6);
  EXPECT_EQ(whole.refused + whole.lost, 0);
  EXPECT_EQ(whole.wrong, std::vector<std::string>());
  std::array<std::int64_t, kCalls> most{};
  for (std::size_t i = 0; i < kCalls; ++i) most[i] = calls(static_cast<Call>(i));
  EXPECT_GT(most[static_cast<std::size_t>(Call::Write)], 6);
  EXPECT_GT(most[static_cast<std::size_t>(Call::Read)], 5);
  EXPECT_GE(most[static_cast<std::size_t>(Call::Allocate)], 2);
  int faults = 0, refused = 0, lost = 0, unopened = 0;
  for (std::size_t i = 0; i < kCalls; ++i) {
    const auto call = static_cast<Call>(i);
    for (const int error : errors_of(call)) {
      for (const bool for_ever : {false, true}) {
        for (std::int64_t k = 1; k <= most[i]; ++k) {
          SCOPED_TRACE(std::string(kCallNames[i]) + ' ' + std::to_string(k) + ", " +
                       (error == kShort ? "short" : ::strerrorname_np(error)) +
                       (for_ever ? ", for ever" : ", once"));
          watch(folder_.string(), {call, k, error, for_ever});
          const Outcome outcome = act();
          stop();
          ++faults;
          ASSERT_EQ(outcome.wrong, std::vector<std::string>());
          refused += outcome.refused;
          lost += outcome.lost;
          unopened += 1 - outcome.opened;
          // What a signal interrupts, and what is done in parts, is done in the end.
          if ((error == EINTR || error == kShort) && call != Call::Open) {
            ASSERT_EQ(outcome.back, 6);
          }
          if (!fs::is_empty(folder_)) {
            ASSERT_EQ(call, Call::Remove) << "only what cannot be removed may stay";
            for (const auto& one : fs::directory_iterator(folder_)) fs::remove(one);
          }
        }
      }
    }
  }
  std::cout << "  " << faults << " faults: " << unopened << " tiers refused, " << refused
            << " copies not made, " << lost << " lost\n";
  EXPECT_GT(refused, 0);
  EXPECT_GT(lost, 0);
  EXPECT_GT(unopened, 0);
}

// Which way is faster is measured once, so a second tier on the same file system writes nothing.
TEST(OffloadOpening, measures_a_file_system_once) {
  const fs::path folder = fast_folder(), other = folder / "other";
  fs::create_directories(other);
  watch(folder.string());
  offload::open_tier(folder);
  const std::int64_t writes = calls(Call::Write), reads = calls(Call::Read);
  EXPECT_GE(writes, 4);
  EXPECT_GE(reads, 4);
  offload::open_tier(folder);
  offload::open_tier(other);
  EXPECT_EQ(calls(Call::Write), writes);
  EXPECT_EQ(calls(Call::Read), reads);
  stop();
  fs::remove_all(folder);
}

// What a file system without unnamed files says.
TEST(OffloadOpening, takes_a_name_for_a_moment_where_files_need_one) {
  const fs::path folder = fast_folder();
  watch(folder.string(), {}, {.unnamed = true});
  {
    const BackingFile file(folder);
    EXPECT_FALSE(file.is_unnamed());
    EXPECT_EQ(calls(Call::Remove), 1);
    EXPECT_TRUE(fs::is_empty(folder));
  }
  watch(folder.string(), {.call = Call::Remove, .k = 1, .error = EIO}, {.unnamed = true});
  EXPECT_EQ(test::message_of<Error>([&] { const BackingFile file(folder); }),
            folder.string() +
                " cannot be offloaded to: Input/output error; check the disk, or "
                "name a directory elsewhere");
  EXPECT_EQ(calls(Call::Open), calls(Call::Close)) << "it is closed";
  stop();
  fs::remove_all(folder);
}

}  // namespace
}  // namespace neap::faults
