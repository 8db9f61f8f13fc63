// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "graph/input.h"

#include "machine/input.h"

#include <unistd.h>
#include <zlib.h>

#include <cerrno>
#include <cstring>
#include <istream>

namespace neap::graph {
namespace {

class File : public Input {
 public:
  explicit File(const std::filesystem::path& path) : path_(path.string()) {
    const machine::Opened opened = machine::open_to_read(path);
    if (opened.descriptor < 0) throw InvalidArgument(path_ + ": " + opened.why);
    file_.reset(gzdopen(opened.descriptor, "rb"));
    if (!file_) {
      ::close(opened.descriptor);
      throw InvalidArgument(path_ + ": cannot be read: not enough memory; end other programs");
    }
  }

  Chunk read(char* to, std::size_t count) override {
    const int got = gzread(file_.get(), to, static_cast<unsigned>(count));
    if (got > 0) return {static_cast<std::size_t>(got)};
    // A truncated gzip stream ends like a complete one. Only gzerror() tells them apart.
    int code = Z_OK;
    const char* const text = gzerror(file_.get(), &code);
    if (code == Z_ERRNO) {
      throw InvalidArgument(path_ + ": cannot be read: " + std::strerror(errno) +
                            "; check the disk");
    }
    if (code == Z_OK || code == Z_STREAM_END) return {};
    return {0, std::string("the gzip stream is damaged (") + text + ")"};
  }

 private:
  struct Close {
    void operator()(gzFile_s* file) const { gzclose_r(file); }
  };

  std::string path_;
  std::unique_ptr<gzFile_s, Close> file_;
};

class Stream : public Input {
 public:
  Stream(std::istream& in, const std::string& name) : in_(in), name_(name) {}

  Chunk read(char* to, std::size_t count) override {
    in_.read(to, static_cast<std::streamsize>(count));
    const auto got = static_cast<std::size_t>(in_.gcount());
    // A stream that was never opened has failed without being at its end.
    if (in_.bad() || (got == 0 && !in_.eof())) {
      throw InvalidArgument(name_ + ": the stream cannot be read; check that it was opened");
    }
    return {got};
  }

 private:
  std::istream& in_;
  std::string name_;
};

}  // namespace

Input::~Input() = default;

std::unique_ptr<Input> open_file(const std::filesystem::path& path) {
  return std::make_unique<File>(path);
}

std::unique_ptr<Input> open_stream(std::istream& in, const std::string& name) {
  return std::make_unique<Stream>(in, name);
}

}  // namespace neap::graph
