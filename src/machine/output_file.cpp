// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "machine/aside.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <limits>

namespace neap {
namespace {

// Compresses in gzip's format. One for each file.
class Packer {
 public:
  Packer() {
    constexpr int kGzip = 16 + MAX_WBITS;
    if (deflateInit2(&stream_, Z_DEFAULT_COMPRESSION, Z_DEFLATED, kGzip, 8, Z_DEFAULT_STRATEGY) !=
        Z_OK) {
      throw Error("gzip cannot begin: not enough memory; end other programs");
    }
  }
  Packer(const Packer&) = delete;
  Packer& operator=(const Packer&) = delete;
  ~Packer() { deflateEnd(&stream_); }

  void pack(std::string_view bytes, machine::Aside& to, bool last) {
    do {
      const std::string_view part = bytes.substr(0, std::numeric_limits<uInt>::max());
      bytes.remove_prefix(part.size());
      // zlib does not write through next_in.
      stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(part.data()));
      stream_.avail_in = static_cast<uInt>(part.size());
      do {
        stream_.next_out = reinterpret_cast<Bytef*>(packed_.data());
        stream_.avail_out = static_cast<uInt>(packed_.size());
        deflate(&stream_, last && bytes.empty() ? Z_FINISH : Z_NO_FLUSH);
        to.write({packed_.data(), packed_.size() - stream_.avail_out});
      } while (stream_.avail_out == 0);
    } while (!bytes.empty());
  }

 private:
  z_stream stream_{};
  std::array<char, 1 << 16> packed_{};
};

}  // namespace

struct OutputFile::State {
  State(const std::filesystem::path& path, Access access) : aside(path, access) {
    if (path.extension() == ".gz") packer = std::make_unique<Packer>();
  }
  machine::Aside aside;
  std::unique_ptr<Packer> packer;
};

OutputFile::OutputFile(const std::filesystem::path& path, Access access)
    : state_(std::make_unique<State>(path, access)) {}

OutputFile::~OutputFile() = default;

void OutputFile::append(std::string_view bytes) {
  if (!state_) throw Error("OutputFile: append() after finish(); make another one");
  if (state_->packer) {
    state_->packer->pack(bytes, state_->aside, /*last=*/false);
  } else {
    state_->aside.write(bytes);
  }
}

void OutputFile::finish() {
  if (!state_) throw Error("OutputFile: finish() a second time; make another one");
  if (state_->packer) state_->packer->pack({}, state_->aside, /*last=*/true);
  state_->aside.finish();
  state_.reset();
}

}  // namespace neap
