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
    std::string damage = {};  // why no more can be had; empty: nothing is wrong
  };

  Input() = default;
  Input(const Input&) = delete;
  Input& operator=(const Input&) = delete;
  virtual ~Input();

  // Up to `count` bytes. Throws: InvalidArgument, with the name, when they cannot be read.
  virtual Chunk read(char* to, std::size_t count) = 0;
};

// A plain file, or one that gzip made. Bytes behind the end of the gzip stream that are none of another one are ignored, as gzip
// does. Throws: InvalidArgument, with the path, when it cannot be opened.
std::unique_ptr<Input> open_file(const std::filesystem::path& path);

// `name`: for messages. The stream outlives the input.
std::unique_ptr<Input> open_stream(std::istream& in, const std::string& name);

}  // namespace neap::graph
