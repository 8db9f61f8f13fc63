// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// data/source.h: a file that is read from start to end, and unpacked when it is gzip. All readers
// of data sets use it, so that each error names the path and the offset.
#pragma once

#include <neap/data.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

struct gzFile_s;

namespace neap::data {

// Larger files count as damaged.
inline constexpr std::int64_t kMostBytes = std::int64_t{1} << 36;

class Source {
 public:
  // Throws: DataError when it cannot be opened.
  explicit Source(const std::filesystem::path& path);

  // Reads up to `count` bytes; fewer only at the end of the file.
  // Throws: DataError for a damaged stream.
  std::size_t read(unsigned char* to, std::size_t count);

  // Reads `count` bytes. Allocates memory only as the content arrives, whatever the header
  // promised.
  // `what`: the things that the bytes encode, for the error when they are missing.
  std::vector<unsigned char> read_items(std::int64_t count, const std::string& what);
  // Throws: DataError when the file does not end here.
  void expect_end(const std::string& what);
  // Reads the rest of the file.
  std::vector<unsigned char> read_rest();

  [[nodiscard]] std::int64_t offset() const { return offset_; }
  [[noreturn]] void refuse(std::int64_t at, const std::string& what) const;

 private:
  struct Close {
    void operator()(gzFile_s* file) const;
  };

  void check_end();
  [[noreturn]] void refuse_stream();

  std::string path_;
  std::unique_ptr<gzFile_s, Close> file_;
  std::int64_t offset_ = 0;
};

// Throws: DataError when `folder` is not a folder. `named`: what it should contain.
void expect_folder(const std::filesystem::path& folder, const std::string& named);

// Reads the rest of a text as UTF-8, as read_text() says. `advice`: what to do where it is no text
// of the encoding. Throws: DataError, with the offset.
// REQUIRES: the encoding is empty or known.
std::vector<unsigned char> read_utf8(Source& source, const std::string& encoding,
                                     const std::string& advice);

// The folder of a Debian package. `otherwise`: what the user can name instead.
// Throws: DataError, with what to install, when it is missing.
std::filesystem::path package_folder(const std::filesystem::path& folder,
                                     const std::string& package, const std::string& otherwise);

}  // namespace neap::data
