// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The functions at the end have the names of libc's, so the linker takes them for those. They run
// before constructors do, so all that they need is there from the start.
#undef _FORTIFY_SOURCE
#include "faults/shim.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace neap::faults {
namespace {

constexpr std::size_t kMostPath = 4096;
constexpr std::size_t kMostFiles = 4096;

constinit std::array<char, kMostPath> folder{};
constinit std::size_t folder_bytes = 0;
constinit std::array<std::atomic<bool>, kMostFiles> is_below{};  // by descriptor
constinit std::array<std::atomic<std::int64_t>, kCalls> counts{};
constinit std::atomic<std::int64_t> count = 0;
constinit std::atomic<bool> watching = false;
constinit Fault planned{};
constinit std::int64_t end_at = 0;
constinit Without missing{};
constinit Witness* seer = nullptr;

enum class Fate : std::uint8_t { Work, Fail, Half, Die };

void begin(std::string_view path, Without without) {
  if (path.size() >= kMostPath) std::abort();
  folder_bytes = path.copy(folder.data(), kMostPath);
  for (auto& one : counts) one = 0;
  for (auto& one : is_below) one = false;
  count = 0;
  planned = {};
  end_at = 0;
  seer = nullptr;
  missing = without;
}

bool below(int descriptor) {
  return descriptor >= 0 && static_cast<std::size_t>(descriptor) < kMostFiles &&
         is_below[static_cast<std::size_t>(descriptor)];
}

bool below(int at, const char* path) {
  if (!watching || path == nullptr) return false;
  // A file that is opened a second time, since it has no name.
  constexpr std::string_view kOpened = "/proc/self/fd/";
  const std::string_view whole(path);
  if (whole.starts_with(kOpened)) return below(std::atoi(path + kOpened.size()));
  if (path[0] != '/') return below(at);
  return std::strncmp(path, folder.data(), folder_bytes) == 0 &&
         (path[folder_bytes] == '/' || path[folder_bytes] == '\0');
}

// Sets errno when the call is to fail.
Fate fate_of(Call call, bool concerned) {
  if (!watching || !concerned) return Fate::Work;
  const std::int64_t now = ++counts[static_cast<std::size_t>(call)];
  if (++count == end_at) return Fate::Die;
  if (planned.k == 0 || planned.call != call || now < planned.k) return Fate::Work;
  const std::int64_t later = now - planned.k;
  if (later > 0 && !planned.for_ever) return Fate::Work;
  if (planned.error == EINTR && later % 2 != 0) return Fate::Work;
  if (planned.error == kShort) return Fate::Half;
  errno = planned.error;
  return Fate::Fail;
}

[[noreturn]] void die() {
  ::kill(::getpid(), SIGKILL);
  for (;;) ::pause();
}

// For calls that do all or nothing. True: it fails.
bool fails(Call call, bool concerned) {
  const Fate fate = fate_of(call, concerned);
  if (fate == Fate::Die) die();
  return fate == Fate::Fail;
}

std::size_t half(std::size_t bytes) { return bytes > 1 ? bytes / 2 : bytes; }

void remember(long descriptor, bool concerned) {
  if (descriptor < 0 || static_cast<std::size_t>(descriptor) >= kMostFiles) return;
  is_below[static_cast<std::size_t>(descriptor)] = concerned;
}

// ---------------------------------------------------------------- the witness

bool seen(bool concerned, bool done) { return seer != nullptr && watching && concerned && done; }

ino_t inode_at(int at, const char* path, int flags) {
  struct stat status {};
  return ::fstatat(at, path, &status, flags) == 0 ? status.st_ino : 0;
}
ino_t inode_of(int descriptor) { return inode_at(descriptor, "", AT_EMPTY_PATH); }

struct Place {
  ino_t in = 0;
  std::string name;
};

Place place_of(int at, const char* path) {
  const std::string_view whole(path);
  const std::size_t slash = whole.rfind('/');
  struct stat status {};
  if (slash == std::string_view::npos) return {inode_of(at), std::string(whole)};
  const std::string parent(whole.substr(0, slash));
  if (::fstatat(at, parent.c_str(), &status, 0) != 0) return {};
  return {status.st_ino, std::string(whole.substr(slash + 1))};
}

// ---------------------------------------------------------------- what the calls have in common

int open_at(int at, const char* path, int flags, mode_t mode) {
  const bool concerned = below(at, path);
  const bool unnamed = (flags & O_TMPFILE) == O_TMPFILE;
  if (concerned && unnamed && missing.unnamed) {
    errno = EOPNOTSUPP;
    return -1;
  }
  if (fails(Call::Open, concerned)) return -1;
  const bool makes =
      unnamed || ((flags & O_CREAT) != 0 && seen(concerned, true) && inode_at(at, path, 0) == 0);
  const auto file = static_cast<int>(::syscall(SYS_openat, at, path, flags, mode));
  remember(file, concerned);
  if (seen(concerned, file >= 0)) {
    if (makes) seer->made_file(inode_of(file));
    if (makes && !unnamed) {
      const Place place = place_of(at, path);
      seer->linked(inode_of(file), place.in, place.name);
    } else if ((flags & O_TRUNC) != 0) {
      seer->cut(inode_of(file), 0);
    }
  }
  return file;
}

mode_t mode_of(int flags, va_list arguments) {
  if ((flags & O_CREAT) == 0 && (flags & O_TMPFILE) != O_TMPFILE) return 0;
  return va_arg(arguments, mode_t);
}

template <typename Work>
ssize_t transfer(Call call, int file, std::size_t bytes, const Work& work) {
  const Fate fate = fate_of(call, below(file));
  if (fate == Fate::Fail) return -1;
  const ssize_t done = work(fate == Fate::Work ? bytes : half(bytes));
  if (fate == Fate::Die) die();
  return done;
}

void tell_written(int file, const void* bytes, ssize_t done, std::int64_t at) {
  if (!seen(below(file), done > 0)) return;
  if (at < 0) at = ::lseek(file, 0, SEEK_CUR) - done;
  seer->wrote(inode_of(file), at,
              {static_cast<const char*>(bytes), static_cast<std::size_t>(done)});
}

int rename_at(int from_at, const char* from, int to_at, const char* to, unsigned flags) {
  const bool concerned = below(from_at, from) || below(to_at, to);
  if (concerned && flags != 0 && missing.exchange != 0) {
    errno = missing.exchange;
    return -1;
  }
  if (fails(Call::Rename, concerned)) return -1;
  const auto done = static_cast<int>(::syscall(SYS_renameat2, from_at, from, to_at, to, flags));
  if (seen(concerned, done == 0)) {
    const Place old = place_of(from_at, from);
    const Place now = place_of(to_at, to);
    if (old.in != now.in) std::abort();  // the witness knows renames within one folder
    seer->renamed(old.in, old.name, now.name, flags != 0);
  }
  return done;
}

int remove_at(int at, const char* path, int flags) {
  const bool concerned = below(at, path);
  if (fails(Call::Remove, concerned)) return -1;
  const Place place = seen(concerned, true) ? place_of(at, path) : Place{};
  const auto done = static_cast<int>(::syscall(SYS_unlinkat, at, path, flags));
  if (seen(concerned, done == 0)) seer->removed(place.in, place.name);
  return done;
}

int sync_file(int file, long number) {
  if (fails(Call::Sync, below(file))) return -1;
  // What is simulated needs no disk, which would take most of the time.
  if (watching && below(file)) {
    if (seen(true, true)) seer->synced(inode_of(file));
    return 0;
  }
  return static_cast<int>(::syscall(number, file));
}

template <typename Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

// A file is closed also when this fails, as Linux does it.
template <typename Work>
int close_by(int file, const Work& work) {
  const bool failed = fails(Call::Close, below(file));
  const int error = errno;
  remember(file, false);
  const int done = work();
  if (!failed) return done;
  errno = error;
  return -1;
}

FILE* open_stream(const char* name, const char* path, const char* mode) {
  const bool concerned = below(AT_FDCWD, path);
  if (fails(Call::Open, concerned)) return nullptr;
  FILE* const stream = next<FILE*(const char*, const char*)>(name)(path, mode);
  if (stream != nullptr) remember(::fileno(stream), concerned);
  return stream;
}

}  // namespace

void watch(std::string_view path, const Fault& fault, Without without) {
  begin(path, without);
  planned = fault;
  watching = true;
}

void watch_until(std::string_view path, std::int64_t kill_at, Without without) {
  begin(path, without);
  end_at = kill_at;
  watching = true;
}

void watch(std::string_view path, Witness& witness, Without without) {
  begin(path, without);
  seer = &witness;
  watching = true;
}

void stop() { watching = false; }

std::int64_t calls(Call call) { return counts[static_cast<std::size_t>(call)]; }
std::int64_t calls() { return count; }

}  // namespace neap::faults

// ---------------------------------------------------------------- libc's names

using namespace neap::faults;

#define NEAP_SHIM extern "C" __attribute__((visibility("default")))

NEAP_SHIM int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  return open_at(AT_FDCWD, path, flags, mode);
}
NEAP_SHIM int open64(const char* path, int flags, ...) __attribute__((alias("open")));
NEAP_SHIM int openat(int at, const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  return open_at(at, path, flags, mode);
}
NEAP_SHIM int mkostemp(char* pattern, int flags) {
  constexpr int kMostTries = 1000;
  char* const digits = pattern + std::strlen(pattern) - 6;
  for (int number = 0; number < kMostTries; ++number) {
    std::array<char, 7> text{};
    std::snprintf(text.data(), text.size(), "%06d", number);
    std::memcpy(digits, text.data(), 6);
    const int file = open_at(AT_FDCWD, pattern, flags | O_RDWR | O_CREAT | O_EXCL, 0600);
    if (file >= 0 || errno != EEXIST) return file;
  }
  return -1;
}
NEAP_SHIM FILE* fopen(const char* path, const char* mode) {
  return open_stream("fopen", path, mode);
}
NEAP_SHIM FILE* fopen64(const char* path, const char* mode) {
  return open_stream("fopen64", path, mode);
}
NEAP_SHIM ssize_t read(int file, void* to, size_t bytes) {
  return transfer(Call::Read, file, bytes,
                  [&](std::size_t some) { return ::syscall(SYS_read, file, to, some); });
}
NEAP_SHIM ssize_t pread(int file, void* to, size_t bytes, off_t at) {
  return transfer(Call::Read, file, bytes,
                  [&](std::size_t some) { return ::syscall(SYS_pread64, file, to, some, at); });
}
NEAP_SHIM ssize_t write(int file, const void* from, size_t bytes) {
  return transfer(Call::Write, file, bytes, [&](std::size_t some) {
    const ssize_t done = ::syscall(SYS_write, file, from, some);
    tell_written(file, from, done, -1);
    return done;
  });
}
NEAP_SHIM ssize_t pwrite(int file, const void* from, size_t bytes, off_t at) {
  return transfer(Call::Write, file, bytes, [&](std::size_t some) {
    const ssize_t done = ::syscall(SYS_pwrite64, file, from, some, at);
    tell_written(file, from, done, at);
    return done;
  });
}
// One part at a time, which writev() may do.
NEAP_SHIM ssize_t writev(int file, const iovec* parts, int many) {
  for (int i = 0; i < many; ++i) {
    if (parts[i].iov_len > 0) return ::write(file, parts[i].iov_base, parts[i].iov_len);
  }
  return 0;
}
NEAP_SHIM int fsync(int file) { return sync_file(file, SYS_fsync); }
NEAP_SHIM int fdatasync(int file) { return sync_file(file, SYS_fdatasync); }
NEAP_SHIM int rename(const char* from, const char* to) noexcept {
  return rename_at(AT_FDCWD, from, AT_FDCWD, to, 0);
}
NEAP_SHIM int renameat2(int from_at, const char* from, int to_at, const char* to,
                        unsigned flags) noexcept {
  return rename_at(from_at, from, to_at, to, flags);
}
NEAP_SHIM int ftruncate(int file, off_t bytes) noexcept {
  if (fails(Call::Truncate, below(file))) return -1;
  const auto done = static_cast<int>(::syscall(SYS_ftruncate, file, bytes));
  if (seen(below(file), done == 0)) seer->cut(inode_of(file), bytes);
  return done;
}
NEAP_SHIM int close(int file) {
  return close_by(file, [&] { return static_cast<int>(::syscall(SYS_close, file)); });
}
// These two close their descriptor inside of libc.
NEAP_SHIM int fclose(FILE* stream) {
  return close_by(::fileno(stream), [&] { return next<int(FILE*)>("fclose")(stream); });
}
NEAP_SHIM int closedir(DIR* folder_read) {
  remember(::dirfd(folder_read), false);
  return next<int(DIR*)>("closedir")(folder_read);
}
NEAP_SHIM int fstat(int file, struct stat* status) noexcept {
  if (fails(Call::Status, below(file))) return -1;
  return ::fstatat(file, "", status, AT_EMPTY_PATH);
}
NEAP_SHIM int fallocate(int file, int mode, off_t at, off_t bytes) {
  if (fails(Call::Allocate, below(file))) return -1;
  return static_cast<int>(::syscall(SYS_fallocate, file, mode, at, bytes));
}
// All commands that there are have one argument of at most a word, or none.
NEAP_SHIM int fcntl(int file, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  const long argument = va_arg(arguments, long);
  va_end(arguments);
  if (command == F_SETFL && fails(Call::Control, below(file))) return -1;
  const auto done = static_cast<int>(::syscall(SYS_fcntl, file, command, argument));
  const bool duplicates = command == F_DUPFD || command == F_DUPFD_CLOEXEC;
  if (duplicates) remember(done, below(file));
  return done;
}
NEAP_SHIM int fcntl64(int file, int command, ...) __attribute__((alias("fcntl")));
NEAP_SHIM void* mmap(void* start, size_t bytes, int rights, int flags, int file,
                     off_t at) noexcept {
  if (fails(Call::Map, true)) return MAP_FAILED;
  return reinterpret_cast<void*>(::syscall(SYS_mmap, start, bytes, rights, flags, file, at));
}
NEAP_SHIM int mkdir(const char* path, mode_t mode) noexcept {
  const bool concerned = below(AT_FDCWD, path);
  if (fails(Call::MakeFolder, concerned)) return -1;
  const auto done = static_cast<int>(::syscall(SYS_mkdirat, AT_FDCWD, path, mode));
  if (seen(concerned, done == 0)) {
    const Place place = place_of(AT_FDCWD, path);
    seer->made_folder(inode_at(AT_FDCWD, path, 0), place.in, place.name);
  }
  return done;
}
NEAP_SHIM int linkat(int from_at, const char* from, int to_at, const char* to, int flags) noexcept {
  const bool concerned = below(to_at, to);
  if (fails(Call::Link, concerned)) return -1;
  const auto done = static_cast<int>(::syscall(SYS_linkat, from_at, from, to_at, to, flags));
  if (seen(concerned, done == 0)) {
    const Place place = place_of(to_at, to);
    seer->linked(inode_at(to_at, to, AT_SYMLINK_NOFOLLOW), place.in, place.name);
  }
  return done;
}
NEAP_SHIM int unlink(const char* path) noexcept { return remove_at(AT_FDCWD, path, 0); }
NEAP_SHIM int rmdir(const char* path) noexcept { return remove_at(AT_FDCWD, path, AT_REMOVEDIR); }
NEAP_SHIM int remove(const char* path) noexcept {
  const int done = remove_at(AT_FDCWD, path, 0);
  return done != 0 && errno == EISDIR ? remove_at(AT_FDCWD, path, AT_REMOVEDIR) : done;
}
NEAP_SHIM int unlinkat(int at, const char* path, int flags) noexcept {
  return remove_at(at, path, flags);
}
