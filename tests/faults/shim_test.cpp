// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The shim counts what happens below its folder, and nothing else.
#include "faults/shim.h"
#include "faults/writers.h"

#include <gtest/gtest.h>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>

namespace neap::faults {
namespace {

namespace fs = std::filesystem;

class Shim : public testing::Test {
 protected:
  Shim() : folder_(fast_folder()) {}
  ~Shim() override {
    stop();
    fs::remove_all(folder_);
  }
  Shim(const Shim&) = delete;
  Shim& operator=(const Shim&) = delete;

  // A pipe, which takes the lowest numbers that are free, is below no folder.
  static void expect_uncounted_pipe(int number) {
    std::array<int, 2> ends{};
    ASSERT_EQ(::pipe(ends.data()), 0);
    ASSERT_TRUE(ends[0] == number || ends[1] == number) << "else the test shows nothing";
    char byte = 'x';
    EXPECT_EQ(::write(ends[1], &byte, 1), 1);
    EXPECT_EQ(::read(ends[0], &byte, 1), 1);
    EXPECT_EQ(calls(Call::Write), 0);
    EXPECT_EQ(calls(Call::Read), 0);
    ::close(ends[0]);
    ::close(ends[1]);
  }

  fs::path folder_;
};

TEST_F(Shim, forgets_a_stream_that_was_closed) {
  watch(folder_.string());
  std::FILE* const stream = std::fopen((folder_ / "one").c_str(), "w");
  ASSERT_NE(stream, nullptr);
  const int number = ::fileno(stream);
  EXPECT_EQ(std::fclose(stream), 0);
  EXPECT_EQ(calls(Call::Close), 1);
  expect_uncounted_pipe(number);
}

TEST_F(Shim, forgets_a_folder_that_was_closed) {
  watch(folder_.string());
  const int number = ::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* const entries = ::fdopendir(number);
  ASSERT_NE(entries, nullptr);
  EXPECT_EQ(::closedir(entries), 0);
  expect_uncounted_pipe(number);
}

TEST_F(Shim, fails_fstat_and_fclose) {
  const std::string path = folder_ / "one";
  watch(folder_.string(), {.call = Call::Status, .k = 1, .error = EIO});
  std::FILE* stream = std::fopen(path.c_str(), "w");
  ASSERT_NE(stream, nullptr);
  struct stat status {};
  EXPECT_EQ(::fstat(::fileno(stream), &status), -1);
  EXPECT_EQ(errno, EIO);
  EXPECT_EQ(::fstat(::fileno(stream), &status), 0);
  EXPECT_TRUE(S_ISREG(status.st_mode));
  EXPECT_EQ(std::fclose(stream), 0);
  watch(folder_.string(), {.call = Call::Close, .k = 1, .error = ENOSPC});
  stream = std::fopen(path.c_str(), "w");
  ASSERT_NE(stream, nullptr);
  std::fputs("its text", stream);
  EXPECT_EQ(std::fclose(stream), EOF);
  EXPECT_EQ(errno, ENOSPC);
  stop();
  EXPECT_EQ(fs::file_size(path), 8U);
}

}  // namespace
}  // namespace neap::faults
