// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "offload/host_tier.h"

#include "offload/copies_fixture.h"
#include "support/message_of.h"

#include <neap/base.h>

#include <gtest/gtest.h>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <system_error>

namespace neap::test {
namespace {

using offload::Copies;
using offload::Copy;

TEST(OffloadHost, copies_come_back_as_they_went) {
  Copies copies(offload::open_host_tier(), std::int64_t{16} << 20);
  for (const std::int64_t bytes : {std::int64_t{1}, std::int64_t{4096}, std::int64_t{5'000'001}}) {
    const Content from = content(bytes, 1);
    Copy* const copy = copies.begin(from.data(), bytes);
    ASSERT_NE(copy, nullptr);
    Content back(from.size());
    copies.load(*copy, back.data());
    ASSERT_TRUE(copies.wait_loaded(*copy)) << copies.why_lost();
    EXPECT_TRUE(same_bits(back, from));
  }
}

TEST(OffloadHost, bytes_past_its_addresses_are_refused) {
  offload::HostTier tier;
  char byte = 'x';
  for (const std::int64_t offset :
       {std::int64_t{1} << 60, std::numeric_limits<std::int64_t>::max()}) {
    try {
      tier.write(offset, &byte, 1);
      FAIL() << "nothing was thrown";
    } catch (const std::system_error& error) {
      EXPECT_EQ(error.code().value(), ENOSPC);
    }
  }
}

TEST(OffloadHost, what_is_released_reads_as_zeros) {
  offload::HostTier tier;
  const Content from = content(8192, 1);
  tier.write(4096, from.data(), from.size());
  ASSERT_TRUE(tier.release(4096, 4096));
  Content back(from.size());
  tier.read(4096, back.data(), back.size());
  EXPECT_EQ(Content(back.begin(), back.begin() + 4096), Content(4096, 0));
  EXPECT_EQ(std::memcmp(back.data() + 4096, from.data() + 4096, 4096), 0);
}

// ulimit -v.
TEST(OffloadHost, a_limit_of_addresses_makes_it_smaller_or_refuses_it) {
  const pid_t child = ::fork();
  if (child == 0) {
    // Some more than is mapped now.
    const auto limit_to = [](rlim_t more) {
      std::FILE* const file = std::fopen("/proc/self/statm", "r");
      unsigned long pages = 0;
      if (file == nullptr || std::fscanf(file, "%lu", &pages) != 1) ::_exit(77);
      std::fclose(file);
      const rlimit limit{.rlim_cur = pages * 4096 + more, .rlim_max = RLIM_INFINITY};
      if (::setrlimit(RLIMIT_AS, &limit) != 0) ::_exit(77);
    };
    limit_to(rlim_t{600} << 20);
    {
      const Content from = content(8192, 1);
      offload::HostTier tier;
      tier.write(0, from.data(), from.size());
    }
    limit_to(rlim_t{16} << 20);
    const std::string text = message_of<Error>([] { offload::open_host_tier(); });
    ::_exit(text == "the host's memory cannot be offloaded to: not even 64.0 MiB of addresses are "
                    "left; raise the limit (ulimit -v)"
                ? 0
                : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "no limits here";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace neap::test
