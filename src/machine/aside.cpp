// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "machine/aside.h"

#include "machine/sync_folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <system_error>
#include <utility>

namespace neap::machine {
namespace {

namespace fs = std::filesystem;

constexpr int kMostLinks = 40;

// Follows links, even when nothing exists at the end.
fs::path follow(fs::path path) {
  std::error_code error;
  for (int links = 0; links < kMostLinks && fs::is_symlink(path, error); ++links) {
    const fs::path next = fs::read_symlink(path, error);
    if (error) break;
    path = next.is_absolute() ? next : path.parent_path() / next;
  }
  return path;
}

// A descriptor, as /dev/stdout or /dev/fd/3, may refer to a regular file. Replacing that file would
// detach it from its name. /dev/shm has files as any other folder.
bool is_special(const fs::path& path) {
  const std::string text = fs::absolute(path).lexically_normal().string();
  return text.starts_with("/proc/") ||
         (text.starts_with("/dev/") && !text.starts_with("/dev/shm/"));
}

}  // namespace

std::string why_not_written(int error) {
  const std::string why = std::generic_category().message(error);
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      return why + "; free the disk, or write elsewhere";
    case EFBIG:
      return why + "; raise the limit (ulimit -f), or write elsewhere";
    case EPIPE:
      return why + "; who read it has ended: see what that said";
    case EIO:
      return why + "; check the disk, or write elsewhere";
    default:
      return why + "; name a file in a folder that you may write to";
  }
}

Aside::Aside(const fs::path& path, OutputFile::Access access, Name name)
    : shown_(path.string()), target_(path) {
  struct stat status {};
  if (access == OutputFile::Access::Private) {
    mode_ = 0600;
    exact_mode_ = true;
  } else if (::stat(path.c_str(), &status) == 0) {
    if (S_ISDIR(status.st_mode)) throw Error(shown_ + " is a folder; name a file in it");
    // Creating a new file checks the permissions of the folder only.
    if (::access(path.c_str(), W_OK) != 0) refuse(errno);
    direct_ = !S_ISREG(status.st_mode) || is_special(path);
    mode_ = status.st_mode & 07777;
    exact_mode_ = true;
  }
  if (direct_) {
    file_ = ::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (file_ < 0) refuse(errno);
    return;
  }
  if (access == OutputFile::Access::Shared) target_ = follow(path);
  folder_ = target_.has_parent_path() ? target_.parent_path() : fs::path(".");
  if (name == Name::NoneIfPossible) open_unnamed();
  if (file_ < 0 && ::access(folder_.c_str(), W_OK | X_OK) != 0) refuse(errno);
}

Aside::~Aside() {
  if (file_ >= 0) ::close(file_);
  if (!named_.empty()) ::unlink(named_.c_str());
}

void Aside::open_unnamed() {
  // The file gets its name through this folder.
  if (::access("/proc/self/fd", X_OK) != 0) return;
  file_ = ::open(folder_.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, mode_);
  if (file_ < 0 && errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL) refuse(errno);
}

void Aside::open_named() {
  std::string name = (folder_ / ".neap-XXXXXX").string();  // mkostemp replaces the Xs
  file_ = ::mkostemp(name.data(), O_CLOEXEC);
  if (file_ < 0) refuse(errno);
  named_ = name;
  if (exact_mode_) return;
  const mode_t mask = ::umask(0);  // the only way to read the umask
  ::umask(mask);
  ::fchmod(file_, mode_ & ~mask);
}

void Aside::write(std::string_view bytes) {
  if (file_ < 0) open_named();
  while (!bytes.empty()) {
    const ssize_t put = ::write(file_, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) refuse(errno);
    bytes.remove_prefix(static_cast<std::size_t>(put));
  }
}

void Aside::finish() {
  if (file_ < 0) open_named();
  if (!direct_) {
    // Some systems report a full disk only now. Without fsync, a power cut could leave an empty
    // file.
    if (::fsync(file_) != 0 && errno != EINVAL && errno != EROFS) refuse(errno);
    if (exact_mode_) ::fchmod(file_, mode_);
    replace();
    sync_folder(folder_);
  }
  const int file = file_;
  file_ = -1;
  if (::close(file) != 0 && errno != EINTR) refuse(errno);
}

void Aside::replace() {
  if (named_.empty()) {
    const std::string nameless = "/proc/self/fd/" + std::to_string(file_);
    // linkat() cannot replace a file, so link under a temporary name and rename.
    fs::path name = target_;
    for (int tries = 0;
         ::linkat(AT_FDCWD, nameless.c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW) != 0;
         ++tries) {
      constexpr int kMostTries = 1000;
      if (errno != EEXIST || tries == kMostTries) refuse(errno);
      name = folder_ / (".neap-" + std::to_string(::getpid()) + '-' + std::to_string(file_) + '-' +
                        std::to_string(tries));
    }
    if (name == target_) return;
    named_ = std::move(name);  // takes no memory: the file has its name already
  }
  if (::rename(named_.c_str(), target_.c_str()) != 0) refuse(errno);
  named_.clear();
}

void Aside::refuse(int error) const {
  throw Error(shown_ + " cannot be written: " + why_not_written(error));
}

}  // namespace neap::machine
