// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The binary version of CIFAR, as https://www.cs.toronto.edu/~kriz/cifar.html describes it:
//   file    := picture{count}          no header
//   picture := label{1} pixel{3072}    CIFAR-10, label 0 to 9
//            | coarse fine pixel{3072} CIFAR-100, coarse 0 to 19, fine 0 to 99
//   pixels: red, green, blue planes of 32 rows of 32 bytes
#include "data/source.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>

#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace neap::data {
namespace {

constexpr std::int64_t kPixels = std::int64_t{3} * 32 * 32;

struct LabelByte {
  const char* name;
  int classes;
};

// The properties of one set. The last label byte is the one that is used.
struct Format {
  const char* name;
  const char* folder;  // in the archive
  const char* python;  // the folder of the Python version, which is not supported
  std::vector<LabelByte> labels;
  std::vector<const char*> training, test;
  std::int64_t pictures;  // in each file

  [[nodiscard]] std::int64_t record_bytes() const {
    return static_cast<std::int64_t>(labels.size()) + kPixels;
  }
};

const Format& cifar10() {
  static const Format format{"CIFAR-10",
                             "cifar-10-batches-bin",
                             "cifar-10-batches-py",
                             {{"label", 10}},
                             {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                              "data_batch_4.bin", "data_batch_5.bin"},
                             {"test_batch.bin"},
                             10000};
  return format;
}

const Format& cifar100_training() {
  static const Format format{"CIFAR-100",
                             "cifar-100-binary",
                             "cifar-100-python",
                             {{"coarse label", 20}, {"label", 100}},
                             {"train.bin"},
                             {"test.bin"},
                             50000};
  return format;
}

const Format& cifar100_test() {
  static const Format format = [] {
    Format test = cifar100_training();
    test.pictures = 10000;
    return test;
  }();
  return format;
}

Labeled read_file(const std::filesystem::path& path, const Format& format) {
  Source source(path);
  const std::string what = std::to_string(format.pictures) + " pictures of " +
                           std::to_string(format.record_bytes()) + " bytes";
  const std::vector<unsigned char> content =
      source.read_items(format.pictures * format.record_bytes(), what);
  source.expect_end(what);
  Labeled labeled{at::empty({format.pictures, 3, 32, 32}, at::kByte),
                  at::empty({format.pictures}, at::kLong)};
  auto* images = labeled.images.mutable_data_ptr<unsigned char>();
  auto* const labels = labeled.labels.mutable_data_ptr<std::int64_t>();
  const unsigned char* at = content.data();
  for (std::int64_t i = 0; i < format.pictures; ++i) {
    for (const LabelByte& label : format.labels) {
      if (*at >= label.classes) {
        source.refuse(at - content.data(), std::string(label.name) + " " + std::to_string(i) +
                                               " is " + std::to_string(*at) + "; expected 0 to " +
                                               std::to_string(label.classes - 1) +
                                               "; fetch the file again");
      }
      labels[i] = *at++;
    }
    std::memcpy(images, at, kPixels);
    images += kPixels;
    at += kPixels;
  }
  return labeled;
}

// The folder itself, or the subfolder that the archive was unpacked into.
std::filesystem::path find_folder(const std::filesystem::path& named, const Format& format,
                                  const char* first) {
  expect_folder(named, std::string("the .bin files of ") + format.name);
  std::error_code error;
  const auto is_there = [&](const std::filesystem::path& path) {
    return std::filesystem::exists(path, error);
  };
  if (is_there(named / first) || !is_there(named / format.folder / first)) return named;
  return named / format.folder;
}

Labeled read(const std::filesystem::path& named, const Format& format, Split split) {
  const std::vector<const char*>& names = split == Split::Train ? format.training : format.test;
  const std::filesystem::path folder = find_folder(named, format, names.front());
  std::error_code error;
  for (const char* const name : names) {
    if (std::filesystem::exists(folder / name, error)) continue;
    const bool python = std::filesystem::exists(folder / format.python, error) ||
                        std::filesystem::exists(folder / "batches.meta", error) ||
                        std::filesystem::exists(folder / "meta", error);
    throw DataError(
        folder.string() + ": has no " + name + (python ? ": this is the version for Python" : "") +
        "; put the binary version of " + format.name + " there, or name another folder");
  }
  std::vector<at::Tensor> images, labels;
  for (const char* const name : names) {
    Labeled labeled = read_file(folder / name, format);
    images.push_back(std::move(labeled.images));
    labels.push_back(std::move(labeled.labels));
  }
  return {at::cat(images), at::cat(labels)};
}

}  // namespace

Labeled read_cifar10(const std::filesystem::path& folder, Split split) {
  return read(folder, cifar10(), split);
}

Labeled read_cifar100(const std::filesystem::path& folder, Split split) {
  return read(folder, split == Split::Train ? cifar100_training() : cifar100_test(), split);
}

}  // namespace neap::data
