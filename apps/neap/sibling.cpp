// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "sibling.h"

#include <neap/base.h>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <utility>

namespace neap::app {
namespace {

[[noreturn]] void refuse() {
  throw Error(std::string("no second process for the plain steps: ") + std::strerror(errno) +
              "; raise the limits of processes and files (ulimit -u, ulimit -n)");
}

bool write_all(int to, const char* from, std::size_t count) {
  while (count > 0) {
    const ssize_t put = ::write(to, from, count);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return false;
    from += put;
    count -= static_cast<std::size_t>(put);
  }
  return true;
}

bool read_all(int from, char* to, std::size_t count) {
  while (count > 0) {
    const ssize_t got = ::read(from, to, count);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    to += got;
    count -= static_cast<std::size_t>(got);
  }
  return true;
}

}  // namespace

Sibling::Sibling() {
  std::array<int, 2> there{}, back{};  // read and write ends
  if (::pipe2(there.data(), O_CLOEXEC) != 0 || ::pipe2(back.data(), O_CLOEXEC) != 0) refuse();
  const pid_t first = ::getpid();
  process_ = ::fork();
  if (process_ < 0) refuse();
  if (is_second()) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != first) ::_exit(1);  // the parent died before prctl()
    std::swap(there, back);
  }
  to_ = there[1];
  from_ = back[0];
  ::close(there[0]);
  ::close(back[1]);
}

Sibling::~Sibling() {
  ::close(to_);
  ::close(from_);
  if (process_ > 0) ::waitpid(process_, nullptr, 0);
}

bool Sibling::send(std::string_view message) {
  const std::uint64_t size = message.size();
  std::array<char, sizeof size> head{};
  std::memcpy(head.data(), &size, sizeof size);
  return write_all(to_, head.data(), head.size()) && write_all(to_, message.data(), message.size());
}

std::optional<std::string> Sibling::receive() {
  std::uint64_t size = 0;
  std::array<char, sizeof size> head{};
  if (!read_all(from_, head.data(), head.size())) return std::nullopt;
  std::memcpy(&size, head.data(), sizeof size);
  std::string message(size, '\0');
  if (!read_all(from_, message.data(), message.size())) return std::nullopt;
  return message;
}

std::string Sibling::ending() {
  int status = 0;
  const pid_t process = std::exchange(process_, -1);
  if (process <= 0 || ::waitpid(process, &status, 0) != process) return "has ended";
  if (WIFSIGNALED(status)) return "was killed by signal " + std::to_string(WTERMSIG(status));
  return "ended with exit code " + std::to_string(WEXITSTATUS(status));
}

}  // namespace neap::app
