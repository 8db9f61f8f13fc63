// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/faults/shim.h: stands between a program and the system's files. It counts the calls on what
// lies below one folder, makes the k-th of them fail, ends the program there, or tells a witness
// what was done. A program that links shim.cpp has it for itself and for libstdc++; preload.cpp
// makes a library of it for LD_PRELOAD.
// Threads: the calls, any; the functions below, one, while no other thread works with files.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include <sys/types.h>

namespace neap::faults {

enum class Call : std::uint8_t {
  Open,
  Read,
  Write,
  Sync,
  Rename,
  Truncate,
  Close,
  Map,  // all of the program, below the folder or not
  MakeFolder,
  Link,
  Remove,
  Status,    // fstat
  Allocate,  // fallocate
  Control,   // fcntl that sets flags
};
constexpr std::size_t kCalls = 14;
constexpr std::array<std::string_view, kCalls> kCallNames{
    "open", "read",  "write", "fsync",  "rename", "ftruncate", "close",
    "mmap", "mkdir", "link",  "unlink", "fstat",  "fallocate", "fcntl"};

// Instead of a number of errno: the call does half of what it was asked for.
constexpr int kShort = -1;

struct Fault {
  Call call = Call::Open;
  std::int64_t k = 0;  // counted from 1; 0: none
  int error = 0;       // of errno, or kShort
  // Each later one, too. After EINTR each second one: a storm of signals lets some calls through.
  bool for_ever = false;
};

// Sees what was done below the folder, after it was done. An inode is a number of the file system,
// which takes it again for a new file when the old one is gone.
class Witness {
 public:
  virtual ~Witness() = default;
  virtual void made_file(ino_t file) = 0;
  virtual void made_folder(ino_t folder, ino_t in, std::string_view name) = 0;
  virtual void wrote(ino_t file, std::int64_t at, std::string_view bytes) = 0;
  virtual void cut(ino_t file, std::int64_t bytes) = 0;
  virtual void synced(ino_t one) = 0;
  virtual void linked(ino_t one, ino_t in, std::string_view name) = 0;
  virtual void renamed(ino_t in, std::string_view from, std::string_view to, bool exchanged) = 0;
  virtual void removed(ino_t in, std::string_view name) = 0;
};

// What file systems do without.
struct Without {
  bool unnamed = false;  // files without a name, O_TMPFILE
  int exchange = 0;      // renames that exchange two names: the errno of each; 0: it has them
};

// Counts from 0 what happens below `folder`, an absolute path, until stop().
void watch(std::string_view folder, const Fault& fault = {}, Without without = {});
// As watch(), and ends the program by SIGKILL instead of the `kill_at`-th call of all. A write does
// half of its work first.
void watch_until(std::string_view folder, std::int64_t kill_at, Without without = {});
void watch(std::string_view folder, Witness& witness, Without without = {});
void stop();

// Since watch().
std::int64_t calls(Call call);
std::int64_t calls();

}  // namespace neap::faults
