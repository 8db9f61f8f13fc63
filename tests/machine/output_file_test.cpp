// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A file that neap writes is there whole or not at all. The file that was there before stays until
// the new one is complete.
#include "machine/aside.h"

#include "support/scratch_folder.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

#include <csignal>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace neap::machine {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::ThrowsMessage;
using Name = Aside::Name;
constexpr auto kShared = OutputFile::Access::Shared;

std::string content_of(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// A folder with a file "old" in it.
class WithFolder : public test::ScratchFolder {
 public:
  WithFolder() { file("old", "before"); }

  [[nodiscard]] std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_)) {
      names.push_back(entry.path().filename().string());
    }
    std::ranges::sort(names);
    return names;
  }
};

class OutputFiles : public WithFolder, public testing::TestWithParam<Name> {};

INSTANTIATE_TEST_SUITE_P(BothWays, OutputFiles, testing::Values(Name::NoneIfPossible, Name::Always),
                         [](const auto& info) {
                           return info.param == Name::Always ? "named" : "without_a_name";
                         });

TEST_P(OutputFiles, a_file_is_there_when_it_is_finished_and_not_before) {
  Aside file(folder_ / "new", kShared, GetParam());
  file.write("first, ");
  EXPECT_FALSE(fs::exists(folder_ / "new"));
  file.write("second");
  file.finish();
  EXPECT_EQ(content_of(folder_ / "new"), "first, second");
  EXPECT_EQ(names(), (std::vector<std::string>{"new", "old"}));
}

TEST_P(OutputFiles, a_file_that_is_replaced_stays_until_then_and_hands_on_its_mode) {
  fs::permissions(folder_ / "old", fs::perms(0604));
  Aside file(folder_ / "old", kShared, GetParam());
  file.write("after");
  EXPECT_EQ(content_of(folder_ / "old"), "before");
  file.finish();
  EXPECT_EQ(content_of(folder_ / "old"), "after");
  EXPECT_EQ(fs::status(folder_ / "old").permissions(), fs::perms(0604));
  EXPECT_EQ(names(), std::vector<std::string>{"old"});
}

TEST_P(OutputFiles, a_new_file_has_the_mode_that_the_umask_leaves) {
  const mode_t mask = ::umask(027);
  Aside file(folder_ / "new", kShared, GetParam());
  file.write("x");
  file.finish();
  ::umask(mask);
  EXPECT_EQ(fs::status(folder_ / "new").permissions(), fs::perms(0640));
}

TEST_P(OutputFiles, nothing_changes_without_finish) {
  {
    Aside file(folder_ / "old", kShared, GetParam()), other(folder_ / "new", kShared, GetParam());
    file.write("after");
    other.write("after");
  }
  EXPECT_EQ(content_of(folder_ / "old"), "before");
  EXPECT_EQ(names(), std::vector<std::string>{"old"});
}

TEST_P(OutputFiles, nothing_is_left_of_a_file_that_passes_a_limit_of_the_system) {
  const pid_t child = ::fork();
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1000, 1000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    try {
      Aside file(folder_ / "old", kShared, GetParam());
      file.write(std::string(2000, 'x'));
    } catch (const Error& error) {
      ::_exit(std::string(error.what()).find("ulimit -f") != std::string::npos ? 7 : 8);
    }
    ::_exit(9);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 7);
  EXPECT_EQ(content_of(folder_ / "old"), "before");
  EXPECT_EQ(names(), std::vector<std::string>{"old"});
}

TEST_P(OutputFiles, a_link_stays_and_what_it_leads_to_is_replaced) {
  fs::create_symlink("old", folder_ / "link");
  fs::create_symlink("later", folder_ / "open");
  for (const char* const name : {"link", "open"}) {
    Aside file(folder_ / name, kShared, GetParam());
    file.write("after");
    file.finish();
    EXPECT_TRUE(fs::is_symlink(folder_ / name));
  }
  EXPECT_EQ(content_of(folder_ / "old"), "after");
  EXPECT_EQ(content_of(folder_ / "later"), "after");
  EXPECT_EQ(names(), (std::vector<std::string>{"later", "link", "old", "open"}));
}

TEST_P(OutputFiles, a_private_file_is_for_its_user_alone_and_replaces_a_link) {
  fs::permissions(folder_ / "old", fs::perms(0666));
  fs::create_symlink("old", folder_ / "link");
  for (const char* const name : {"link", "new"}) {
    Aside file(folder_ / name, OutputFile::Access::Private, GetParam());
    file.write("after");
    file.finish();
    EXPECT_FALSE(fs::is_symlink(folder_ / name));
    EXPECT_EQ(content_of(folder_ / name), "after");
    EXPECT_EQ(fs::status(folder_ / name).permissions(), fs::perms(0600));
  }
  EXPECT_EQ(content_of(folder_ / "old"), "before");
}

TEST_P(OutputFiles, a_device_is_written_into_and_a_full_one_is_refused) {
  Aside none("/dev/null", kShared, GetParam());
  none.write("x");
  none.finish();
  Aside full("/dev/full", kShared, GetParam());
  EXPECT_THAT([&] { full.write("x"); },
              ThrowsMessage<Error>("/dev/full cannot be written: No space left on device; free the "
                                   "disk, or write elsewhere"));
}

TEST_P(OutputFiles, a_folder_or_a_file_in_none_is_refused_before_anything_is_written) {
  EXPECT_THAT([&] { Aside(folder_, kShared, GetParam()); },
              ThrowsMessage<Error>(folder_.string() + " is a folder; name a file in it"));
  EXPECT_THAT([&] { Aside(folder_ / "nowhere" / "new", kShared, GetParam()); },
              ThrowsMessage<Error>(HasSubstr("nowhere/new cannot be written: No such file")));
}

class Files : public WithFolder, public testing::Test {};

TEST_F(Files, nothing_is_left_of_a_process_that_is_killed_while_it_writes) {
  const int nameless = ::open(folder_.c_str(), O_TMPFILE | O_WRONLY, 0600);
  if (nameless < 0) GTEST_SKIP() << "this file system knows no files without a name";
  ::close(nameless);
  const pid_t child = ::fork();
  if (child == 0) {
    Aside file(folder_ / "old");
    file.write("after");
    std::raise(SIGKILL);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(content_of(folder_ / "old"), "before");
  EXPECT_EQ(names(), std::vector<std::string>{"old"});
}

TEST_F(Files, a_name_in_gz_is_packed_and_another_one_is_not) {
  std::string text;
  for (int i = 0; i < 100000; ++i) text += std::to_string(i) + '\n';
  for (const char* const name : {"text.gz", "text"}) {
    OutputFile file(folder_ / name);
    file.append(text);
    file.append("the end");
    file.finish();
  }
  text += "the end";
  EXPECT_EQ(content_of(folder_ / "text"), text);
  EXPECT_LT(fs::file_size(folder_ / "text.gz"), text.size() / 2);
  EXPECT_EQ(content_of(folder_ / "text.gz").substr(0, 2), "\x1f\x8b");
  gzFile file = gzopen((folder_ / "text.gz").c_str(), "rb");
  std::string unpacked(text.size() + 1, '\0');
  EXPECT_EQ(gzread(file, unpacked.data(), static_cast<unsigned>(unpacked.size())),
            static_cast<int>(text.size()));
  EXPECT_EQ(gzclose(file), Z_OK);
  unpacked.pop_back();
  EXPECT_EQ(unpacked, text);
}

// Names in /dev are written directly; those in /dev/shm are files as any others.
TEST(FilesInMemory, stay_until_the_new_one_is_whole) {
  if (::access("/dev/shm", W_OK | X_OK) != 0) GTEST_SKIP() << "this system has no /dev/shm";
  const fs::path path = "/dev/shm/neap_output_" + std::to_string(::getpid());
  std::ofstream(path) << "old";
  {
    OutputFile file(path);
    file.append("a part of the new one");
  }
  EXPECT_EQ(content_of(path), "old");
  fs::remove(path);
}

TEST_F(Files, an_empty_file_is_written_too) {
  OutputFile file(folder_ / "old");
  file.finish();
  EXPECT_EQ(content_of(folder_ / "old"), "");
}

TEST_F(Files, nothing_is_written_after_the_end) {
  OutputFile file(folder_ / "old");
  file.finish();
  EXPECT_THAT([&] { file.append("x"); }, ThrowsMessage<Error>(HasSubstr("after finish()")));
  EXPECT_THAT([&] { file.finish(); }, ThrowsMessage<Error>(HasSubstr("a second time")));
}

}  // namespace
}  // namespace neap::machine
