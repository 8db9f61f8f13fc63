// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Training steps that offload, while each call of the system that has to do with the file fails in
// turn: once or for ever, with each error that it may have. The bits are those of plain LibTorch,
// or a typed error is thrown; no byte is over the budget; nothing ends the process. And a process
// that offloads is killed, again and again, and leaves no file.
// NEAP_OFFLOAD_FAULTS: how many of all faults each model gets, drawn from NEAP_SEED; 0: all.
// NEAP_KILLS: how often it is killed, at most 1,000 times.
#include "faults/settings.h"
#include "faults/shim.h"
#include "faults/writers.h"
#include "support/families.h"
#include "support/training_runs.h"

#include <neap/neap.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <random>
#include <string>
#include <vector>

namespace neap::faults {
namespace {

namespace fs = std::filesystem;
using test::Family;
using test::TrainingRun;

constexpr int kSteps = 2;
constexpr std::uint64_t kWeights = 1;  // the seed of the models
constexpr unsigned kLongest = 300;     // seconds for one run; what hangs is ended, and found

enum class Ending : std::uint8_t { None, Equal, OffloadError, BudgetExceeded, OtherError, Wrong };

// What a fork tells its parent of one run.
struct Shared {
  Ending ending = Ending::None;
  std::int64_t offloads = 0;
  std::array<std::int64_t, kCalls> calls{};
  std::int64_t all_calls = 0;
  std::array<char, 400> said{};
};

Shared& shared() {
  static auto* const one = static_cast<Shared*>(
      ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  return *one;
}

void end(Ending ending, const std::string& said) {
  stop();
  shared().said = {};
  said.copy(shared().said.data(), shared().said.size() - 1);
  shared().ending = ending;
}

void train(const Family& family, const TrainingRun& plain, std::int64_t budget,
           const fs::path& folder) {
  try {
    const TrainingRun run = test::run_in_scope(family, kSteps, kWeights, budget, Online{},
                                               Offload{.directory = folder});
    shared().offloads = run.last.offloads;
    if (run.peak > budget) return end(Ending::Wrong, "over the budget");
    for (std::size_t step = 0; step < plain.states.size(); ++step) {
      const std::string difference = plain.states[step].first_difference(run.states[step]);
      if (!difference.empty()) return end(Ending::Wrong, difference);
    }
    end(Ending::Equal, "");
  } catch (const OffloadError& error) {
    const bool names_it = std::strstr(error.what(), folder.c_str()) != nullptr;
    end(names_it ? Ending::OffloadError : Ending::Wrong, error.what());
  } catch (const BudgetExceeded& error) {
    end(Ending::BudgetExceeded, error.what());
  } catch (const Error& error) {  // of opening
    const bool names_it = std::strstr(error.what(), folder.c_str()) != nullptr;
    end(names_it ? Ending::OffloadError : Ending::Wrong, error.what());
  } catch (const std::exception& error) {
    end(Ending::OtherError, error.what());
  }
}

// Returns the status of waitpid().
template <class Act>
int in_fork(Act act) {
  shared() = {};
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(kLongest);
    act();
    for (std::size_t i = 0; i < kCalls; ++i) shared().calls[i] = calls(static_cast<Call>(i));
    shared().all_calls = calls();
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return status;
}

std::vector<int> errors_of(Call call) {
  switch (call) {
    case Call::Read:
      return {EIO, EINTR, kShort};
    case Call::Write:
      return {EIO, ENOSPC, EINTR, kShort};
    case Call::Control:
      return {EINVAL};
    case Call::Allocate:
      return {EOPNOTSUPP, EIO};
    case Call::Map:
      return {};  // also of all else in the process
    default:
      return {EIO, ENOSPC};
  }
}

const Family& family_of(const std::string& name) {
  return *std::ranges::find(test::families(), name, &Family::name);
}

class OffloadSteps : public testing::TestWithParam<std::string> {
 protected:
  OffloadSteps() : folder_(fast_folder()) {}
  ~OffloadSteps() override { fs::remove_all(folder_); }
  OffloadSteps(const OffloadSteps&) = delete;
  OffloadSteps& operator=(const OffloadSteps&) = delete;

  // The smallest of these shares that a step with copies fits into.
  std::int64_t tight_budget(const Family& family, const TrainingRun& plain) {
    std::int64_t found = 0;
    for (const int percent : {60, 30, 15, 10}) {
      const std::int64_t budget = test::budget_at(plain, percent);
      EXPECT_EQ(in_fork([&] {
                  watch(folder_.string());
                  train(family, plain, budget, folder_);
                }),
                0);
      if (shared().ending == Ending::BudgetExceeded) break;
      EXPECT_EQ(shared().ending, Ending::Equal) << shared().said.data();
      if (shared().offloads == 0) continue;
      found = budget;
      counted_ = shared();
    }
    return found;
  }

  fs::path folder_;
  Shared counted_;  // without a fault
};

INSTANTIATE_TEST_SUITE_P(Models, OffloadSteps,
                         testing::Values("mlp", "resnet", "unet", "transformer", "recurrent"),
                         [](const auto& info) { return info.param; });

TEST_P(OffloadSteps, a_failing_disk_leaves_the_bits_or_a_typed_error) {
  const std::int64_t most = setting("NEAP_OFFLOAD_FAULTS", 40);
  const std::int64_t seed = setting("NEAP_SEED", 1);
  const Family& family = family_of(GetParam());
  const TrainingRun plain = test::run_plain(family, kSteps, kWeights);
  const std::int64_t budget = tight_budget(family, plain);
  ASSERT_GT(budget, 0) << "nothing is copied in any budget, so nothing is tested";
  std::vector<Fault> faults;
  for (std::size_t i = 0; i < kCalls; ++i) {
    const auto call = static_cast<Call>(i);
    for (const int error : errors_of(call)) {
      for (const bool for_ever : {false, true}) {
        for (std::int64_t k = 1; k <= counted_.calls[i]; ++k) {
          faults.push_back({call, k, error, for_ever});
        }
      }
    }
  }
  const std::size_t all = faults.size();
  std::mt19937_64 chance(static_cast<std::uint64_t>(seed));
  std::ranges::shuffle(faults, chance);
  if (most > 0) faults.resize(std::min(faults.size(), static_cast<std::size_t>(most)));
  std::array<int, 6> endings{};
  for (const Fault& fault : faults) {
    SCOPED_TRACE(std::string(kCallNames[static_cast<std::size_t>(fault.call)]) + ' ' +
                 std::to_string(fault.k) + ", " +
                 (fault.error == kShort ? "short" : ::strerrorname_np(fault.error)) +
                 (fault.for_ever ? ", for ever" : ", once"));
    const int status = in_fork([&] {
      watch(folder_.string(), fault);
      train(family, plain, budget, folder_);
    });
    ASSERT_EQ(status, 0) << "the process ended";
    const Ending ending = shared().ending;
    EXPECT_TRUE(ending == Ending::Equal || ending == Ending::OffloadError ||
                ending == Ending::BudgetExceeded)
        << shared().said.data();
    ++endings.at(static_cast<std::size_t>(ending));
    ASSERT_TRUE(fs::is_empty(folder_));
  }
  std::cout << "  " << faults.size() << " of " << all << " faults (NEAP_SEED=" << seed
            << "): " << endings[1] << " with equal bits, " << endings[2] << " OffloadErrors, "
            << endings[3] << " over budgets\n";
}

TEST(OffloadKill, at_any_call_leaves_no_file) {
  const std::int64_t kills = std::min<std::int64_t>(setting("NEAP_KILLS", 200), 1000);
  const std::int64_t seed = setting("NEAP_SEED", 1);
  std::cout << "  " << kills << " kills, NEAP_SEED=" << seed << '\n';
  std::mt19937_64 chance(static_cast<std::uint64_t>(seed));
  const fs::path folder = fast_folder();
  const Family& family = family_of("mlp");
  const TrainingRun plain = test::run_plain(family, kSteps, kWeights);
  const std::int64_t budget = test::budget_at(plain, 30);
  ASSERT_EQ(in_fork([&] {
              watch(folder.string());
              train(family, plain, budget, folder);
            }),
            0);
  ASSERT_EQ(shared().ending, Ending::Equal) << shared().said.data();
  ASSERT_GT(shared().offloads, 0);
  // Which storages go depends on times, so a run may have fewer calls and end by itself.
  const std::int64_t last = shared().all_calls;
  std::int64_t killed = 0;
  for (std::int64_t tries = 0; killed < kills && tries < 2 * kills; ++tries) {
    const auto at = std::uniform_int_distribution<std::int64_t>(1, last)(chance);
    const int status = in_fork([&] {
      watch_until(folder.string(), at);
      train(family, plain, budget, folder);
    });
    if (WIFSIGNALED(status)) {
      ASSERT_EQ(WTERMSIG(status), SIGKILL);
      ++killed;
    }
    ASSERT_TRUE(fs::is_empty(folder)) << "killed at call " << at;
  }
  EXPECT_EQ(killed, kills);
  fs::remove_all(folder);
}

}  // namespace
}  // namespace neap::faults
