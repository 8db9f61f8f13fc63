// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "snapshot/folder.h"

#include "machine/sync_folder.h"

#include <neap/machine.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

namespace neap::snapshot {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "step-";
constexpr std::size_t kDigits = 10;  // so that names sort as numbers do

std::string name_of(std::int64_t step) {
  const std::string digits = std::to_string(step);
  return std::string(kPrefix) + std::string(kDigits - std::min(kDigits, digits.size()), '0') +
         digits;
}

std::optional<std::int64_t> step_of(const std::string& name) {
  if (!name.starts_with(kPrefix)) return std::nullopt;
  std::int64_t step = 0;
  const char* const end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + kPrefix.size(), end, step);
  const bool is_one = error == std::errc() && stop == end && name == name_of(step);
  return is_one ? std::optional(step) : std::nullopt;
}

[[noreturn]] void refuse(const fs::path& path, const std::error_code& error) {
  throw Error(path.string() + " cannot be written: " + machine::why_not_written(error.value()));
}

std::string hidden_name(std::string_view name, std::string_view why) {
  return "." + std::string(name) + "." + std::string(why) + "-" + std::to_string(::getpid());
}

// Another program may be saving into the same folder: only what belongs to none that lives goes.
bool is_left_over(const std::string& name) {
  const std::size_t dash = name.rfind('-');
  if (!name.starts_with("." + std::string(kPrefix)) || dash == std::string::npos) return false;
  if (name.find(".new-") == std::string::npos && name.find(".old-") == std::string::npos) {
    return false;
  }
  pid_t process = 0;
  const char* const end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + dash + 1, end, process);
  if (error != std::errc() || stop != end || process <= 0) return false;
  return process == ::getpid() || (::kill(process, 0) != 0 && errno == ESRCH);
}

void remove_left_over(const fs::path& folder) {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    std::error_code ignored;
    if (is_left_over(entry.path().filename().string())) fs::remove_all(entry.path(), ignored);
  }
}

// It loses its name first, so that a killed program leaves no half of a snapshot.
void remove_snapshot(const fs::path& snapshot) {
  const fs::path hidden = snapshot.parent_path() / hidden_name(snapshot.filename().string(), "old");
  std::error_code error;
  fs::rename(snapshot, hidden, error);
  if (!error) fs::remove_all(hidden, error);
}

}  // namespace

std::vector<fs::path> snapshots_in(const fs::path& folder) {
  std::error_code error;
  fs::directory_iterator entries(folder, error);
  if (error == std::errc::no_such_file_or_directory) return {};
  if (error) throw Error(folder.string() + " cannot be read: " + error.message());
  std::vector<std::pair<std::int64_t, fs::path>> found;
  for (const fs::directory_entry& entry : entries) {
    const std::optional<std::int64_t> step = step_of(entry.path().filename().string());
    if (step) found.emplace_back(*step, entry.path());
  }
  std::ranges::sort(found, std::greater());
  std::vector<fs::path> paths;
  for (auto& [step, path] : found) paths.push_back(std::move(path));
  return paths;
}

NewSnapshot::NewSnapshot(const fs::path& folder, std::int64_t step)
    : folder_(folder.empty() ? fs::path(".") : folder), name_(folder_ / name_of(step)) {
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) refuse(folder_, error);
  remove_left_over(folder_);
  hidden_ = folder_ / hidden_name(name_of(step), "new");
  if (::mkdir(hidden_.c_str(), 0700) != 0) {
    refuse(hidden_, std::error_code(errno, std::generic_category()));
  }
}

NewSnapshot::~NewSnapshot() {
  std::error_code ignored;
  if (!hidden_.empty()) fs::remove_all(hidden_, ignored);
}

fs::path NewSnapshot::commit() {
  machine::sync_folder(hidden_);
  std::error_code error;
  if (fs::exists(name_, error)) {
    // Both are whole at each moment, and one of them has the name.
    if (::renameat2(AT_FDCWD, hidden_.c_str(), AT_FDCWD, name_.c_str(), RENAME_EXCHANGE) != 0) {
      remove_snapshot(name_);  // a file system that cannot exchange
    } else {
      fs::remove_all(hidden_, error);
      hidden_.clear();
    }
  }
  if (!hidden_.empty()) {
    fs::rename(hidden_, name_, error);
    if (error) refuse(name_, error);
    hidden_.clear();
  }
  machine::sync_folder(folder_);
  return name_;
}

void remove_older(const fs::path& folder, std::int64_t keep) {
  if (keep == 0) return;
  const std::vector<fs::path> all = snapshots_in(folder);
  for (std::size_t i = static_cast<std::size_t>(keep); i < all.size(); ++i) remove_snapshot(all[i]);
}

}  // namespace neap::snapshot
