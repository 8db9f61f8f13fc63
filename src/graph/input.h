// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// graph/input.h: the bytes of a trace or a plan, from a file or a stream.
#pragma once

#include <neap/graph.h>

#include <cstddef>
#include <filesystem>
#include <iosfwd>
#include <memory>
#include <string>

namespace neap::graph {

class Input {
 public:
  struct Chunk {
    std::size_t bytes = 0;    // 0: the end, or damage
    std::string damage = {};  // why the rest cannot be read; empty: nothing is wrong
  };

  Input() = default;
  Input(const Input&) = delete;
  Input& operator=(const Input&) = delete;
  virtual ~Input();

  // Up to `count` bytes. Throws: InvalidArgument, with the name, when they cannot be read.
  virtual Chunk read(char* to, std::size_t count) = 0;
};

// A plain file, or one compressed by gzip. As with gzip, trailing bytes that start no further gzip
// stream are ignored.
// Throws: InvalidArgument, with the path, when it cannot be opened.
std::unique_ptr<Input> open_file(const std::filesystem::path& path);

// `name`: for messages. The stream must outlive the input.
std::unique_ptr<Input> open_stream(std::istream& in, const std::string& name);

}  // namespace neap::graph
