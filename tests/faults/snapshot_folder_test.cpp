// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The folder of a run on file systems that cannot exchange names, and behind links.
#include "faults/disk.h"
#include "faults/shim.h"
#include "faults/writers.h"
#include "snapshot/saved_training.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

namespace neap::faults {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;
using train::Training;
using train::why_not;

class SnapshotFolder : public testing::Test {
 protected:
  SnapshotFolder() : scratch_(fs::canonical(fast_folder())), folder_(scratch_ / "run") {}
  ~SnapshotFolder() override {
    stop();
    fs::remove_all(scratch_);
  }
  SnapshotFolder(const SnapshotFolder&) = delete;
  SnapshotFolder& operator=(const SnapshotFolder&) = delete;

  void save(std::int64_t step) { save_into(folder_, step); }
  void save_into(const fs::path& folder, std::int64_t step) {
    train::save(folder, *run_.model, *run_.optimizer, {.step = step}, {.keep = 0});
  }

  fs::path scratch_, folder_;
  Training run_;
};

TEST_F(SnapshotFolder, that_cannot_exchange_names_takes_two_renames) {
  for (const int error : {EINVAL, ENOSYS, EOPNOTSUPP, EPERM}) {
    SCOPED_TRACE(::strerrorname_np(error));
    fs::remove_all(folder_);
    watch(folder_.string(), {}, {.exchange = error});
    save(1);
    run_.train(0, 1);
    save(1);
    stop();
    Training other(train::adamw, 9);
    train::load(folder_ / "step-0000000001", *other.model, *other.optimizer);
    EXPECT_TRUE(at::equal(other.model->parameters()[0], run_.model->parameters()[0]));
    EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
  }
}

// So what the system says against an exchange matters only where there is something to exchange.
TEST_F(SnapshotFolder, exchanges_names_only_to_replace) {
  watch(folder_.string(), {}, {.exchange = EIO});
  save(1);
  save(2);
  EXPECT_THAT(why_not([&] { save(2); }), HasSubstr(std::strerror(EIO)));
  stop();
  EXPECT_EQ(train::newest_snapshot(folder_), folder_ / "step-0000000002");
}

TEST_F(SnapshotFolder, tells_the_error_of_the_first_rename) {
  save(1);
  bool failed = false;
  for (std::int64_t k = 1;; ++k) {
    watch(folder_.string(), {.call = Call::Rename, .k = k, .error = EACCES}, {.exchange = EINVAL});
    const std::string why = why_not([&] { save(1); });
    const bool is_over = calls(Call::Rename) < k;
    stop();
    EXPECT_THAT(why, Not(HasSubstr(std::strerror(ENOTEMPTY))));
    if (!why.empty()) {
      EXPECT_THAT(why, HasSubstr(std::strerror(EACCES)));
    }
    failed = failed || !why.empty();
    if (is_over) break;
  }
  EXPECT_TRUE(failed);
}

// The program is killed at each call while it replaces a snapshot. Then the user moves away what
// has its name, and what the next save finds of it is whole, or nothing.
TEST_F(SnapshotFolder, puts_nothing_back_that_is_not_whole) {
  std::int64_t killed = 0;
  for (std::int64_t k = 1;; ++k) {
    SCOPED_TRACE("killed at call " + std::to_string(k));
    fs::remove_all(folder_);
    save(2);
    const pid_t child = ::fork();
    if (child == 0) {
      watch_until(folder_.string(), k, {.exchange = EINVAL});
      save(2);
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    if (!WIFSIGNALED(status)) {
      EXPECT_EQ(status, 0);
      break;
    }
    ASSERT_EQ(WTERMSIG(status), SIGKILL);
    ++killed;
    const fs::path replaced = folder_ / "step-0000000002";
    if (fs::exists(replaced)) fs::rename(replaced, scratch_ / ("moved " + std::to_string(k)));
    save(3);
    if (fs::exists(replaced)) {
      Training other(train::adamw, 9);
      EXPECT_EQ(why_not([&] { train::load(replaced, *other.model, *other.optimizer); }), "");
    }
    for (const std::string& name : names_below(folder_))
      EXPECT_FALSE(name.starts_with('.')) << name;
  }
  EXPECT_GT(killed, 20);
}

// `link/..` is the folder above the one that the link leads to.
TEST_F(SnapshotFolder, syncs_the_folders_above_behind_links) {
  fs::create_directories(scratch_ / "real/deep");
  fs::create_directory_symlink(scratch_ / "real/deep", scratch_ / "link");
  struct stat real {};
  ASSERT_EQ(::stat((scratch_ / "real").c_str(), &real), 0);
  Journal journal;
  watch(scratch_.string(), journal);
  save_into(scratch_ / "link/../run", 1);
  stop();
  EXPECT_TRUE(fs::exists(scratch_ / "real/run/step-0000000001"));
  EXPECT_TRUE(std::ranges::any_of(journal.events, [&](const Event& event) {
    return event.kind == Event::Kind::Sync && event.one == real.st_ino;
  }));
}

}  // namespace
}  // namespace neap::faults
