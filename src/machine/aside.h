// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// machine/aside.h: the file that OutputFile writes into.
#pragma once

#include <neap/machine.h>

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <string_view>

namespace neap::machine {

// Until finish(): a file without a name in the folder of `path`; a named one, from the first write() on, where such files are
// not known; the path itself where that is no regular file.
// Throws: Error, from all but the destructor.
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

  std::string shown_;             // for messages: as the user named it
  std::filesystem::path target_;  // links followed
  std::filesystem::path folder_;
  std::filesystem::path named_;  // the named file, while there is one
  mode_t mode_ = 0666;
  bool exact_mode_ = false;  // else less the umask
  bool direct_ = false;
  int file_ = -1;
};

}  // namespace neap::machine
