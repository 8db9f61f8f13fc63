// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// IDX, as http://yann.lecun.com/exdb/mnist describes it:
//   file   := 0 0 type rank extent{rank} item*      every number big-endian
//   type   := 0x08, unsigned bytes; others are not read here
//   extent := 4 bytes
#include <neap/data.h>

#include <ATen/ops/empty.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

namespace neap::data {
namespace {

constexpr std::int64_t kMostBytes = std::int64_t{1} << 36;
constexpr std::size_t kChunk = std::size_t{1} << 20;

// A file that is read from its start to its end, unpacked when it is gzip.
class Source {
 public:
  explicit Source(const std::filesystem::path& path) : path_(path.string()) {
    std::error_code error;
    if (std::filesystem::is_directory(path, error)) {
      throw DataError(path_ + ": is a folder; name the file in it");
    }
    errno = 0;
    file_.reset(gzopen(path_.c_str(), "rb"));
    if (!file_) {
      throw DataError(path_ + ": cannot be opened: " +
                      (errno != 0 ? std::strerror(errno) : "not enough memory") +
                      "; check the name and the permissions");
    }
    gzbuffer(file_.get(), static_cast<unsigned>(kChunk));
  }

  // Reads up to `count` bytes; less only at the end of the file.
  std::size_t read(unsigned char* to, std::size_t count) {
    std::size_t done = 0;
    while (done < count) {
      const auto wanted = static_cast<unsigned>(std::min(count - done, kChunk));
      const int got = gzread(file_.get(), to + done, wanted);
      if (got < 0) refuse_stream();
      if (got == 0) break;
      done += static_cast<std::size_t>(got);
      offset_ += got;
    }
    // A gzip stream that stops in its middle ends like a file that is over; zlib tells them apart here only.
    if (done < count) check_end();
    return done;
  }

  [[nodiscard]] std::int64_t offset() const { return offset_; }
  [[nodiscard]] const std::string& path() const { return path_; }

  [[noreturn]] void refuse(std::int64_t at, const std::string& what) const {
    throw DataError(path_ + ": at offset " + std::to_string(at) + ": " + what);
  }

 private:
  struct Close {
    void operator()(gzFile_s* file) const { gzclose_r(file); }
  };

  void check_end() {
    int code = Z_OK;
    gzerror(file_.get(), &code);
    if (code != Z_OK && code != Z_STREAM_END) refuse_stream();
  }

  [[noreturn]] void refuse_stream() {
    int code = Z_OK;
    const std::string text = gzerror(file_.get(), &code);
    if (code == Z_ERRNO) {
      refuse(offset_, std::string("cannot be read: ") + std::strerror(errno) +
                          "; check the disk, or fetch the file again");
    }
    refuse(offset_, "the gzip stream is damaged (" + text + "); fetch the file again");
  }

  std::string path_;
  std::unique_ptr<gzFile_s, Close> file_;
  std::int64_t offset_ = 0;
};

struct Content {
  std::vector<std::int64_t> extents;
  std::vector<unsigned char> items;
  std::int64_t start = 0;  // offset of the first item
};

std::string shape_text(const std::vector<std::int64_t>& extents) {
  if (extents.size() == 1) return std::to_string(extents[0]) + " labels";
  return std::to_string(extents[0]) + " images of " + std::to_string(extents[1]) + " x " +
         std::to_string(extents[2]);
}

// `what`: images or labels, for messages.
Content read_content(Source& source, std::size_t rank, const char* what) {
  std::array<unsigned char, 16> header{};
  const std::size_t header_bytes = 4 + 4 * rank;
  const std::size_t got = source.read(header.data(), header_bytes);
  if (got < header_bytes) {
    source.refuse(static_cast<std::int64_t>(got), "cut short: the header of " + std::string(what) +
                                                      " has " + std::to_string(header_bytes) +
                                                      " bytes, found " + std::to_string(got) +
                                                      "; fetch the file again");
  }
  if (header[0] != 0 || header[1] != 0 || header[2] != 8 || header[3] != rank) {
    std::array<char, 16> found{};
    std::snprintf(found.data(), found.size(), "%02x%02x%02x%02x", header[0], header[1], header[2],
                  header[3]);
    source.refuse(0, "not a file of " + std::string(what) + ": expected the magic number 0000080" +
                         std::to_string(rank) + ", found " + found.data() +
                         (header[2] == 8 && (header[3] == 1 || header[3] == 3)
                              ? "; images and labels are mixed up: name the other file"
                              : "; name an IDX file of unsigned bytes"));
  }
  Content content;
  std::int64_t total = 1;
  for (std::size_t i = 0; i < rank; ++i) {
    std::int64_t extent = 0;
    for (std::size_t byte = 0; byte < 4; ++byte) extent = extent << 8 | header[4 + 4 * i + byte];
    if (extent == 0 || extent > kMostBytes / total) {
      source.refuse(static_cast<std::int64_t>(4 + 4 * i),
                    "extent " + std::to_string(i + 1) + " is " + std::to_string(extent) +
                        (extent == 0 ? ", so there is nothing in it" : ", more than can be meant") +
                        "; fetch the file again");
    }
    total *= extent;
    content.extents.push_back(extent);
  }
  content.start = source.offset();

  // As much memory as there is content, whatever the header promises.
  const auto need = static_cast<std::size_t>(total);
  while (content.items.size() < need) {
    const std::size_t old = content.items.size();
    content.items.resize(old + std::min(kChunk, need - old));
    const std::size_t more = source.read(content.items.data() + old, content.items.size() - old);
    if (old + more < content.items.size()) {
      throw DataError(source.path() + ": cut short: " + shape_text(content.extents) + " need " +
                      std::to_string(total) + " bytes from offset " +
                      std::to_string(content.start) + " on, found " + std::to_string(old + more) +
                      "; fetch the file again");
    }
  }
  unsigned char beyond = 0;
  if (source.read(&beyond, 1) != 0) {
    source.refuse(content.start + total, "too long: " + shape_text(content.extents) +
                                             " end here, " +
                                             "and more follows; fetch the file again");
  }
  return content;
}

std::filesystem::path find_file(const std::filesystem::path& folder, const std::string& name) {
  std::error_code error;
  if (!std::filesystem::is_directory(folder, error)) {
    throw DataError(folder.string() +
                    ": is not a folder; name one with the four IDX files of a "
                    "data set like MNIST");
  }
  for (const char* suffix : {"", ".gz"}) {
    std::filesystem::path file = folder / (name + suffix);
    if (std::filesystem::exists(file, error)) return file;
  }
  throw DataError(folder.string() + ": has neither " + name + " nor " + name +
                  ".gz; put it there, or name another folder");
}

}  // namespace

DataError::DataError(const std::string& text) : Error(text) {}
DataError::~DataError() = default;

at::Tensor read_idx_images(const std::filesystem::path& file) {
  Source source(file);
  const Content content = read_content(source, 3, "images");
  at::Tensor images = at::empty(content.extents, at::kByte);
  std::memcpy(images.mutable_data_ptr(), content.items.data(), content.items.size());
  return images;
}

at::Tensor read_idx_labels(const std::filesystem::path& file, std::int64_t classes) {
  Source source(file);
  const Content content = read_content(source, 1, "labels");
  at::Tensor labels = at::empty(content.extents, at::kLong);
  auto* const to = labels.mutable_data_ptr<std::int64_t>();
  for (std::size_t i = 0; i < content.items.size(); ++i) {
    if (content.items[i] >= classes) {
      source.refuse(content.start + static_cast<std::int64_t>(i),
                    "label " + std::to_string(i) + " is " + std::to_string(content.items[i]) +
                        "; expected 0 to " + std::to_string(classes - 1) +
                        "; fetch the file again, or say how many classes there are");
    }
    to[i] = content.items[i];
  }
  return labels;
}

Labeled read_labeled(const std::filesystem::path& folder, Split split, std::int64_t classes) {
  const std::string prefix = split == Split::Train ? "train" : "t10k";
  const std::filesystem::path images = find_file(folder, prefix + "-images-idx3-ubyte");
  const std::filesystem::path labels = find_file(folder, prefix + "-labels-idx1-ubyte");
  Labeled labeled{read_idx_images(images), read_idx_labels(labels, classes)};
  if (labeled.images.size(0) != labeled.labels.size(0)) {
    throw DataError(images.string() + " has " + std::to_string(labeled.images.size(0)) +
                    " images and " + labels.string() + " has " +
                    std::to_string(labeled.labels.size(0)) +
                    " labels; they belong to different sets: fetch both again");
  }
  return labeled;
}

std::filesystem::path fashion_mnist_directory() {
  std::filesystem::path folder = "/usr/share/datasets/fashion-mnist";
  std::error_code error;
  if (!std::filesystem::is_directory(folder, error)) {
    throw DataError(folder.string() +
                    ": is not there; install the Debian package dataset-fashion-mnist, or name a "
                    "folder with the four IDX files");
  }
  return folder;
}

}  // namespace neap::data
