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
#include <set>
#include <string_view>
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

// The sets of EMNIST, by the names of their files. Letters are numbered from 1.
struct Emnist {
  std::string_view name;
  std::int64_t classes;
};
constexpr std::array<Emnist, 6> kEmnist{{{"balanced", 47},
                                         {"byclass", 62},
                                         {"bymerge", 47},
                                         {"digits", 10},
                                         {"letters", 27},
                                         {"mnist", 10}}};

// The original name, and a variant that some distributions use.
std::array<std::string, 2> names_of(const std::string& split, const char* what, int rank) {
  const std::string end = "idx" + std::to_string(rank) + "-ubyte";
  return {split + '-' + what + '-' + end, split + '-' + what + '.' + end};
}

bool is_file(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::exists(path, error) && !std::filesystem::is_directory(path, error);
}

// The common prefix of the files in this folder: empty, or as "emnist-letters-".
std::string prefix_of(const std::filesystem::path& folder) {
  expect_folder(folder, "the four IDX files of a data set like MNIST");
  std::set<std::string> prefixes;
  std::error_code error;
  for (std::filesystem::directory_iterator it(folder, error), end; !error && it != end;
       it.increment(error)) {
    std::string name = it->path().filename().string();
    if (name.ends_with(".gz")) name.resize(name.size() - 3);
    for (const std::string& known : names_of("train", "images", 3)) {
      if (name.ends_with(known)) prefixes.insert(name.substr(0, name.size() - known.size()));
    }
  }
  if (prefixes.empty() || prefixes.contains("")) return {};
  if (prefixes.size() > 1) {
    std::string found;
    for (const std::string& prefix : prefixes) found += (found.empty() ? "" : ", ") + prefix;
    throw DataError(folder.string() + ": has several sets, " + found +
                    "; put the files of one into a folder of its own");
  }
  return *prefixes.begin();
}

std::filesystem::path find_file(const std::filesystem::path& folder, const std::string& prefix,
                                Split split, const char* what, int rank) {
  const std::vector<std::string> splits = split == Split::Train
                                              ? std::vector<std::string>{"train"}
                                              : std::vector<std::string>{"t10k", "test"};
  for (const std::string& one : splits) {
    for (const std::string& name : names_of(prefix + one, what, rank)) {
      for (const char* const suffix : {"", ".gz"}) {
        if (is_file(folder / (name + suffix))) return folder / (name + suffix);
      }
    }
  }
  const std::string name = names_of(prefix + splits.front(), what, rank).front();
  throw DataError(
      folder.string() +
      (split == Split::Test ? ": its test set is missing: it has neither " : ": has neither ") +
      name + " nor " + name + ".gz; put it there, or name another folder");
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

std::int64_t classes_of_idx(const std::filesystem::path& folder) {
  constexpr std::int64_t kClassesOfMnist = 10;
  const std::string prefix = prefix_of(folder);
  for (const Emnist& set : kEmnist) {
    if (prefix.find(set.name) != std::string::npos) return set.classes;
  }
  return kClassesOfMnist;
}

Labeled read_labeled(const std::filesystem::path& folder, Split split, std::int64_t classes) {
  const std::string prefix = prefix_of(folder);
  const std::filesystem::path images = find_file(folder, prefix, split, "images", 3);
  const std::filesystem::path labels = find_file(folder, prefix, split, "labels", 1);
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
