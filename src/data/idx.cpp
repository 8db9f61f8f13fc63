// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// IDX, as http://yann.lecun.com/exdb/mnist describes it:
//   file   := 0 0 type rank extent{rank} item*      every number big-endian
//   type   := 0x08, unsigned bytes; others are not read here
//   extent := 4 bytes
#include "data/source.h"

#include <ATen/ops/empty.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <vector>

namespace neap::data {
namespace {

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

  const std::string what_there_is = shape_text(content.extents);
  content.items = source.read_items(total, what_there_is);
  source.expect_end(what_there_is);
  return content;
}

std::filesystem::path find_file(const std::filesystem::path& folder, const std::string& name) {
  expect_folder(folder, "the four IDX files of a data set like MNIST");
  std::error_code error;
  for (const char* suffix : {"", ".gz"}) {
    std::filesystem::path file = folder / (name + suffix);
    if (std::filesystem::exists(file, error)) return file;
  }
  throw DataError(folder.string() + ": has neither " + name + " nor " + name +
                  ".gz; put it there, or name another folder");
}

}  // namespace

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
  return package_folder("/usr/share/datasets/fashion-mnist", "dataset-fashion-mnist",
                        "a folder with the four IDX files");
}

}  // namespace neap::data
