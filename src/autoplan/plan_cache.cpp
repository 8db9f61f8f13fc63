// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "autoplan/plan_cache.h"

#include "machine/sync_folder.h"

#include <neap/machine.h>
#include <neap/version.h>

#include <torch/version.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>

namespace neap::autoplan {
namespace {

namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little);

constexpr std::string_view kMagic = "neapstep";
constexpr std::uint32_t kVersion = 4;
constexpr std::size_t kHead = kMagic.size() + 8;
constexpr const char* kEnding = ".neapstep";
constexpr std::int64_t kMostFileBytes = std::int64_t{1} << 28;
constexpr std::uint32_t kMostNumbers = std::uint32_t{1} << 24;

// The reason why a file is ignored.
class Refused : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  [[nodiscard]] int get() const { return number_; }

 private:
  int number_;
};

std::string reason() { return std::generic_category().message(errno); }

std::uint32_t check_of(std::string_view content) {
  return static_cast<std::uint32_t>(
      crc32_z(0, reinterpret_cast<const unsigned char*>(content.data()), content.size()));
}

// ---------------------------------------------------------------- writing

template <class T>
requires std::is_trivially_copyable_v<T>
void put(std::string& to, const T& value) {
  to.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void put(std::string& to, std::string_view text) {
  put(to, static_cast<std::uint64_t>(text.size()));
  to.append(text);
}

template <class T>
void put(std::string& to, const std::vector<T>& items) {
  to.append(reinterpret_cast<const char*>(items.data()), items.size() * sizeof(T));
}

std::string content_of(const CachedStep& cached) {
  const PlannedStep& step = cached.step;
  std::string content;
  put(content, std::string_view(NEAP_VERSION));
  put(content, std::string_view(TORCH_VERSION));
  put(content, static_cast<std::uint64_t>(step.calls.size()));
  for (const std::int64_t number : {cached.budget, cached.base, cached.margin, step.predicted_peak,
                                    step.predicted_ns, std::int64_t{cached.offloads}}) {
    put(content, number);
  }
  put(content, step.calls);
  put(content, static_cast<std::uint64_t>(step.operators.size()));
  put(content, step.operators);
  put(content, static_cast<std::uint64_t>(step.blocks.size()));
  put(content, step.blocks);
  return content;
}

std::string ending_of(std::int64_t budget, bool offloads) {
  return "-" + std::to_string(budget) + (offloads ? "-offload" : "") + kEnding;
}

std::string name_of(const StepId& step) {
  std::array<char, 64> name{};
  std::snprintf(name.data(), name.size(), "%016llx-%zu",
                static_cast<unsigned long long>(step.calls), step.count);
  return name.data() + ending_of(step.budget, step.offloads);
}

std::string name_of(const CachedStep& cached) {
  return name_of(StepId{.calls = cached.step.calls.back(),
                        .count = cached.step.calls.size(),
                        .budget = cached.budget,
                        .offloads = cached.offloads});
}

// ---------------------------------------------------------------- reading

class Content {
 public:
  explicit Content(std::string_view rest) : rest_(rest) {}

  std::string_view bytes(std::uint64_t count) {
    if (count > rest_.size()) throw Refused("it is cut short");
    const std::string_view taken = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return taken;
  }
  template <class T>
  T number() {
    T value{};
    std::memcpy(&value, bytes(sizeof value).data(), sizeof value);
    return value;
  }
  std::string_view text() { return bytes(number<std::uint64_t>()); }
  template <class T>
  std::vector<T> items(std::uint64_t count) {
    if (count > rest_.size() / sizeof(T)) throw Refused("it is cut short");
    std::vector<T> read(count);
    const std::string_view taken = bytes(count * sizeof(T));
    if (count > 0) std::memcpy(read.data(), taken.data(), taken.size());
    return read;
  }
  [[nodiscard]] bool ended() const { return rest_.empty(); }

 private:
  std::string_view rest_;
};

// Checks everything that the engine relies on in a step.
void check(PlannedStep& step) {
  const auto wrong = [] { throw Refused("its step contradicts itself"); };
  if (step.calls.empty() || step.operators.empty()) wrong();
  std::uint32_t at = 0;
  const auto goes_on = [&](std::uint32_t next) {
    if (next < at) wrong();
    at = next;
  };
  for (const PlannedStep::At& one : step.operators) {
    for (const std::uint32_t next :
         {one.brings, one.leaves, one.loads, one.copies, one.evicts, one.loads_after, one.ends}) {
      goes_on(next);
    }
  }
  if (at != step.blocks.size()) wrong();
  for (const std::uint32_t block : step.blocks) {
    if (block >= kMostNumbers) wrong();
    step.numbers = std::max(step.numbers, block + 1);
  }
}

CachedStep parse(std::string_view file) {
  if (file.size() < kHead || !file.starts_with(kMagic)) throw Refused("it holds no planned step");
  Content head(file.substr(kMagic.size()));
  if (const auto version = head.number<std::uint32_t>(); version != kVersion) {
    throw Refused("it has version " + std::to_string(version) + ", expected " +
                  std::to_string(kVersion));
  }
  const auto expected = head.number<std::uint32_t>();
  if (check_of(file.substr(kHead)) != expected) throw Refused("it is damaged: its sum is wrong");
  Content content(file.substr(kHead));
  const auto same = [&](const char* what, std::string_view ours) {
    const std::string_view its = content.text();
    if (its == ours) return;
    throw Refused("it was made by " + std::string(what) + " " + std::string(its) + ", this is " +
                  std::string(ours));
  };
  same("neap", NEAP_VERSION);
  same("LibTorch", TORCH_VERSION);
  CachedStep cached;
  std::int64_t offloads = 0;
  const auto calls = content.number<std::uint64_t>();
  for (std::int64_t* const number :
       {&cached.budget, &cached.base, &cached.margin, &cached.step.predicted_peak,
        &cached.step.predicted_ns, &offloads}) {
    *number = content.number<std::int64_t>();
    if (*number < 0) throw Refused("its step contradicts itself");
  }
  cached.offloads = offloads != 0;
  cached.step.calls = content.items<std::uint64_t>(calls);
  cached.step.operators = content.items<PlannedStep::At>(content.number<std::uint64_t>());
  cached.step.blocks = content.items<std::uint32_t>(content.number<std::uint64_t>());
  if (!content.ended()) throw Refused("more follows where it should end");
  check(cached.step);
  return cached;
}

std::string read_file(const fs::path& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (file.get() < 0) throw Refused(reason());
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) throw Refused(reason());
  if (!S_ISREG(status.st_mode)) throw Refused("it is no file");
  if (status.st_uid != ::geteuid()) throw Refused("another user owns it");
  if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0) throw Refused("other users can write into it");
  if (status.st_size > kMostFileBytes) {
    throw Refused("it has " + Bytes(status.st_size).text() + ", expected at most " +
                  Bytes(kMostFileBytes).text());
  }
  std::string text(static_cast<std::size_t>(status.st_size), '\0');
  for (std::size_t at = 0; at < text.size();) {
    const ssize_t got = ::read(file.get(), text.data() + at, text.size() - at);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw Refused(reason());
    if (got == 0) throw Refused("it is cut short");
    at += static_cast<std::size_t>(got);
  }
  return text;
}

}  // namespace

void write_cached(const fs::path& directory, const CachedStep& cached) {
  const auto failed = [&](const std::string& what) {
    throw Error(directory.string() + ": no plan can be kept there: " + what);
  };
  std::error_code error;
  const bool added = fs::create_directories(directory, error);
  if (error) failed(error.message());
  if (added) {
    fs::permissions(directory, fs::perms::owner_all, error);
    machine::sync_folders_above(directory);
  }
  const std::string content = content_of(cached);
  std::string file(kMagic);
  put(file, kVersion);
  put(file, check_of(content));
  file += content;

  try {
    OutputFile to(directory / name_of(cached), OutputFile::Access::Private);
    to.append(file);
    to.finish();
  } catch (const Error& failure) {
    failed(failure.what());
  }
}

void remove_cached(const fs::path& directory, const StepId& step) {
  std::error_code none;
  fs::remove(directory / name_of(step), none);
}

CachedSteps read_cached(const fs::path& directory, std::int64_t budget, bool offloads,
                        std::size_t most) {
  CachedSteps found;
  std::error_code error;
  const std::string ending = ending_of(budget, offloads);
  std::vector<std::pair<fs::file_time_type, fs::path>> files;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    if (!it->path().filename().string().ends_with(ending)) continue;
    std::error_code gone;
    files.emplace_back(it->last_write_time(gone), it->path());
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    found.ignored.push_back(directory.string() + " is ignored: " + error.message());
  }
  std::ranges::sort(files, std::ranges::greater{});
  for (const auto& [time, path] : files) {
    if (found.steps.size() == most) break;
    try {
      CachedStep cached = parse(read_file(path));
      if (name_of(cached) != path.filename()) {
        throw Refused("it is the plan of another step, " + name_of(cached));
      }
      found.steps.push_back(std::move(cached));
    } catch (const Refused& refused) {
      found.ignored.push_back(path.string() + " is ignored: " + refused.what());
    }
  }
  return found;
}

}  // namespace neap::autoplan
