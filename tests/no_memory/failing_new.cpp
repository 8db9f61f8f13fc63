// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "no_memory/failing_new.h"

#include <cxxabi.h>
#include <dlfcn.h>
#include <execinfo.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <new>
#include <sstream>
#include <utility>
#include <vector>

namespace neap::no_memory {
namespace {

struct State {
  bool armed = false;
  bool for_ever = false;
  std::int64_t k = 0;
  std::int64_t calls = 0;
  std::int64_t live = 0;
};
thread_local State state;

struct Elsewhere {
  std::atomic<bool> armed = false;
  std::atomic<std::int64_t> calls = 0;
  bool for_ever = false;
  std::int64_t k = 0;
};
Elsewhere elsewhere;
thread_local bool is_home = false;  // the thread that has armed it

constexpr int kMostFrames = 48;
std::array<void*, kMostFrames> frames;
int frame_count = 0;

bool fails_elsewhere() noexcept {
  if (!elsewhere.armed || is_home) return false;
  const std::int64_t call = ++elsewhere.calls;
  if (elsewhere.k == 0 || call < elsewhere.k || (call > elsewhere.k && !elsewhere.for_ever)) {
    return false;
  }
  if (call == elsewhere.k) frame_count = ::backtrace(frames.data(), kMostFrames);
  return true;
}

bool fails() noexcept {
  if (!state.armed) return fails_elsewhere();
  const std::int64_t call = ++state.calls;
  if (state.k == 0 || call < state.k || (call > state.k && !state.for_ever)) return false;
  state.armed = false;  // backtrace() may load a library
  frame_count = ::backtrace(frames.data(), kMostFrames);
  state.armed = true;
  return true;
}

void* take(void* memory) {
  if (memory == nullptr) throw std::bad_alloc();
  ++state.live;
  return memory;
}

void give_back(void* memory) noexcept {
  if (memory == nullptr) return;
  --state.live;
  std::free(memory);
}

}  // namespace

void fail_new(std::int64_t k, bool for_ever) noexcept {
  state.k = k;
  state.for_ever = for_ever;
  state.calls = 0;
  state.armed = true;
}

std::int64_t stop_failing() noexcept {
  state.armed = false;
  return state.calls;
}

void fail_new_elsewhere(std::int64_t k, bool for_ever) noexcept {
  std::array<void*, 1> frame{};
  (void)::backtrace(frame.data(), 1);  // its first call loads a library
  is_home = true;
  elsewhere.k = k;
  elsewhere.for_ever = for_ever;
  elsewhere.calls = 0;
  elsewhere.armed = true;
}

std::int64_t stop_failing_elsewhere() noexcept {
  elsewhere.armed = false;
  return elsewhere.calls;
}

Pause::Pause() noexcept : was_armed_(std::exchange(state.armed, false)) {}
Pause::~Pause() { state.armed = was_armed_; }

std::int64_t live_allocations() noexcept { return state.live; }

std::span<void* const> failed_call() noexcept {
  return {frames.data(), static_cast<std::size_t>(frame_count)};
}

namespace {

std::string demangled(const char* name) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> shown(
      abi::__cxa_demangle(name, nullptr, nullptr, &status), &std::free);
  return shown ? shown.get() : name;
}

// What addr2line says of some places in one file. It takes long, so it is asked once for all.
std::vector<std::string> looked_up(const std::string& file,
                                   const std::vector<std::ptrdiff_t>& places) {
  std::ostringstream command;
  command << "addr2line -f -C -e '" << file << "' " << std::hex;
  for (const std::ptrdiff_t place : places) command << place << ' ';
  command << "2>&1";
  std::vector<std::string> names;
  std::FILE* const pipe = ::popen(command.str().c_str(), "r");
  if (pipe == nullptr) return names;
  std::array<char, 4000> line{};
  for (bool is_name = true; std::fgets(line.data(), static_cast<int>(line.size()), pipe) != nullptr;
       is_name = !is_name) {
    if (is_name) names.emplace_back(line.data());  // the line after it is the place in the source
  }
  ::pclose(pipe);
  return names;
}

}  // namespace

// Exported names are known to the linker. Those of the test's own objects are hidden.
std::string names_of(std::span<void* const> addresses) {
  static std::map<void*, std::string> known;
  std::map<std::string, std::pair<std::vector<void*>, std::vector<std::ptrdiff_t>>> hidden;
  for (void* const address : addresses) {
    Dl_info info{};
    // The call is before the address that it returns to.
    const char* const at = static_cast<const char*>(address) - 1;
    if (known.contains(address) || ::dladdr(at, &info) == 0) continue;
    if (info.dli_sname != nullptr) {
      known[address] = demangled(info.dli_sname) + '\n';
    } else {
      auto& [own, places] = hidden[info.dli_fname];
      own.push_back(address);
      places.push_back(at - static_cast<const char*>(info.dli_fbase));
    }
  }
  for (const auto& [file, some] : hidden) {
    const std::vector<std::string> names = looked_up(file, some.second);
    for (std::size_t i = 0; i < std::min(names.size(), some.first.size()); ++i) {
      known[some.first[i]] = names[i];
    }
  }
  std::string all;
  for (void* const address : addresses) all += known[address];
  return all;
}

}  // namespace neap::no_memory

// The forms that are not here, for arrays, with a size and without exceptions, call these.

void* operator new(std::size_t bytes) {
  using namespace neap::no_memory;
  if (fails()) throw std::bad_alloc();
  return take(std::malloc(std::max<std::size_t>(bytes, 1)));
}

void* operator new(std::size_t bytes, std::align_val_t alignment) {
  using namespace neap::no_memory;
  if (fails()) throw std::bad_alloc();
  const auto step = static_cast<std::size_t>(alignment);
  return take(std::aligned_alloc(step, (std::max<std::size_t>(bytes, 1) + step - 1) / step * step));
}

void operator delete(void* memory) noexcept { neap::no_memory::give_back(memory); }
void operator delete(void* memory, std::size_t /*bytes*/) noexcept {
  neap::no_memory::give_back(memory);
}
void operator delete(void* memory, std::align_val_t /*alignment*/) noexcept {
  neap::no_memory::give_back(memory);
}
void operator delete(void* memory, std::size_t /*bytes*/, std::align_val_t /*alignment*/) noexcept {
  neap::no_memory::give_back(memory);
}
