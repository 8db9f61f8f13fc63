// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// safetensors/safetensors.h: files of named tensors, in the format of Hugging Face's safetensors:
// 8 bytes with the length of a header, the header in JSON, and the elements without a gap.
// Nothing in such a file is run. Does not depend on LibTorch.
// Format: https://huggingface.co/docs/safetensors, section Format.
#pragma once

#include <neap/machine.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace neap::safetensors {

// Texts beside the tensors.
using Metadata = std::map<std::string, std::string>;

// Bytes of an element; 0: the format has no such type. `type`: F64, F32, BF16, I64, BOOL, ...
std::int64_t item_bytes(std::string_view type) noexcept;

struct Tensor {
  std::string name;
  std::string type;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;  // row-major, little-endian
};

struct Written {
  std::int64_t bytes = 0;
  std::uint64_t hash = 0;  // XXH3 of the file
  // XXH3 of each tensor's bytes, by its name.
  std::map<std::string, std::uint64_t> tensors;
};

// Writes a file whole or not at all.
// Throws: InvalidArgument for a name that stands twice or is no UTF-8, an unknown type, or bytes
// that are not those of type and shape; Error, with the path and the reason, when it cannot be
// written.
Written write(const std::filesystem::path& path, std::vector<Tensor> tensors,
              const Metadata& metadata = {},
              OutputFile::Access access = OutputFile::Access::Private);

// Reads a file. The header is checked whole by the constructor, so that no tensor lies outside of
// the file or in another one.
class File {
 public:
  struct Entry {
    std::string name = {};
    std::string type = {};
    std::vector<std::int64_t> shape = {};
    std::int64_t offset = 0;  // in the file
    std::int64_t bytes = 0;
  };

  // Throws: Error, with the path, the offset, what was expected and what to do.
  explicit File(std::filesystem::path path);
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File();

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::int64_t bytes() const { return bytes_; }
  [[nodiscard]] const Metadata& metadata() const { return metadata_; }
  // In the order of their names.
  [[nodiscard]] const std::vector<Entry>& entries() const { return entries_; }
  // Null: there is none of this name.
  [[nodiscard]] const Entry* find(std::string_view name) const;

  // REQUIRES: `to` has the entry's bytes. Throws: Error when the file has become shorter, or cannot
  // be read.
  void read(const Entry& entry, std::span<std::byte> to) const;
  // XXH3 of the file as it is now. Throws: as read().
  [[nodiscard]] std::uint64_t hash() const;

 private:
  void read_header();
  void read_at(std::int64_t offset, std::span<std::byte> to) const;
  [[noreturn]] void refuse(std::int64_t offset, const std::string& what) const;

  std::filesystem::path path_;
  int descriptor_ = -1;
  std::int64_t bytes_ = 0;
  Metadata metadata_;
  std::vector<Entry> entries_;
};

}  // namespace neap::safetensors
