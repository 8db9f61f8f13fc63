// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "offload/disk_tier.h"

#include "offload/copies.h"
#include "offload/copies_fixture.h"
#include "offload/host_memory.h"
#include "support/message_of.h"
#include "support/scratch_folder.h"

#include <neap/base.h>

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <system_error>
#include <vector>

namespace neap::test {
namespace {

using offload::BackingFile;
using offload::Copies;
using offload::Copy;
using offload::DiskSpeed;
using offload::DiskTier;
using offload::HostMemory;
using offload::kPageBytes;
using offload::Way;

// What a child of fork() ends with. kCannot: this system does not let the test be.
constexpr int kRight = 0, kWrong = 1, kCannot = 77;

int in_child(const std::function<int()>& act) {
  const pid_t child = ::fork();
  if (child == 0) {
    int code = kWrong;
    try {
      code = act();
    } catch (const std::exception&) {
    }
    ::_exit(code);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

// A small file system in memory, which only this process sees.
bool mount_small(const std::filesystem::path& folder, const char* options, unsigned long flags) {
  const bool apart = ::unshare(CLONE_NEWNS) == 0 || ::unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0;
  return apart && ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         ::mount("none", folder.c_str(), "tmpfs", flags, options) == 0;
}

class OffloadDisk : public ScratchFolder, public testing::Test {
 protected:
  [[nodiscard]] bool is_empty() const { return std::filesystem::is_empty(folder_); }
};

struct Combination {
  BackingFile::Name name;
  Way way;
};
class OffloadDiskWays : public ScratchFolder, public testing::TestWithParam<Combination> {};

INSTANTIATE_TEST_SUITE_P(
    All, OffloadDiskWays,
    testing::Values(Combination{BackingFile::Name::NoneIfPossible, Way::Buffered},
                    Combination{BackingFile::Name::NoneIfPossible, Way::Direct},
                    Combination{BackingFile::Name::Always, Way::Buffered},
                    Combination{BackingFile::Name::Always, Way::Direct}),
    [](const testing::TestParamInfo<Combination>& info) {
      return std::string(info.param.name == BackingFile::Name::Always ? "named" : "unnamed") +
             (info.param.way == Way::Direct ? "_direct" : "_buffered");
    });

// From memory at a page and from memory that is not, whole pages and rests, over what was there.
TEST_P(OffloadDiskWays, brings_back_the_bits) {
  DiskTier tier(folder_, {.name = GetParam().name, .way = GetParam().way});
  EXPECT_TRUE(std::filesystem::is_empty(folder_)) << "the file has no name";
  EXPECT_EQ(tier.alignment(), kPageBytes);
  EXPECT_EQ(tier.name(), folder_.string());
  const HostMemory memory(std::size_t{8} << 20), back(std::size_t{8} << 20);
  unsigned seed = 0;
  for (const std::size_t shift : {0, 64, 1}) {
    for (const std::int64_t bytes : {std::int64_t{1}, kPageBytes - 1, kPageBytes, kPageBytes + 1,
                                     (std::int64_t{3} << 20) + 77, std::int64_t{1} << 20}) {
      for (const std::int64_t offset : {std::int64_t{0}, 5 * kPageBytes}) {
        const Content from = content(bytes, ++seed);
        std::memcpy(memory.start() + shift, from.data(), from.size());
        std::memset(back.start(), 'x', from.size() + shift + 1);
        tier.write(offset, memory.start() + shift, from.size());
        tier.read(offset, back.start() + shift, from.size());
        ASSERT_EQ(std::memcmp(back.start() + shift, from.data(), from.size()), 0)
            << bytes << " bytes from " << shift << " at " << offset;
        ASSERT_EQ(back.start()[shift + from.size()], 'x');
      }
    }
  }
}

// One end of the way is direct and the other is not, as memory at a page and other memory go.
TEST_P(OffloadDiskWays, what_went_one_way_comes_back_the_other) {
  DiskTier tier(folder_, {.name = GetParam().name, .way = GetParam().way});
  constexpr std::size_t kBytes = (std::size_t{1} << 20) + 5;
  const HostMemory memory(std::size_t{2} << 20), back(std::size_t{2} << 20);
  for (const auto& [shift_out, shift_in] :
       {std::pair{0, 8}, std::pair{8, 0}, std::pair{0, 0}, std::pair{8, 8}}) {
    const Content from = content(kBytes, static_cast<unsigned>(shift_out * 2 + shift_in));
    std::memcpy(memory.start() + shift_out, from.data(), kBytes);
    tier.write(0, memory.start() + shift_out, kBytes);
    tier.read(0, back.start() + shift_in, kBytes);
    EXPECT_EQ(std::memcmp(back.start() + shift_in, from.data(), kBytes), 0);
  }
}

TEST_P(OffloadDiskWays, copies_come_back_as_they_went) {
  struct One {
    Copy* copy;
    Content content;
  };
  std::vector<std::unique_ptr<One>> all;  // outlives the threads, which read the contents
  Copies copies(std::make_unique<DiskTier>(
                    folder_, DiskTier::How{.name = GetParam().name, .way = GetParam().way}),
                std::int64_t{32} << 20);
  std::mt19937 random(7);
  for (unsigned step = 0; step < 150; ++step) {
    const auto bytes = static_cast<std::int64_t>(1 + random() % (std::uint32_t{3} << 20));
    if (copies.has_room(bytes) && random() % 2 == 0) {
      all.push_back(std::make_unique<One>(One{nullptr, content(bytes, step)}));
      One& one = *all.back();
      one.copy = copies.begin(one.content.data(), bytes);
      ASSERT_NE(one.copy, nullptr) << copies.why_not();
    } else if (!all.empty()) {
      const std::size_t which = random() % all.size();
      One& one = *all[which];
      Content back(one.content.size());
      copies.load(*one.copy, back.data());
      ASSERT_TRUE(copies.wait_loaded(*one.copy)) << copies.why_lost();
      ASSERT_TRUE(same_bits(back, one.content));
      if (random() % 2 != 0) continue;
      copies.drop(*one.copy);
      all.erase(all.begin() + static_cast<std::ptrdiff_t>(which));
    }
  }
  EXPECT_LE(copies.peak(), copies.limit());
  EXPECT_GT(copies.peak(), copies.limit() / 2);
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

TEST_F(OffloadDisk, only_this_user_may_read_the_file_and_no_other_program_gets_it) {
  const mode_t mask = ::umask(0);
  for (const auto name : {BackingFile::Name::NoneIfPossible, BackingFile::Name::Always}) {
    const BackingFile file(folder_, name);
    struct stat status {};
    ASSERT_EQ(::fstat(file.descriptor(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0600U);
    EXPECT_EQ(status.st_nlink, 0U);
    EXPECT_TRUE(S_ISREG(status.st_mode));
    EXPECT_EQ(::fcntl(file.descriptor(), F_GETFD), FD_CLOEXEC);
  }
  ::umask(mask);
}

TEST_F(OffloadDisk, room_that_is_released_goes_back_to_the_disk) {
  BackingFile file(folder_);
  const Content from = content(64 * kPageBytes, 1);
  file.write(0, from.data(), from.size(), Way::Buffered);
  const auto blocks = [&] {
    file.drop_cache();  // some file systems choose the blocks when they write
    struct stat status {};
    EXPECT_EQ(::fstat(file.descriptor(), &status), 0);
    return static_cast<std::int64_t>(status.st_blocks) * 512;
  };
  const std::int64_t all = blocks();
  ASSERT_GE(all, 64 * kPageBytes);
  if (!file.release(16 * kPageBytes, 32 * kPageBytes)) GTEST_SKIP() << "no holes here";
  EXPECT_EQ(blocks(), all - 32 * kPageBytes);
  Content back(16 * kPageBytes);
  file.read(48 * kPageBytes, back.data(), back.size(), Way::Buffered);
  EXPECT_EQ(std::memcmp(back.data(), from.data() + 48 * kPageBytes, back.size()), 0);
}

TEST_F(OffloadDisk, errors_name_the_directory_the_reason_and_what_to_do) {
  const auto refusal = [](const std::filesystem::path& directory) {
    return message_of<Error>([&] { offload::open_tier(directory); });
  };
  const std::string missing = folder_ / "missing";
  EXPECT_EQ(refusal(missing), missing +
                                  " cannot be offloaded to: No such file or directory; make it, or "
                                  "name another one");
  const std::string plain = file("plain", "text");
  EXPECT_EQ(refusal(plain), plain + " cannot be offloaded to: Not a directory; name a directory");
  EXPECT_EQ(file("plain", "text"), plain);
}

TEST_F(OffloadDisk, a_directory_of_somebody_else_is_refused) {
  const int code = in_child([&] {
    constexpr uid_t kNobody = 65534;
    if (::geteuid() == 0 && ::setresuid(kNobody, kNobody, kNobody) != 0) return kCannot;
    const std::string directory = ::geteuid() == kNobody ? folder_.string() : "/";
    const std::string text = message_of<Error>([&] { offload::open_tier(directory); });
    return text == directory +
                       " cannot be offloaded to: Permission denied; name a directory that "
                       "you may write to"
               ? kRight
               : kWrong;
  });
  if (code == kCannot) GTEST_SKIP() << "this user cannot become another one";
  EXPECT_EQ(code, kRight);
}

TEST_F(OffloadDisk, a_file_system_that_cannot_be_written_is_refused) {
  const int code = in_child([&] {
    if (!mount_small(folder_, "size=1m", MS_RDONLY)) return kCannot;
    const std::string text = message_of<Error>([&] { offload::open_tier(folder_); });
    return text == folder_.string() +
                       " cannot be offloaded to: Read-only file system; name a "
                       "directory on a file system that can be written"
               ? kRight
               : kWrong;
  });
  if (code == kCannot) GTEST_SKIP() << "this system lets nobody mount";
  EXPECT_EQ(code, kRight);
}

// A file system of 1 MiB below a limit of 4 MiB.
TEST_F(OffloadDisk, a_full_file_system_fails_the_copy_and_the_others_stay) {
  const int code = in_child([&] {
    if (!mount_small(folder_, "size=1m", 0)) return kCannot;
    Copies copies(std::make_unique<DiskTier>(folder_, DiskTier::How{}), std::int64_t{4} << 20);
    const Content first = content(768 << 10, 1), second = content(512 << 10, 2);
    const auto begin = [&](const Content& from) {
      return copies.begin(from.data(), static_cast<std::int64_t>(from.size()));
    };
    Copy* const kept = begin(first);
    if (!copies.wait_written(*kept)) return 2;
    Copy* const refused = begin(second);
    if (copies.wait_written(*refused)) return 3;
    if (copies.why_not() != folder_.string() +
                                " cannot be written: No space left on device; free "
                                "the disk, or write elsewhere") {
      return 4;
    }
    copies.drop(*refused);
    if (begin(second) != nullptr) return 5;
    Content back(first.size());
    copies.load(*kept, back.data());
    if (!copies.wait_loaded(*kept) || !same_bits(back, first)) return 6;
    copies.drop(*kept);
    Copy* const next = begin(second);
    if (next == nullptr || !copies.wait_written(*next)) return 7;
    Content other(second.size());
    copies.load(*next, other.data());
    return copies.wait_loaded(*next) && same_bits(other, second) ? kRight : 8;
  });
  if (code == kCannot) GTEST_SKIP() << "this system lets nobody mount";
  EXPECT_EQ(code, kRight);
}

// The system would end the process by SIGXFSZ.
TEST_F(OffloadDisk, a_limit_of_files_is_an_error_and_no_signal) {
  const int code = in_child([&] {
    const rlimit limit{.rlim_cur = 64 << 10, .rlim_max = 64 << 10};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return kCannot;
    BackingFile file(folder_);
    const Content from = content(64 << 10, 1);
    file.write(0, from.data(), from.size(), Way::Buffered);
    try {
      file.write(kPageBytes, from.data(), from.size(), Way::Buffered);
    } catch (const std::system_error& error) {
      return error.code().value() == EFBIG ? kRight : kWrong;
    }
    return kWrong;
  });
  if (code == kCannot) GTEST_SKIP() << "no limits here";
  EXPECT_EQ(code, kRight);
}

TEST_F(OffloadDisk, a_directory_that_is_removed_keeps_its_copies) {
  const std::filesystem::path gone = folder_ / "gone";
  std::filesystem::create_directory(gone);
  Copies copies(offload::open_tier(gone), std::int64_t{1} << 20);
  std::filesystem::remove(gone);
  const Content from = content(100'000, 1);
  Copy* const copy = copies.begin(from.data(), 100'000);
  ASSERT_NE(copy, nullptr);
  Content back(from.size());
  copies.load(*copy, back.data());
  ASSERT_TRUE(copies.wait_loaded(*copy)) << copies.why_lost();
  EXPECT_TRUE(same_bits(back, from));
}

// Killed while it opens the file, and while its threads write and read.
TEST_F(OffloadDisk, nothing_is_left_when_the_process_is_killed) {
  constexpr int kKills = 200;
  std::mt19937 random(3);
  for (int kill = 0; kill < kKills; ++kill) {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      ::close(ends[0]);
      Copies copies(offload::open_tier(folder_), std::int64_t{1} << 20);
      const Content from = content(100'000, 1);
      for (;;) {
        Copy* const copy = copies.begin(from.data(), 100'000);
        Content back(from.size());
        copies.load(*copy, back.data());
        if (!copies.wait_loaded(*copy)) ::_exit(kWrong);
        copies.drop(*copy);
        if (::write(ends[1], "x", 1) != 1) ::_exit(kWrong);
      }
    }
    ::close(ends[1]);
    char byte = 0;
    for (unsigned copies = random() % 8; copies > 0; --copies) {
      EXPECT_EQ(::read(ends[0], &byte, 1), 1);
    }
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    ::close(ends[0]);
    ASSERT_TRUE(is_empty()) << "after kill " << kill;
  }
}

TEST_F(OffloadDisk, the_way_that_is_faster_there_and_back_is_taken) {
  DiskSpeed speed;
  EXPECT_EQ(speed.faster(), Way::Buffered) << "nothing is known";
  speed.in_cache = true;
  speed.buffered = {.out = 2, .in = 1};
  EXPECT_EQ(speed.faster(), Way::Buffered) << "there is no direct way";
  speed.direct = {.out = 1, .in = 1.5};
  EXPECT_EQ(speed.faster(), Way::Direct);
  EXPECT_EQ(speed.of(speed.faster()).in, 1.5);
  speed.direct = {.out = 1, .in = 2};
  EXPECT_EQ(speed.faster(), Way::Buffered);
  speed.in_cache = false;  // buffering only takes memory there
  EXPECT_EQ(speed.faster(), Way::Direct);
  speed.direct = {.out = 1, .in = 2.4};
  EXPECT_EQ(speed.faster(), Way::Buffered);
}

TEST_F(OffloadDisk, a_measurement_leaves_the_file_empty) {
  BackingFile file(folder_);
  for (const bool in_cache : {true, false}) {
    const DiskSpeed speed = offload::measure(file, in_cache);
    EXPECT_GT(speed.buffered.out, 0);
    EXPECT_GT(speed.buffered.in, 0);
    EXPECT_EQ(speed.direct.out > 0, file.has_direct());
    EXPECT_EQ(speed.in_cache, in_cache);
    struct stat status {};
    ASSERT_EQ(::fstat(file.descriptor(), &status), 0);
    EXPECT_EQ(status.st_size, 0);
  }
}

}  // namespace
}  // namespace neap::test
