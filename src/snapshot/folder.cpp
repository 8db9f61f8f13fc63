// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "snapshot/folder.h"

#include "machine/sync_folder.h"

#include <neap/machine.h>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <functional>
#include <map>
#include <new>
#include <string_view>
#include <system_error>
#include <utility>

namespace neap::snapshot {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "step-";
constexpr std::string_view kNew = ".new";
constexpr std::string_view kOld = ".old";
constexpr std::string_view kGone = ".gone";
constexpr std::size_t kDigits = 10;  // so that names sort as numbers do

std::string name_of(std::int64_t step) {
  const std::string digits = std::to_string(step);
  return std::string(kPrefix) + std::string(kDigits - std::min(kDigits, digits.size()), '0') +
         digits;
}

std::string hidden(const std::string& name, std::string_view why) {
  return "." + name + std::string(why);
}

// The snapshot that a hidden folder is of: `.step-0000000002.old` of `step-0000000002`.
std::optional<std::string> shown(const std::string& name, std::string_view why) {
  if (!name.starts_with('.') || !name.ends_with(why)) return std::nullopt;
  const std::string snapshot = name.substr(1, name.size() - 1 - why.size());
  return step_of(snapshot) ? std::optional(snapshot) : std::nullopt;
}

[[noreturn]] void refuse(const fs::path& path, int error) {
  throw Error(path.string() + " cannot be written: " + machine::why_not_written(error));
}

// Throws: Error when the folder cannot be read. Empty: it is missing.
std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error); !error && entry != fs::directory_iterator();
       entry.increment(error)) {
    names.push_back(entry->path().filename().string());
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    throw Error(folder.string() + " cannot be read: " + error.message());
  }
  return names;
}

// Removes `path`, which is the snapshot `name` or its .old. It is renamed first, so that a killed
// program leaves no half of it that looks whole, and a power cut neither.
void remove(const fs::path& path, const std::string& name) {
  std::error_code error;
  const fs::path gone = path.parent_path() / hidden(name, kGone);
  fs::remove_all(gone, error);
  fs::rename(path, gone, error);
  if (error) return;
  machine::sync_folder(path.parent_path());
  fs::remove_all(gone, error);
}

// Of a file system without exchange of names, or of a filter of system calls. A folder that may not
// be written at all says so at the plain rename, too.
bool cannot_exchange(int error) {
  return error == EINVAL || error == ENOSYS || error == EOPNOTSUPP || error == EPERM;
}

}  // namespace

std::optional<std::int64_t> step_of(const fs::path& snapshot) {
  const std::string name = snapshot.filename().string();
  if (!name.starts_with(kPrefix)) return std::nullopt;
  std::int64_t step = 0;
  const char* const end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + kPrefix.size(), end, step);
  const bool is_one = error == std::errc() && stop == end && step >= 0 && name == name_of(step);
  return is_one ? std::optional(step) : std::nullopt;
}

std::vector<fs::path> snapshots_in(const fs::path& folder, Which which) {
  std::map<std::int64_t, std::string, std::greater<>> found;
  for (const std::string& name : names_in(folder)) {
    const std::optional<std::string> old =
        which == Which::AlsoReplaced ? shown(name, kOld) : std::nullopt;
    if (const std::optional<std::int64_t> step = step_of(name)) found[*step] = name;
    if (old) found.emplace(*step_of(*old), name);
  }
  std::vector<fs::path> paths;
  for (const auto& [step, name] : found) paths.push_back(folder / name);
  return paths;
}

NewSnapshot::NewSnapshot(fs::path folder, std::int64_t step)
    : folder_(folder.empty() ? fs::path(".") : std::move(folder)),
      name_(folder_ / name_of(step)),
      hidden_(folder_ / hidden(name_of(step), kNew)),
      old_(folder_ / hidden(name_of(step), kOld)) {
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) refuse(folder_, error.value());
  // Who made it is not known, nor whether it would last.
  if (snapshots_in(folder_).empty()) machine::sync_folders_above(folder_);
  lock();
  try {
    tidy();
    if (::mkdir(hidden_.c_str(), 0700) != 0) refuse(hidden_, errno);
  } catch (...) {
    ::close(lock_);
    throw;
  }
}

NewSnapshot::~NewSnapshot() {
  try {
    std::error_code ignored;
    fs::remove_all(hidden_, ignored);
  } catch (const std::bad_alloc&) {  // the next save removes it
  }
  ::close(lock_);
}

void NewSnapshot::lock() {
  lock_ = ::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (lock_ < 0) refuse(folder_, errno);
  if (::flock(lock_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return;  // or none to be had
  ::close(lock_);
  throw Error(folder_.string() +
              " cannot be written: another program saves a snapshot into it; name another folder");
}

// REQUIRES: no other program saves, so hidden folders are left over.
void NewSnapshot::tidy() const {
  for (const std::string& name : names_in(folder_)) {
    std::error_code error;
    const std::optional<std::string> old = shown(name, kOld);
    if (old && !fs::exists(folder_ / *old, error)) {
      fs::rename(folder_ / name, folder_ / *old, error);  // it was to be replaced, and was not
    } else if (old) {
      remove(folder_ / name, *old);
    } else if (shown(name, kNew) || shown(name, kGone)) {
      fs::remove_all(folder_ / name, error);
    }
  }
}

fs::path NewSnapshot::commit() {
  machine::sync_folder(hidden_);
  std::error_code error;
  if (fs::symlink_status(name_, error).type() != fs::file_type::not_found) {
    if (::renameat2(AT_FDCWD, hidden_.c_str(), AT_FDCWD, name_.c_str(), RENAME_EXCHANGE) == 0) {
      machine::sync_folder(folder_);
      fs::remove_all(hidden_, error);  // the old one now
      return name_;
    }
    if (!cannot_exchange(errno)) refuse(name_, errno);
  }
  fs::rename(name_, old_, error);
  if (error && error != std::errc::no_such_file_or_directory) refuse(name_, error.value());
  const bool replaced = !error;
  fs::rename(hidden_, name_, error);
  if (error) {
    std::error_code ignored;
    if (replaced) fs::rename(old_, name_, ignored);
    refuse(name_, error.value());
  }
  machine::sync_folder(folder_);
  if (replaced) remove(old_, name_.filename().string());
  return name_;
}

void NewSnapshot::remove_older(std::int64_t keep) const {
  if (keep == 0) return;
  try {
    std::int64_t stay = 0;
    for (const fs::path& one : snapshots_in(folder_)) {
      if (*step_of(one) <= *step_of(name_) && ++stay > keep) {
        remove(one, one.filename().string());
      }
    }
  } catch (const Error&) {  // a folder that cannot be read: all stay
  }
}

}  // namespace neap::snapshot
