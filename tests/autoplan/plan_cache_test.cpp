// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Plans in files. What is written comes back. What is damaged, foreign or contradictory is ignored,
// with the reason. tests/command/train_test.py shows that a second process follows the plans that
// a first one wrote.
#include "autoplan/plan_cache.h"

#include "autoplan/plan_director.h"

#include <neap/base.h>
#include <neap/version.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>

#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

namespace neap::test {
namespace {

namespace fs = std::filesystem;
using autoplan::CachedStep;
using autoplan::CachedSteps;
using autoplan::read_cached;
using autoplan::remove_cached;
using autoplan::StepId;
using autoplan::write_cached;
using testing::HasSubstr;

constexpr std::int64_t kBudget = 4096;
constexpr std::size_t kMost = 16;
constexpr std::size_t kHead = 16;  // magic, version, checksum

CachedStep example(std::uint64_t last_call = 33) {
  CachedStep cached;
  cached.budget = kBudget;
  cached.base = 1000;
  cached.margin = 16;
  cached.step.calls = {11, 22, last_call};
  cached.step.operators = {{0, 0, 0, 0, 0, 0, 1}, {1, 2, 2, 3, 3, 4, 4}, {4, 4, 4, 4, 4, 4, 4}};
  cached.step.blocks = {5, 6, 7, 2};
  cached.step.numbers = 8;
  cached.step.predicted_peak = 4000;
  cached.step.predicted_ns = 77;
  return cached;
}

class PlanCache : public testing::Test {
 public:
  PlanCache() : folder_(fs::temp_directory_path() / ("neap_cache_" + std::to_string(::getpid()))) {}
  ~PlanCache() override { fs::remove_all(folder_); }
  PlanCache(const PlanCache&) = delete;
  PlanCache& operator=(const PlanCache&) = delete;

 protected:
  [[nodiscard]] CachedSteps read() const { return read_cached(folder_, kBudget, false, kMost); }
  [[nodiscard]] fs::path only_file() const {
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(folder_)) files.push_back(entry.path());
    EXPECT_EQ(files.size(), 1U);
    return files.at(0);
  }
  static std::string content_of(const fs::path& path) {
    std::ostringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    return text.str();
  }
  static void replace(const fs::path& path, const std::string& content) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
  }
  // The file with a new, correct checksum.
  static std::string signed_again(std::string file) {
    const auto sum = static_cast<std::uint32_t>(crc32_z(
        0, reinterpret_cast<const unsigned char*>(file.data()) + kHead, file.size() - kHead));
    std::memcpy(file.data() + kHead - 4, &sum, 4);
    return file;
  }
  void expect_ignored(const std::string& why) const {
    const CachedSteps read = this->read();
    EXPECT_TRUE(read.steps.empty());
    ASSERT_EQ(read.ignored.size(), 1U);
    EXPECT_THAT(read.ignored[0], HasSubstr(only_file().string() + " is ignored: "));
    EXPECT_THAT(read.ignored[0], HasSubstr(why));
  }

  fs::path folder_;
};

TEST_F(PlanCache, gives_back_what_was_written_to_its_user_alone) {
  const CachedStep written = example();
  write_cached(folder_ / "inner", written);
  EXPECT_EQ(fs::status(folder_ / "inner").permissions(), fs::perms::owner_all);
  const CachedSteps read = read_cached(folder_ / "inner", kBudget, false, kMost);
  EXPECT_TRUE(read.ignored.empty());
  ASSERT_EQ(read.steps.size(), 1U);
  const CachedStep& found = read.steps[0];
  EXPECT_EQ(std::tie(found.budget, found.base, found.margin),
            std::tie(written.budget, written.base, written.margin));
  EXPECT_EQ(found.step.calls, written.step.calls);
  EXPECT_EQ(found.step.operators, written.step.operators);
  EXPECT_EQ(found.step.blocks, written.step.blocks);
  EXPECT_EQ(found.step.numbers, written.step.numbers);
  EXPECT_EQ(found.step.predicted_peak, written.step.predicted_peak);
  EXPECT_EQ(found.step.predicted_ns, written.step.predicted_ns);
  for (const auto& file : fs::directory_iterator(folder_ / "inner")) {
    EXPECT_EQ(file.status().permissions(), fs::perms::owner_read | fs::perms::owner_write);
  }
}

TEST_F(PlanCache, holds_one_plan_a_step_and_budget_and_reads_those_of_a_budget_newest_first) {
  write_cached(folder_, example());
  CachedStep again = example();
  again.margin = 32;
  write_cached(folder_, again);
  EXPECT_THAT(only_file().filename().string(), HasSubstr("-3-4096"));
  ASSERT_EQ(read().steps.size(), 1U);
  EXPECT_EQ(read().steps[0].margin, 32);

  fs::last_write_time(only_file(), fs::file_time_type::clock::now() - std::chrono::hours(1));
  write_cached(folder_, example(44));
  CachedStep other = example();
  other.budget = 2 * kBudget;
  write_cached(folder_, other);
  const CachedSteps read = this->read();
  ASSERT_EQ(read.steps.size(), 2U);
  EXPECT_EQ(read.steps[0].step.calls.back(), 44U);
  EXPECT_EQ(read_cached(folder_, kBudget, false, 1).steps.size(), 1U);

  const StepId removed{.calls = 44, .count = 3, .budget = kBudget};
  remove_cached(folder_, removed);
  remove_cached(folder_, removed);  // already removed
  ASSERT_EQ(this->read().steps.size(), 1U);
  EXPECT_EQ(this->read().steps[0].step.calls.back(), 33U);
}

TEST_F(PlanCache, plans_with_a_tier_and_without_do_not_mix) {
  CachedStep with_tier = example();
  with_tier.offloads = true;
  with_tier.margin = 5;
  write_cached(folder_, with_tier);
  EXPECT_TRUE(read().steps.empty());
  write_cached(folder_, example());
  ASSERT_EQ(read().steps.size(), 1U);
  EXPECT_EQ(read().steps[0].margin, 16);
  const CachedSteps found = read_cached(folder_, kBudget, true, kMost);
  ASSERT_EQ(found.steps.size(), 1U);
  EXPECT_TRUE(found.steps[0].offloads);
  EXPECT_EQ(found.steps[0].margin, 5);
}

TEST_F(PlanCache, is_empty_where_there_is_no_directory_and_says_so_where_none_can_be) {
  EXPECT_TRUE(read().steps.empty());
  EXPECT_TRUE(read().ignored.empty());
  std::ofstream(folder_.string()) << "a file";
  try {
    write_cached(folder_, example());
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr(folder_.string() + ": no plan can be kept there: "));
  }
  ASSERT_EQ(read().ignored.size(), 1U);
  EXPECT_THAT(read().ignored[0], HasSubstr("Not a directory"));
}

TEST_F(PlanCache, ignores_files_that_are_cut_short_anywhere_or_have_a_bit_turned) {
  write_cached(folder_, example());
  const fs::path path = only_file();
  const std::string whole = content_of(path);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    replace(path, whole.substr(0, size));
    ASSERT_TRUE(read().steps.empty()) << size << " bytes";
    ASSERT_EQ(read().ignored.size(), 1U);
  }
  for (std::size_t bit = 0; bit < 8 * whole.size(); ++bit) {
    std::string turned = whole;
    turned[bit / 8] = static_cast<char>(turned[bit / 8] ^ (1 << bit % 8));
    replace(path, turned);
    ASSERT_TRUE(read().steps.empty()) << "bit " << bit;
    ASSERT_EQ(read().ignored.size(), 1U);
  }
  replace(path, whole);
  EXPECT_EQ(read().steps.size(), 1U);
}

TEST_F(PlanCache, ignores_what_contradicts_itself_although_its_sum_is_right) {
  write_cached(folder_, example());
  const fs::path path = only_file();
  const std::string whole = content_of(path);
  // Whatever byte is replaced by whatever value, a file that is still accepted keeps the rules that
  // the engine relies on.
  for (std::size_t at = kHead; at < whole.size(); ++at) {
    for (const int value : {0x00, 0x01, 0x7f, 0x80, 0xff}) {
      std::string changed = whole;
      changed[at] = static_cast<char>(value);
      replace(path, signed_again(changed));
      const CachedSteps read = this->read();
      ASSERT_EQ(read.steps.size() + read.ignored.size(), 1U);
      for (const CachedStep& cached : read.steps) {
        const auto& step = cached.step;
        ASSERT_EQ(step.calls.size(), 3U);
        std::uint32_t last = 0;
        for (const auto& one : step.operators) {
          ASSERT_TRUE(last <= one.brings && one.brings <= one.leaves && one.leaves <= one.loads &&
                      one.loads <= one.copies && one.copies <= one.evicts &&
                      one.evicts <= one.loads_after && one.loads_after <= one.ends);
          last = one.ends;
        }
        ASSERT_EQ(last, step.blocks.size());
        for (const std::uint32_t block : step.blocks) ASSERT_LT(block, step.numbers);
        ASSERT_LE(step.numbers, 1U << 24);
      }
    }
  }
  replace(path, signed_again(whole + '\0'));
  expect_ignored("more follows where it should end");
}

TEST_F(PlanCache, ignores_what_others_own_could_have_written_or_named) {
  write_cached(folder_, example());
  const fs::path path = only_file();
  const std::string whole = content_of(path);
  for (const auto other : {fs::perms::group_write, fs::perms::others_write}) {
    fs::permissions(path, other, fs::perm_options::add);
    expect_ignored("other users can write into it");
    fs::permissions(path, other, fs::perm_options::remove);
  }
  fs::rename(path, folder_ / "elsewhere");  // a link could lead to what another user wrote
  fs::create_symlink("elsewhere", path);
  {
    const CachedSteps read = this->read();
    EXPECT_TRUE(read.steps.empty());
    ASSERT_EQ(read.ignored.size(), 1U);
    EXPECT_THAT(read.ignored[0], HasSubstr(std::strerror(ELOOP)));
  }
  fs::rename(folder_ / "elsewhere", path);
  replace(path, "a shopping list, much longer than any head");
  expect_ignored("it holds no planned step");
  std::string changed = whole;
  changed[8] = 9;
  replace(path, changed);
  expect_ignored("it has version 9, expected 4");
  changed = whole;
  changed[kHead + 8] = '9';  // the first digit of neap's version
  replace(path, signed_again(changed));
  expect_ignored("it was made by neap 9");
  changed = whole;
  changed[kHead + 8 + std::strlen(NEAP_VERSION) + 8] = '7';
  replace(path, signed_again(changed));
  expect_ignored("it was made by LibTorch 7");
  replace(path, whole);

  fs::rename(path, folder_ / "0000000000000001-3-4096.neapstep");
  expect_ignored("it is the plan of another step, 0000000000000021-3-4096.neapstep");
  fs::remove(only_file());
  fs::create_symlink("/dev/zero", path);
  expect_ignored("");
  fs::remove(path);
  fs::create_directory(path);
  expect_ignored("it is no file");
  fs::remove(path);
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  expect_ignored("it is no file");
  fs::remove(path);
  std::ofstream(path).close();
  fs::resize_file(path, std::uintmax_t{1} << 40);  // a hole: it takes no space
  expect_ignored("it has 1.0 TiB, expected at most 256.0 MiB");
}

// A file does not say which of its calls are operators.
TEST(PlanDirector, ends_where_a_step_has_fewer_operators_than_the_program) {
  auto step = std::make_shared<autoplan::PlannedStep>();
  step->calls = {11, 22};
  step->operators = {{}, {}};  // one operator, and the end
  autoplan::PlanDirector director;
  director.start({step});
  ASSERT_TRUE(director.foresees(11, nullptr));
  EXPECT_TRUE(director.before_operator().has_value());
  director.after_operator();
  ASSERT_TRUE(director.foresees(22, nullptr));
  EXPECT_FALSE(director.before_operator().has_value());
  EXPECT_FALSE(director.follows());
}

}  // namespace
}  // namespace neap::test
