// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "offload/backing_file.h"

#include <neap/base.h>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <system_error>

namespace neap::offload {
namespace {

std::string what_to_do(int error) {
  switch (error) {
    case ENOENT:
      return "make it, or name another one";
    case ENOTDIR:
      return "name a directory";
    case EACCES:
    case EPERM:
      return "name a directory that you may write to";
    case EROFS:
      return "name a directory on a file system that can be written";
    case ENOSPC:
    case EDQUOT:
      return "free the disk, or name a directory elsewhere";
    case EMFILE:
    case ENFILE:
      return "close files, or raise the limit (ulimit -n)";
    default:
      return "check the disk, or name a directory elsewhere";
  }
}

[[noreturn]] void refuse(const std::string& directory, int error) {
  throw Error(directory + " cannot be offloaded to: " + std::generic_category().message(error) +
              "; " + what_to_do(error));
}

[[noreturn]] void fail(int error) { throw std::system_error(error, std::generic_category()); }

// A process that writes past its limit for files gets a signal that ends it, and the program may
// not expect one, so the limit is looked at first.
void check_file_limit(std::int64_t offset, std::size_t bytes) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return;
  if (static_cast<rlim_t>(offset) + bytes > limit.rlim_cur) fail(EFBIG);
}

// Calls `transfer(done)` for what is left until all is done. It returns what ::pwrite and ::pread
// do. The bytes that were done when the file refused with EINVAL are returned.
template <class Transfer>
std::size_t loop(std::size_t bytes, Transfer transfer) {
  std::size_t done = 0;
  while (done < bytes) {
    const ssize_t now = transfer(done);
    if (now > 0) {
      done += static_cast<std::size_t>(now);
    } else if (now == 0) {
      fail(EIO);  // the file ends, or takes nothing: neither can be
    } else if (errno == EINVAL) {
      return done;
    } else if (errno != EINTR) {
      fail(errno);
    }
  }
  return done;
}

}  // namespace

BackingFile::BackingFile(const std::filesystem::path& directory, Name name) {
  const std::string shown = directory.string();
  if (name == Name::NoneIfPossible) open_unnamed(shown);
  if (buffered_.number < 0) open_named(shown);
  // The file is opened a second time by its descriptor, since it has no name. Some file systems
  // take no direct I/O, and some machines have no /proc.
  const std::string again = "/proc/self/fd/" + std::to_string(buffered_.number);
  direct_.number = ::open(again.c_str(), O_RDWR | O_CLOEXEC);
  if (direct_.number >= 0 && ::fcntl(direct_.number, F_SETFL, O_DIRECT) != 0) {
    ::close(direct_.number);
    direct_.number = -1;
  }
}

BackingFile::Descriptor::~Descriptor() {
  if (number >= 0) ::close(number);
}

void BackingFile::open_unnamed(const std::string& directory) {
  // O_EXCL: it can never be given a name.
  buffered_.number = ::open(directory.c_str(), O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
  unnamed_ = buffered_.number >= 0;
  if (unnamed_) return;
  // What a file system without unnamed files says, or a system that does not know the flag.
  if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL) refuse(directory, errno);
}

void BackingFile::open_named(const std::string& directory) {
  // mkostemp() makes a new file of mode 0600 and follows no link: O_CREAT and O_EXCL.
  std::string name = directory + "/.neap-XXXXXX";  // it replaces the Xs
  buffered_.number = ::mkostemp(name.data(), O_CLOEXEC);
  if (buffered_.number < 0) refuse(directory, errno);
  if (::unlink(name.c_str()) == 0) return;
  refuse(directory, errno);
}

std::size_t BackingFile::direct_part(std::int64_t offset, const void* memory, std::size_t bytes,
                                     Way way) const noexcept {
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  if (way == Way::Buffered || direct_.number < 0 || offset % kPageBytes != 0 ||
      address % static_cast<std::uintptr_t>(kPageBytes) != 0) {
    return 0;
  }
  return bytes / static_cast<std::size_t>(kPageBytes) * static_cast<std::size_t>(kPageBytes);
}

// Note [Direct and buffered]
// Both ways lead to the same file. The system keeps its cache right: a direct read finds what was
// written through the cache, and a direct write empties the cache of these pages. A short direct
// transfer may end inside a page, where a direct one cannot begin: it is refused with EINVAL, and
// the rest is buffered.
// A direct read must not run while another thread forks, on systems before Linux 6.5: a page may
// then go to the child. The hash of the content, which is compared after each read, finds that.
void BackingFile::write(std::int64_t offset, const void* from, std::size_t bytes, Way way) {
  check_file_limit(offset, bytes);
  const auto* const first = static_cast<const char*>(from);
  const auto put = [&](int file, std::size_t begin, std::size_t end) {
    return loop(end - begin, [&](std::size_t done) {
      const std::size_t at = begin + done;
      return ::pwrite(file, first + at, end - at, offset + static_cast<off_t>(at));
    });
  };
  const std::size_t direct = direct_part(offset, from, bytes, way);
  const std::size_t done = direct > 0 ? put(direct_.number, 0, direct) : 0;
  if (done + put(buffered_.number, done, bytes) < bytes) fail(EINVAL);
}

void BackingFile::read(std::int64_t offset, void* to, std::size_t bytes, Way way) {
  auto* const first = static_cast<char*>(to);
  const auto get = [&](int file, std::size_t begin, std::size_t end) {
    return loop(end - begin, [&](std::size_t done) {
      const std::size_t at = begin + done;
      return ::pread(file, first + at, end - at, offset + static_cast<off_t>(at));
    });
  };
  const std::size_t direct = direct_part(offset, to, bytes, way);
  const std::size_t done = direct > 0 ? get(direct_.number, 0, direct) : 0;
  if (done + get(buffered_.number, done, bytes) < bytes) fail(EINVAL);
}

bool BackingFile::release(std::int64_t offset, std::int64_t bytes) noexcept {
  constexpr int kMode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  int result = 0;
  do {
    result = ::fallocate(buffered_.number, kMode, offset, bytes);
  } while (result != 0 && errno == EINTR);
  return result == 0;
}

bool BackingFile::drop_cache() noexcept {
  return ::fdatasync(buffered_.number) == 0 &&
         ::posix_fadvise(buffered_.number, 0, 0, POSIX_FADV_DONTNEED) == 0;
}

// What it returns does not matter: blocks that stay are used again.
void BackingFile::clear() noexcept { static_cast<void>(::ftruncate(buffered_.number, 0) == 0); }

}  // namespace neap::offload
