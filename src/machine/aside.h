// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// machine/aside.h: the temporary file of an OutputFile.
#pragma once

#include <neap/machine.h>

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <string_view>

namespace neap::machine {

// Until finish(), the data is in a file without a name in the folder of `path`. Where the file
// system has no such files, it is in a named file, which the first write() makes. A `path` that is
// no regular file is written directly.
// Throws: Error, from everything but the destructor.
class Aside {
 public:
  enum class Name { NoneIfPossible, Always };
  explicit Aside(const std::filesystem::path& path,
                 OutputFile::Access access = OutputFile::Access::Shared,
                 Name name = Name::NoneIfPossible);
  Aside(const Aside&) = delete;
  Aside& operator=(const Aside&) = delete;
  ~Aside();

  void write(std::string_view bytes);
  void finish();

 private:
  void open_unnamed();
  void open_named();
  void replace();
  [[noreturn]] void refuse(int error) const;

  std::string shown_;             // the path as the user wrote it, for messages
  std::filesystem::path target_;  // links followed
  std::filesystem::path folder_;
  std::filesystem::path named_;  // the named temporary file, while there is one
  mode_t mode_ = 0666;
  bool exact_mode_ = false;  // false: the umask applies to mode_
  bool direct_ = false;
  int file_ = -1;
};

}  // namespace neap::machine
