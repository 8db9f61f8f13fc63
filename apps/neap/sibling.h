// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A second process of the same program, and messages between the two. Its memory is its own: what it holds is in nobody's
// budget but its own.
#pragma once

#include <sys/types.h>

#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace neap::app {

class Sibling {
 public:
  // Forks. REQUIRES: the process has one thread: LibTorch's have not begun.
  // Throws: Error where the system gives no process.
  Sibling();
  Sibling(const Sibling&) = delete;
  Sibling& operator=(const Sibling&) = delete;
  // The one that was there before waits for the other, which ends when it next sends or receives.
  ~Sibling();

  // In the one that was forked.
  [[nodiscard]] bool is_second() const { return process_ == 0; }
  // False: the other one has ended.
  bool send(std::string_view message);
  // Absent: the other one has ended.
  std::optional<std::string> receive();
  // How it ended, for people, after it did: "was killed by signal 9". Waits for it.
  std::string ending();

 private:
  pid_t process_;
  int to_ = -1, from_ = -1;
};

}  // namespace neap::app
