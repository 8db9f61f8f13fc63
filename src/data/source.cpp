// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "data/source.h"

#include "machine/input.h"

#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace neap::data {
namespace {

constexpr std::size_t kChunk = std::size_t{1} << 20;

}  // namespace

void Source::Close::operator()(gzFile_s* file) const { gzclose_r(file); }

Source::Source(const std::filesystem::path& path) : path_(path.string()) {
  const machine::Opened opened = machine::open_to_read(path);
  if (opened.descriptor < 0) throw DataError(path_ + ": " + opened.why);
  file_.reset(gzdopen(opened.descriptor, "rb"));
  if (!file_) {
    ::close(opened.descriptor);
    throw DataError(path_ + ": cannot be read: not enough memory; end other programs");
  }
  gzbuffer(file_.get(), static_cast<unsigned>(kChunk));
}

std::size_t Source::read(unsigned char* to, std::size_t count) {
  std::size_t done = 0;
  while (done < count) {
    const auto wanted = static_cast<unsigned>(std::min(count - done, kChunk));
    const int got = gzread(file_.get(), to + done, wanted);
    if (got < 0) refuse_stream();
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
    offset_ += got;
  }
  // A truncated gzip stream ends like a complete one. Only gzerror() tells them apart.
  if (done < count) check_end();
  return done;
}

std::vector<unsigned char> Source::read_items(std::int64_t count, const std::string& what) {
  const std::int64_t start = offset_;
  const auto need = static_cast<std::size_t>(count);
  std::vector<unsigned char> items;
  while (items.size() < need) {
    const std::size_t old = items.size();
    items.resize(old + std::min(kChunk, need - old));
    const std::size_t more = read(items.data() + old, items.size() - old);
    if (old + more < items.size()) {
      throw DataError(path_ + ": cut short: " + what + " need " + std::to_string(count) +
                      " bytes from offset " + std::to_string(start) + " on, found " +
                      std::to_string(old + more) + "; fetch the file again");
    }
  }
  return items;
}

void Source::expect_end(const std::string& what) {
  const std::int64_t end = offset_;
  unsigned char beyond = 0;
  if (read(&beyond, 1) != 0) {
    refuse(end, "too long: " + what + " end here, and more follows; fetch the file again");
  }
}

std::vector<unsigned char> Source::read_rest() {
  std::vector<unsigned char> bytes;
  for (;;) {
    const std::size_t old = bytes.size();
    bytes.resize(old + kChunk);
    const std::size_t more = read(bytes.data() + old, kChunk);
    bytes.resize(old + more);
    if (more < kChunk) return bytes;
    if (offset_ > kMostBytes)
      refuse(offset_, "goes on, and is larger than can be meant; name another file");
  }
}

void Source::refuse(std::int64_t at, const std::string& what) const {
  throw DataError(path_ + ": at offset " + std::to_string(at) + ": " + what);
}

void Source::check_end() {
  int code = Z_OK;
  gzerror(file_.get(), &code);
  if (code != Z_OK && code != Z_STREAM_END) refuse_stream();
}

void Source::refuse_stream() {
  int code = Z_OK;
  const std::string text = gzerror(file_.get(), &code);
  if (code == Z_ERRNO) {
    refuse(offset_, std::string("cannot be read: ") + std::strerror(errno) +
                        "; check the disk, or fetch the file again");
  }
  refuse(offset_, "the gzip stream is damaged (" + text + "); fetch the file again");
}

void expect_folder(const std::filesystem::path& folder, const std::string& named) {
  std::error_code error;
  if (!std::filesystem::is_directory(folder, error)) {
    throw DataError(folder.string() + ": is not a folder; name one with " + named);
  }
}

std::filesystem::path package_folder(const std::filesystem::path& folder,
                                     const std::string& package, const std::string& otherwise) {
  std::error_code error;
  if (!std::filesystem::is_directory(folder, error)) {
    throw DataError(folder.string() + ": is not there; install the Debian package " + package +
                    ", or name " + otherwise);
  }
  return folder;
}

}  // namespace neap::data
