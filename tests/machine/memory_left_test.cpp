// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// How much memory is left, according to Linux's files: on the machine, and in control groups of
// either version.
#include "machine/memory_left.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <string>

namespace neap::machine {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kMiB = std::int64_t{1} << 20;

std::string mib(std::int64_t count) { return std::to_string(count * kMiB); }

class MemoryLeft : public testing::Test {
 public:
  MemoryLeft() : root_(fs::temp_directory_path() / ("neap_memory_" + std::to_string(::getpid()))) {
    put("proc/meminfo",
        "MemTotal:        8388608 kB\nMemFree:          102400 kB\nMemAvailable:    4194304 kB\n");
  }
  ~MemoryLeft() override { fs::remove_all(root_); }

 protected:
  void put(const std::string& name, const std::string& content) {
    fs::create_directories((root_ / name).parent_path());
    std::ofstream(root_ / name) << content;
  }
  [[nodiscard]] Memory read() const { return read_memory(root_); }

  // Writes what the kernel shows for a process in a group of version 2 or version 1.
  void in_version_2(const std::string& group, const std::string& mount_root = "/") {
    put("proc/self/cgroup", "0::" + group + "\n");
    put("proc/self/mountinfo",
        "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        "30 22 0:26 " +
            mount_root + " /sys/fs/cgroup rw,nosuid shared:4 master:2 - cgroup2 cgroup2 rw\n");
  }
  void in_version_1(const std::string& group, const std::string& mount_root = "/") {
    put("proc/self/cgroup", "9:name=systemd:/x\n4:cpu,memory:" + group + "\n1:cpu:/other\n0::/\n");
    put("proc/self/mountinfo",
        "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
        "33 31 0:30 " +
            mount_root + " /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
  }

  fs::path root_;
};

TEST_F(MemoryLeft, without_a_group_the_machine_s_is_what_is_left) {
  const Memory memory = read();
  EXPECT_EQ(memory.total, 8192 * kMiB);
  EXPECT_EQ(memory.available, 4096 * kMiB);
  EXPECT_FALSE(memory.limit);
  EXPECT_EQ(memory.left(), 4096 * kMiB);
}

TEST_F(MemoryLeft, where_nothing_can_be_read_nothing_is_known) {
  fs::remove_all(root_);
  const Memory memory = read();
  EXPECT_EQ(memory.total, 0);
  EXPECT_FALSE(memory.limit);
  EXPECT_EQ(memory.left(), 0);
}

TEST_F(MemoryLeft, a_group_of_version_2_leaves_its_limit_less_what_it_uses_but_for_files) {
  in_version_2("/jobs/one");
  put("sys/fs/cgroup/jobs/one/memory.max", mib(1000) + "\n");
  put("sys/fs/cgroup/jobs/one/memory.current", mib(300) + "\n");
  put("sys/fs/cgroup/jobs/one/memory.stat",
      "anon 1\nfile 2\ninactive_file " + mib(40) + "\nactive_file " + mib(10) + "\n");
  const Memory memory = read();
  ASSERT_TRUE(memory.limit);
  EXPECT_EQ(*memory.limit, 1000 * kMiB);
  EXPECT_EQ(memory.limit_left, 750 * kMiB);
  EXPECT_EQ(memory.left(), 750 * kMiB);
}

TEST_F(MemoryLeft, a_group_of_version_1_is_read_by_its_own_names) {
  in_version_1("/jobs/one");
  put("sys/fs/cgroup/memory/jobs/one/memory.limit_in_bytes", mib(1000) + "\n");
  put("sys/fs/cgroup/memory/jobs/one/memory.usage_in_bytes", mib(300) + "\n");
  put("sys/fs/cgroup/memory/jobs/one/memory.stat",
      "inactive_file 5\ntotal_inactive_file " + mib(40) + "\ntotal_active_file " + mib(10) + "\n");
  const Memory memory = read();
  ASSERT_TRUE(memory.limit);
  EXPECT_EQ(*memory.limit, 1000 * kMiB);
  EXPECT_EQ(memory.left(), 750 * kMiB);
}

TEST_F(MemoryLeft, no_limit_is_max_in_version_2_and_a_very_large_number_in_version_1) {
  in_version_2("/");
  put("sys/fs/cgroup/memory.max", "max\n");
  EXPECT_FALSE(read().limit);
  in_version_1("/");
  put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_FALSE(read().limit);
}

TEST_F(MemoryLeft, the_groups_above_count_too_and_the_one_that_leaves_least_is_named) {
  in_version_2("/jobs/one");
  put("sys/fs/cgroup/jobs/one/memory.max", mib(1000) + "\n");
  put("sys/fs/cgroup/jobs/one/memory.current", mib(100) + "\n");
  put("sys/fs/cgroup/jobs/memory.max", mib(2000) + "\n");
  put("sys/fs/cgroup/jobs/memory.current", mib(1900) + "\n");
  const Memory memory = read();
  ASSERT_TRUE(memory.limit);
  EXPECT_EQ(*memory.limit, 1000 * kMiB);
  EXPECT_EQ(memory.limit_left, 100 * kMiB);
}

TEST_F(MemoryLeft, a_container_that_sees_the_host_s_names_finds_its_group_at_the_mount) {
  in_version_1("/docker/77aa", "/docker/77aa");
  put("sys/fs/cgroup/memory/memory.limit_in_bytes", mib(500) + "\n");
  put("sys/fs/cgroup/memory/memory.usage_in_bytes", mib(100) + "\n");
  EXPECT_EQ(read().left(), 400 * kMiB);
  in_version_2("/docker/77aa", "/docker/77aa");
  put("sys/fs/cgroup/memory.max", mib(600) + "\n");
  put("sys/fs/cgroup/memory.current", mib(100) + "\n");
  EXPECT_EQ(read().left(), 500 * kMiB);
}

TEST_F(MemoryLeft, a_limit_above_the_machine_leaves_what_the_machine_has) {
  in_version_2("/");
  put("sys/fs/cgroup/memory.max", mib(100000) + "\n");
  put("sys/fs/cgroup/memory.current", mib(10) + "\n");
  EXPECT_EQ(read().left(), 4096 * kMiB);
}

TEST_F(MemoryLeft, a_group_that_is_above_its_limit_leaves_nothing) {
  in_version_2("/");
  put("sys/fs/cgroup/memory.max", mib(100) + "\n");
  put("sys/fs/cgroup/memory.current", mib(120) + "\n");
  const Memory memory = read();
  ASSERT_TRUE(memory.limit);
  EXPECT_EQ(memory.left(), 0);
}

TEST_F(MemoryLeft, this_machine_has_some) {
  EXPECT_GT(memory().total, 0);
  EXPECT_GT(memory().left(), 0);
  EXPECT_LE(memory().left(), memory().total);
}

}  // namespace
}  // namespace neap::machine
