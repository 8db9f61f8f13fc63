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

using Header = std::array<unsigned char, 16>;  // has room for three extents

// `what`, here and below: "images" or "labels", for messages.
Header read_header(Source& source, std::size_t rank, const char* what) {
  Header header{};
  const std::size_t bytes = 4 + 4 * rank;
  const std::size_t got = source.read(header.data(), bytes);
  if (got < bytes) {
    source.refuse(static_cast<std::int64_t>(got), "cut short: the header of " + std::string(what) +
                                                      " has " + std::to_string(bytes) +
                                                      " bytes, found " + std::to_string(got) +
                                                      "; fetch the file again");
  }
  return header;
}

// The first four bytes: 0 0 type rank.
void check_magic(const Source& source, const Header& header, std::size_t rank, const char* what) {
  if (header[0] == rank && header[1] == 8 && header[2] == 0 && header[3] == 0) {
    source.refuse(0, std::string("its numbers are byte-swapped, the lowest byte first: an IDX file "
                                 "has the highest first; write the file anew, or fetch it again"));
  }
  if (header[0] == 0 && header[1] == 0 && header[2] == 8 && header[3] == rank) return;
  std::array<char, 16> found{};
  std::snprintf(found.data(), found.size(), "%02x%02x%02x%02x", header[0], header[1], header[2],
                header[3]);
  const bool other_kind = header[2] == 8 && (header[3] == 1 || header[3] == 3);
  source.refuse(0, "not a file of " + std::string(what) + ": expected the magic number 0000080" +
                       std::to_string(rank) + ", found " + found.data() +
                       (other_kind ? "; images and labels are mixed up: name the other file"
                                   : "; name an IDX file of unsigned bytes"));
}

// Reads a big-endian number. `most`: a larger extent counts as damaged.
std::int64_t extent_at(const Source& source, const Header& header, std::size_t index,
                       std::int64_t most) {
  const std::size_t offset = 4 + 4 * index;
  std::int64_t extent = 0;
  for (std::size_t byte = 0; byte < 4; ++byte) extent = extent << 8 | header[offset + byte];
  if (extent != 0 && extent <= most) return extent;

  const std::string is = "extent " + std::to_string(index + 1) + " is " + std::to_string(extent);
  const auto at = static_cast<std::int64_t>(offset);
  if (extent == 0) source.refuse(at, is + ", so there is nothing in it; fetch the file again");
  // It is too large. When the swapped number makes sense, the writer had the wrong byte order.
  const auto swapped =
      static_cast<std::int64_t>(__builtin_bswap32(static_cast<std::uint32_t>(extent)));
  if (swapped < extent && swapped <= most) {
    source.refuse(at, is + ", and " + std::to_string(swapped) +
                          " when its bytes are swapped: an IDX file has the highest byte first; "
                          "write the file anew, or fetch it again");
  }
  source.refuse(at, is + ", more than can be meant; fetch the file again");
}

Content read_content(Source& source, std::size_t rank, const char* what) {
  const Header header = read_header(source, rank, what);
  check_magic(source, header, rank, what);
  Content content;
  std::int64_t total = 1;  // items, of one byte each
  for (std::size_t i = 0; i < rank; ++i) {
    content.extents.push_back(extent_at(source, header, i, kMostBytes / total));
    total *= content.extents.back();
  }
  content.start = source.offset();

  const std::string what_there_is = shape_text(content.extents);
  content.items = source.read_items(total, what_there_is);
  source.expect_end(what_there_is);
  return content;
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

std::filesystem::path fashion_mnist_directory() {
  return package_folder("/usr/share/datasets/fashion-mnist", "dataset-fashion-mnist",
                        "a folder with the four IDX files");
}

}  // namespace neap::data
