// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Each call of operator new that a scenario makes fails in turn, once or for ever. The scenario
// ends with an error that speaks of memory, or does its work as if nothing had failed; a reader
// finds the old state or the new one; nothing leaks; and the next try succeeds.
// NEAP_NEW_FAILURES: how many of the calls of each scenario fail, at even distances; 0: each one.
// Without it there are fewer that fail for ever, since most of those end a process.
#include "engine/engine.h"
#include "memory/allocator.h"
#include "no_memory/failing_new.h"
#include "no_memory/scenarios.h"

#include <neap/base.h>
#include <neap/memory.h>

#include <gtest/gtest.h>

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <execinfo.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <exception>
#include <iostream>
#include <new>
#include <span>
#include <sstream>

namespace neap::no_memory {
namespace {

namespace fs = std::filesystem;

// Seconds for one failure. What hangs is ended, and found by its status.
constexpr unsigned kLongest = 60;
constexpr std::size_t kMostText = 4000;
constexpr std::int64_t kMostUnknown = 20;  // of one scenario

// What a fork tells its parent.
struct Shared {
  std::int64_t calls = 0;  // of operator new, when none fails
  std::int64_t at = 0;     // the failure that runs now
  std::int64_t tried = 0, told = 0, looked = 0;
  // Of the call after which the program ended, or of the place where a signal ended it.
  bool by_signal = false;
  std::array<void*, 64> addresses{};
  std::size_t address_count = 0;
  std::array<char, kMostText> problems{};
};

Shared& shared() {
  static auto* const one = static_cast<Shared*>(
      ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  return *one;
}

void note(const std::string& problem) {
  const std::size_t used = std::strlen(shared().problems.data());
  if (used + problem.size() + 64 > kMostText) return;
  const std::string line = "failure " + std::to_string(shared().at) + ": " + problem + '\n';
  line.copy(shared().problems.data() + used, kMostText - used - 1);
}

[[noreturn]] void terminated() {
  const std::span<void* const> call = failed_call();
  shared().address_count = std::min(call.size(), shared().addresses.size());
  std::copy_n(call.begin(), shared().address_count, shared().addresses.begin());
  std::_Exit(1);
}

[[noreturn]] void ended_by_signal(int /*signal*/) {
  std::array<void*, 64> calls{};
  constexpr int kOwn = 2;  // this function, and the system's call of it
  const int count = ::backtrace(calls.data(), static_cast<int>(calls.size()));
  shared().by_signal = true;
  shared().address_count = static_cast<std::size_t>(std::max(0, count - kOwn));
  std::copy_n(calls.begin() + kOwn, shared().address_count, shared().addresses.begin());
  std::_Exit(3);
}

// Where others end the program: a part of a function's name, and why it does. No function of neap
// is among those that it has called.
struct KnownEnd {
  const char* function;
  bool by_signal;
  const char* why;
};
constexpr std::array kKnownEnds{
    KnownEnd{"json_value::destroy", false, "nlohmann-json takes memory to destroy a value"},
    KnownEnd{"operator==<char const*>", false, "nlohmann-json makes a value of a text to compare"},
    KnownEnd{"_Dir::advance", false, "libstdc++ says that reading a folder throws nothing"},
    KnownEnd{"filesystem::__cxx11::path::", true, "libstdc++ frees parts that a path never had"},
    KnownEnd{"torch::autograd::Node::~Node", false, "LibTorch takes memory to destroy a graph"},
    KnownEnd{"toml::v3::", false, "toml++ says that parts of its parser throw nothing"},
    KnownEnd{"CLI::App::get_option_no_throw", false, "CLI11 copies texts where nothing may throw"}};

// `names`: innermost first, one a line.
bool is_end_of_others(const std::string& names, bool by_signal) {
  std::istringstream lines(names);
  for (std::string line; std::getline(lines, line);) {
    const auto is_in_line = [&](const KnownEnd& known) {
      return known.by_signal == by_signal && line.find(known.function) != std::string::npos;
    };
    if (std::ranges::any_of(kKnownEnds, is_in_line)) return true;
    if (line.find("neap::") != std::string::npos) return false;
  }
  return false;
}

// What must be as it was when an act has failed.
struct Ledger {
  std::int64_t tensors = memory::usage().live;
  std::int64_t allocations = live_allocations();

  void compare(const Scenario& scenario) const {
    const Ledger now;
    if (now.tensors != tensors) {
      note("tensors hold " + std::to_string(now.tensors - tensors) + " bytes more than before");
    }
    if (scenario.gives_all_back && now.allocations != allocations) {
      note("leaks " + std::to_string(now.allocations - allocations) + " allocations");
    }
    if (engine::Engine::instance().recorder_bytes() != 0) note("records are left");
    try {
      engine::Engine::instance().validate();
      memory::validate();
    } catch (const std::exception& wrong) {
      note(wrong.what());
    }
  }
};

class NoMemory : public testing::TestWithParam<bool> {
 protected:
  NoMemory() {
    const bool in_memory = ::access("/dev/shm", W_OK | X_OK) == 0;
    folder_ = (in_memory ? fs::path("/dev/shm") : fs::temp_directory_path()) /
              ("neap_no_memory_" + std::to_string(::getpid()));
    const char* const wanted = std::getenv("NEAP_NEW_FAILURES");
    if (wanted != nullptr) most_ = std::atoll(wanted);
  }
  ~NoMemory() override { fs::remove_all(folder_); }
  NoMemory(const NoMemory&) = delete;
  NoMemory& operator=(const NoMemory&) = delete;

  void check(const std::vector<Scenario>& scenarios) const {
    for (const Scenario& scenario : scenarios) {
      SCOPED_TRACE(scenario.name);
      check(scenario);
    }
  }

 private:
  void check(const Scenario& scenario) const {
    shared() = {};
    ASSERT_TRUE(in_fork([&] { count(scenario); })) << shared().problems.data();
    const std::int64_t calls = shared().calls;
    ASSERT_GT(calls, 0);
    const std::int64_t stride = most_ == 0 ? 1 : (calls + most_ - 1) / most_;
    std::int64_t ended = 0, unknown = 0;
    for (std::int64_t first = 1; first <= calls;) {
      shared().address_count = 0;
      shared().by_signal = false;
      if (in_fork([&] { fail_from(scenario, first, calls, stride); })) break;
      ++ended;
      if (!is_known_end() && ++unknown == kMostUnknown) break;
      EXPECT_TRUE(in_fork([&] { look_at_what_is_left(scenario); }));
      first = shared().at + stride;
    }
    EXPECT_STREQ(shared().problems.data(), "");
    std::cout << "  " << scenario.name << ": " << shared().tried << " of " << calls
              << " calls failed, " << shared().told << " times it was told";
    if (scenario.looks) std::cout << ", " << shared().looked << " times the scope went on";
    if (ended > 0) std::cout << ", " << ended << " times another library ended the program";
    std::cout << '\n';
    if (scenario.looks && !GetParam()) {
      EXPECT_GE(shared().looked, shared().told / 2) << "inside of the scope";
    }
    EXPECT_GE(shared().told + ended, shared().tried / 4) << "else the test shows nothing";
  }

  static bool is_known_end() {
    const std::string names = names_of({shared().addresses.data(), shared().address_count});
    if (is_end_of_others(names, shared().by_signal)) return true;
    ADD_FAILURE() << (shared().by_signal ? "a signal ended the program" : "the program ended")
                  << " when call " << shared().at
                  << " of operator new failed; the calls that led there are\n"
                  << names;
    return false;
  }

  template <class Work>
  static bool in_fork(Work work) {
    std::cout.flush();  // else the child has the text, too
    const pid_t child = ::fork();
    if (child == 0) {
      std::set_terminate(terminated);
      for (const int signal : {SIGABRT, SIGSEGV, SIGBUS}) std::signal(signal, ended_by_signal);
      try {
        work();
      } catch (const std::exception& error) {  // it must not run the tests that follow
        note(error.what());
        ::_exit(2);
      }
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }

  void begin(const Scenario& scenario) const {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    scenario.prepare(folder_);
  }

  // After two others, since the first ones make what stays for the process.
  void count(const Scenario& scenario) const {
    for (int i = 0; i < 3; ++i) {
      begin(scenario);
      fail_new(0, false);
      const std::string result = scenario.act(folder_);
      shared().calls = stop_failing();
    }
  }

  // By a program that has ended.
  void look_at_what_is_left(const Scenario& scenario) const {
    const std::string state = scenario.found(folder_);
    begin(scenario);
    const std::string old_state = scenario.found(folder_);
    scenario.act(folder_);
    if (state != old_state && state != scenario.found(folder_)) note("it ended and left\n" + state);
  }

  void fail_from(const Scenario& scenario, std::int64_t first, std::int64_t calls,
                 std::int64_t stride) const {
    begin(scenario);
    const std::string old_state = scenario.found(folder_);
    std::string result = scenario.act(folder_);
    const std::string new_state = scenario.found(folder_), left = scenario.left(folder_);
    result = scenario.act(folder_);
    for (std::int64_t k = first; k <= calls; k += stride) {
      ::alarm(kLongest);
      shared().at = k;
      ++shared().tried;
      begin(scenario);
      const bool done = act_without_memory(scenario, k, result);
      const std::string state = scenario.found(folder_);
      if (state != new_state && (done || state != old_state)) note("it left\n" + state);
      try {
        if (scenario.act(folder_) != result) note("the next try has another result");
        if (scenario.left(folder_) != left) note("the next try left another state");
      } catch (const std::exception& error) {
        note(std::string("the next try failed: ") + error.what());
      }
    }
  }

  // Whether it has done its work.
  [[nodiscard]] bool act_without_memory(const Scenario& scenario, std::int64_t k,
                                        const std::string& expected) const {
    const Ledger before;
    const bool done = [&] {
      try {
        fail_new(k, GetParam());
        const std::string result = scenario.act(folder_);
        stop_failing();
        if (result != expected) note("it has another result: " + result);
        return true;
      } catch (const std::bad_alloc&) {
        stop_failing();
        ++shared().told;
      } catch (const Error& error) {
        stop_failing();
        ++shared().told;
        if (std::strstr(error.what(), "memory") == nullptr) note(error.what());
      } catch (const std::exception& error) {
        stop_failing();
        ++shared().told;
        // LibTorch wraps what some of its parts throw. Its text still has the cause.
        const bool is_known = std::strstr(error.what(), "bad_alloc") != nullptr ||
                              std::strstr(error.what(), "could not create") != nullptr;  // oneDNN
        if (!is_known) note(error.what());
      }
      return false;
    }();
    before.compare(scenario);
    return done;
  }

  fs::path folder_;
  std::int64_t most_ = GetParam() ? 40 : 200;
};

TEST_P(NoMemory, of_a_reader_is_told_and_the_next_try_reads) { check(readers()); }
TEST_P(NoMemory, of_a_planner_or_writer_leaves_the_old_state_or_the_new_one) {
  check(planners_and_writers());
}
TEST_P(NoMemory, of_a_training_leaks_nothing_and_the_next_try_has_the_same_bits) {
  check(trainings());
}

INSTANTIATE_TEST_SUITE_P(OnceAndForEver, NoMemory, testing::Bool(),
                         [](const auto& info) { return info.param ? "for_ever" : "once"; });

}  // namespace

void looked() { ++shared().looked; }

}  // namespace neap::no_memory
