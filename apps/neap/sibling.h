// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A second process of the same program, and messages between the two. Its memory does not count in
// the budget of the first.
#pragma once

#include <sys/types.h>

#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace neap::app {

class Sibling {
 public:
  // Forks. REQUIRES: the process has one thread, so LibTorch has not started its threads. Throws:
  // Error when the system cannot make a process.
  Sibling();
  Sibling(const Sibling&) = delete;
  Sibling& operator=(const Sibling&) = delete;
  // In the first process, waits for the second one, which ends when it next sends or receives.
  ~Sibling();

  // True in the forked process.
  [[nodiscard]] bool is_second() const { return process_ == 0; }
  // Returns false when the other process has ended.
  bool send(std::string_view message);
  // Returns nullopt when the other process has ended.
  std::optional<std::string> receive();
  // Waits for the other process and says for people how it ended: "was killed by signal 9".
  std::string ending();

 private:
  pid_t process_;
  int to_ = -1, from_ = -1;
};

}  // namespace neap::app
