// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// data/source.h: a file that is read from its start to its end, unpacked when it is gzip. All readers of data sets go
// through here, so that each error names the path and the offset.
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

// More than this is taken for damage.
inline constexpr std::int64_t kMostBytes = std::int64_t{1} << 36;

class Source {
 public:
  // Throws: DataError when it cannot be opened.
  explicit Source(const std::filesystem::path& path);

  // Reads up to `count` bytes; less only at the end of the file. Throws: DataError for a damaged stream.
  std::size_t read(unsigned char* to, std::size_t count);

  // Reads `count` bytes into as much memory as there is content, whatever was promised.
  // `what`: of how many things the bytes are, for the error when they are not there.
  std::vector<unsigned char> read_items(std::int64_t count, const std::string& what);
  // Throws: DataError when more follows.
  void expect_end(const std::string& what);
  // All that is left.
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

// Throws: DataError when it is no folder. `named`: what should be in it.
void expect_folder(const std::filesystem::path& folder, const std::string& named);

// Of a set of IDX files: those of EMNIST are known by their names, as emnist-letters-train-images-idx3-ubyte; all others have 10.
// Throws: DataError when the folder is none, or has several sets.
std::int64_t classes_of_idx(const std::filesystem::path& folder);

// Where a package of Debian puts its files. `otherwise`: what to name instead.
// Throws: DataError, with what to install, when it is not there.
std::filesystem::path package_folder(const std::filesystem::path& folder,
                                     const std::string& package, const std::string& otherwise);

}  // namespace neap::data
