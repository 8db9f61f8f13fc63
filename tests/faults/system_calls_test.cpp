// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Each call of the system that a writer makes fails in turn: once or for ever, with each error that
// it may have. The writer either does its work or says that it did not, a reader finds the old
// state or the new one, nothing else is left in the folder, and the next try succeeds.
#include "faults/shim.h"
#include "faults/writers.h"

#include <neap/base.h>

#include <gtest/gtest.h>

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iostream>

namespace neap::faults {
namespace {

namespace fs = std::filesystem;
using Names = std::vector<std::string>;

enum class Ending : std::uint8_t { None, Done, Told, ToldWithoutPath, OtherError, Wrong };

// What a fork tells its parent of one fault.
struct Ran {
  Ending ending = Ending::None;
  std::array<char, 400> said{};
};
constexpr std::size_t kMostFaults = 256;
// Seconds for one fault. What hangs is ended, and found by its status.
constexpr unsigned kLongest = 300;
struct Shared {
  std::array<Ran, kMostFaults> ran{};
  std::array<std::int64_t, kCalls> calls{};  // of the last one
};

Shared& shared() {
  static auto* const one = static_cast<Shared*>(
      ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  return *one;
}

void act(const Writer& writer, const fs::path& folder, const Fault& fault, Without without,
         Ran& ran) {
  const auto end = [&](Ending ending, const char* text) {
    stop();
    std::strncpy(ran.said.data(), text, ran.said.size() - 1);
    ran.ending = ending;
  };
  watch(folder.string(), fault, without);
  try {
    writer.act(folder);
    end(Ending::Done, "");
  } catch (const Error& error) {
    const bool names_it = std::strstr(error.what(), folder.c_str()) != nullptr;
    end(names_it ? Ending::Told : Ending::ToldWithoutPath, error.what());
  } catch (const WrongResult&) {
    end(Ending::Wrong, "wrong result");
  } catch (const std::exception& error) {
    end(Ending::OtherError, error.what());
  }
}

// Fault `i` in the folder `i` below `folder`. Returns the status of waitpid().
int act_in_fork(const Writer& writer, const fs::path& folder, const std::vector<Fault>& faults,
                Without without) {
  shared() = {};
  const pid_t child = ::fork();
  if (child == 0) {
    for (std::size_t i = 0; i < faults.size(); ++i) {
      ::alarm(kLongest);
      act(writer, folder / std::to_string(i), faults[i], without, shared().ran.at(i));
      for (std::size_t j = 0; j < kCalls; ++j) shared().calls[j] = calls(static_cast<Call>(j));
    }
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return status;
}

std::vector<int> errors_of(Call call, bool plain) {
  if (call == Call::Map) return {ENOMEM};
  if (call == Call::Read) return {EIO, EINTR, kShort};
  if (plain) return {EIO};
  if (call == Call::Write) return {EIO, ENOSPC, EINTR, kShort};
  return {EIO, ENOSPC, EINTR};
}

// What cannot be removed while these fail goes with the next try.
bool hinders_removal(Call call) {
  return call == Call::Open || call == Call::Close || call == Call::Remove || call == Call::Rename;
}

Names without_hidden(const Names& names) {
  Names shown;
  std::ranges::copy_if(names, std::back_inserter(shown), [](const std::string& name) {
    return name.find("/.") == std::string::npos;
  });
  return shown;
}

struct States {
  std::string old_found = {}, new_found = {};
  Names old_names = {}, new_names = {};
};

class SystemCalls : public testing::Test {
 protected:
  SystemCalls() : folder_(fast_folder()) {}
  ~SystemCalls() override { fs::remove_all(folder_); }
  SystemCalls(const SystemCalls&) = delete;
  SystemCalls& operator=(const SystemCalls&) = delete;

  int faults_of(const Writer& writer, Without without) {
    SCOPED_TRACE(writer.name + (without.unnamed ? ", on a plain file system" : ""));
    States states = prepare(writer);
    copy_old(1);
    EXPECT_EQ(act_in_fork(writer, folder_ / "now", {Fault{}}, without), 0);
    EXPECT_EQ(shared().ran[0].ending, Ending::Done) << shared().ran[0].said.data();
    const std::array<std::int64_t, kCalls> most = shared().calls;
    states.new_found = writer.found(folder_ / "now/0");
    states.new_names = names_below(folder_ / "now/0");
    int faults = 0;
    for (std::size_t i = 0; i < kCalls; ++i) {
      const auto call = static_cast<Call>(i);
      for (const int error : errors_of(call, without.unnamed)) {
        for (const bool for_ever : {false, true}) {
          SCOPED_TRACE(std::string(kCallNames[i]) + ", " +
                       (error == kShort ? "short" : ::strerrorname_np(error)) +
                       (for_ever ? ", for ever" : ", once"));
          std::vector<Fault> each;
          for (std::int64_t k = 1; k <= most[i]; ++k) each.push_back({call, k, error, for_ever});
          if (!each.empty()) check_each(writer, states, each, without);
          faults += static_cast<int>(each.size());
        }
      }
    }
    return faults;
  }

 private:
  States prepare(const Writer& writer) const {
    fs::remove_all(folder_ / "old");
    fs::create_directory(folder_ / "old");
    writer.prepare(folder_ / "old");
    return {.old_found = writer.found(folder_ / "old"), .old_names = names_below(folder_ / "old")};
  }

  void copy_old(std::size_t times) const {
    fs::remove_all(folder_ / "now");
    fs::create_directory(folder_ / "now");
    for (std::size_t i = 0; i < times; ++i) {
      fs::copy(folder_ / "old", folder_ / "now" / std::to_string(i), fs::copy_options::recursive);
    }
  }

  void check_each(const Writer& writer, const States& states, const std::vector<Fault>& faults,
                  Without without) const {
    copy_old(faults.size());
    const int status = act_in_fork(writer, folder_ / "now", faults, without);
    EXPECT_FALSE(WIFSIGNALED(status)) << "ended by signal " << WTERMSIG(status);
    for (std::size_t i = 0; i < faults.size(); ++i) {
      SCOPED_TRACE("call " + std::to_string(faults[i].k) + " of " + std::to_string(faults.size()));
      check(writer, states, faults[i], i);
      if (HasFatalFailure()) return;
    }
  }

  void check(const Writer& writer, const States& states, const Fault& fault,
             std::size_t number) const {
    const fs::path folder = folder_ / "now" / std::to_string(number);
    const Ran& ran = shared().ran[number];
    const std::string said = ran.said.data();
    ASSERT_NE(ran.ending, Ending::None) << "it did not come to its end";
    const bool is_told = ran.ending == Ending::Told ||
                         (fault.call == Call::Map && ran.ending == Ending::ToldWithoutPath);
    EXPECT_TRUE(ran.ending == Ending::Done || is_told)
        << static_cast<int>(ran.ending) << ": " << said;
    const std::string found = writer.found(folder);
    if (ran.ending == Ending::Done) {
      EXPECT_EQ(found, states.new_found);
    } else if (writer.adds_lines) {
      EXPECT_TRUE(found.starts_with(states.old_found)) << found;
    } else {
      EXPECT_TRUE(found == states.old_found || found == states.new_found) << found << ": " << said;
    }
    const Names names = names_below(folder);
    const bool is_old = names == states.old_names || names == without_hidden(states.old_names);
    if (!hinders_removal(fault.call)) {
      EXPECT_TRUE(names == states.new_names || (ran.ending != Ending::Done && is_old))
          << testing::PrintToString(names) << ' ' << said;
    }
    writer.act(folder);
    EXPECT_EQ(writer.found(folder), states.new_found);
    EXPECT_EQ(names_below(folder), states.new_names);
  }

  fs::path folder_;
};

TEST_F(SystemCalls, that_fail_lose_nothing_and_leave_nothing) {
  int all = 0;
  for (const Writer& writer : writers()) {
    for (const bool plain : {false, true}) {
      const int faults = faults_of(writer, {.unnamed = plain, .exchange = plain ? EINVAL : 0});
      std::cout << "  " << writer.name << (plain ? ", on a plain file system: " : ": ") << faults
                << " faults\n";
      all += faults;
    }
  }
  std::cout << "  " << all << " faults in all\n";
  EXPECT_GE(all, 3000);
}

}  // namespace
}  // namespace neap::faults
