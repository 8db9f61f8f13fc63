// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// One training, killed again and again by SIGKILL while it trains and saves, and begun again from
// the newest snapshot. No step that was saved may be lost, and its bits are those of a training
// that was never killed. NEAP_KILLS sets how often, NEAP_SEED where.
#include "faults/settings.h"
#include "faults/shim.h"
#include "faults/writers.h"
#include "snapshot/saved_training.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <iostream>
#include <random>
#include <thread>

namespace neap::faults {
namespace {

namespace fs = std::filesystem;
using train::State;
using train::Training;
using Clock = std::chrono::steady_clock;  // one for all programs

// Of the program that is killed, in memory that outlives it.
struct Progress {
  std::atomic<std::int64_t> trained = 0, saved = 0;
  std::atomic<Clock::rep> first_save = 0;  // when it was done; 0: not yet
};

void save(const fs::path& folder, const Training& run, std::int64_t step) {
  train::save(folder, *run.model, *run.optimizer, {.step = step}, {.keep = 2});
}

// Step 0: there is no snapshot.
std::int64_t resume(const fs::path& folder, Training& run, std::vector<std::string>& damaged) {
  const auto newest = train::newest_snapshot(folder, &damaged);
  return newest ? train::load(*newest, *run.model, *run.optimizer).step : 0;
}

// The loop that is killed. Each second step is saved a second time, which replaces its snapshot.
void loop(const fs::path& folder, Progress& progress, std::int64_t steps) {
  Training run;
  std::vector<std::string> damaged;
  const std::int64_t first = resume(folder, run, damaged);
  for (std::int64_t step = first; step < first + steps; ++step) {
    run.train(step, step + 1);
    progress.trained = step + 1;
    save(folder, run, step + 1);
    progress.saved = step + 1;
    if (step == first) progress.first_save = Clock::now().time_since_epoch().count();
    if (step % 2 == 0) save(folder, run, step + 1);
  }
}

// Until a training that begins has saved for the first time.
std::chrono::microseconds time_to_save(const fs::path& folder, Progress& progress) {
  const Clock::time_point start = Clock::now();
  const pid_t child = ::fork();
  if (child == 0) {
    loop(folder, progress, 1);
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  const Clock::time_point saved(Clock::duration(progress.first_save.load()));
  progress.trained = progress.saved = 0;
  return std::chrono::ceil<std::chrono::microseconds>(saved - start);
}

// The training that is never killed.
class Reference {
 public:
  // Steps never go back.
  State at(std::int64_t step) {
    at::Generator generator = at::detail::getDefaultCPUGenerator();
    const at::Tensor others = generator.get_state();
    generator.set_state(generator_);
    run_.train(step_, step);
    generator_ = generator.get_state();
    generator.set_state(others);
    step_ = step;
    run_.loss = 0;  // no part of a snapshot, and gradients neither
    run_.optimizer->zero_grad(/*set_to_none=*/true);
    return run_.state();
  }

 private:
  Training run_;
  at::Tensor generator_ = at::detail::getDefaultCPUGenerator().get_state();  // for dropout
  std::int64_t step_ = 0;
};

// What a folder may hold at any time: snapshots, which are whole, and what the next save removes.
void expect_whole_by_name(const fs::path& folder) {
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    EXPECT_TRUE(name.starts_with("step-") || name.starts_with(".step-")) << name;
    if (name.starts_with('.')) continue;
    Training other;
    EXPECT_EQ(train::why_not([&] { train::load(entry.path(), *other.model, *other.optimizer); }),
              "");
  }
}

TEST(Kill, at_any_moment_loses_no_snapshot) {
  const std::int64_t kills = setting("NEAP_KILLS", 2000);
  const std::int64_t seed = setting("NEAP_SEED", 1);
  std::cout << "  NEAP_KILLS=" << kills << " NEAP_SEED=" << seed << '\n';
  std::mt19937_64 chance(static_cast<std::uint64_t>(seed));
  const auto draw = [&](std::int64_t first, std::int64_t last) {
    return std::uniform_int_distribution<std::int64_t>(first, last)(chance);
  };
  const fs::path scratch = fast_folder();
  const fs::path folder = scratch / "run";
  auto* const progress = new (::mmap(nullptr, sizeof(Progress), PROT_READ | PROT_WRITE,
                                     MAP_SHARED | MAP_ANONYMOUS, -1, 0)) Progress;
  Reference reference;
  // About three of four kills by time come behind a save. On a busy machine they come earlier, so
  // that the test ends.
  constexpr std::int64_t kLongest = 1'000'000;  // us
  const std::int64_t longest =
      std::min(4 * time_to_save(scratch / "measured", *progress).count(), kLongest);
  ASSERT_GT(longest, 0);
  std::int64_t killed = 0, by_time = 0, behind_save = 0, before = 0;
  while (killed < kills && !testing::Test::HasFailure()) {
    SCOPED_TRACE("kill " + std::to_string(killed + 1));
    const bool timed = draw(0, 9) == 0;
    const Without without{.unnamed = draw(0, 3) == 0, .exchange = draw(0, 1) == 0 ? EINVAL : 0};
    const std::int64_t kill_at = draw(1, 400);
    const auto wait = std::chrono::microseconds(draw(0, longest));
    progress->first_save = 0;
    const pid_t child = ::fork();
    if (child == 0) {
      watch_until(folder.string(), timed ? 0 : kill_at, without);
      loop(folder, *progress, timed ? 1'000'000 : 5);
      ::_exit(0);
    }
    if (timed) {
      std::this_thread::sleep_for(wait);
      ::kill(child, SIGKILL);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    if (WIFSIGNALED(status)) {
      ASSERT_EQ(WTERMSIG(status), SIGKILL);
      ++killed;
      by_time += timed ? 1 : 0;
      behind_save += timed && progress->first_save != 0 ? 1 : 0;
    } else {
      ASSERT_EQ(WEXITSTATUS(status), 0) << "it went on from the kill before, and failed";
    }
    if (!fs::exists(folder)) continue;
    expect_whole_by_name(folder);
    Training resumed;
    std::vector<std::string> damaged;
    const std::int64_t step = resume(folder, resumed, damaged);
    EXPECT_GE(step, progress->saved) << "a snapshot was lost";
    EXPECT_GE(step + 1, progress->trained) << "more than one interval was lost";
    EXPECT_GE(step, before);
    for (const std::string& why : damaged) ADD_FAILURE() << why;
    if (step > 0) {
      train::expect_equal(reference.at(step), resumed.state(), "step " + std::to_string(step));
    }
    before = step;
  }
  std::cout << "  " << killed << " kills, " << by_time << " of them by time, " << behind_save
            << " of these behind a save; step " << before << " was reached\n";
  // Fewer may all come before the first save by chance.
  constexpr std::int64_t kEnough = 20;
  EXPECT_TRUE(before > 0 || killed < kEnough);
  EXPECT_TRUE(behind_save > 0 || by_time < kEnough);
  Training last;
  std::vector<std::string> damaged;
  const std::int64_t step = resume(folder, last, damaged);
  save(folder, last, step + 1);
  for (const std::string& name : names_below(folder)) EXPECT_FALSE(name.starts_with('.')) << name;
  fs::remove_all(scratch);
}

}  // namespace
}  // namespace neap::faults
