// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The binary version of CIFAR, as https://www.cs.toronto.edu/~kriz/cifar.html describes it:
//   file    := picture{count}          no header
//   picture := label{1} pixel{3072}    CIFAR-10, label 0 to 9
//            | coarse fine pixel{3072} CIFAR-100, coarse 0 to 19, fine 0 to 99
//   pixels: red, green, blue planes of 32 rows of 32 bytes
#include "data/own_files.h"
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

bool is_there(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

// Those of `names` that are in the folder, or are not.
std::vector<const char*> files_in(const std::filesystem::path& folder,
                                  const std::vector<const char*>& names, bool there) {
  std::vector<const char*> found;
  for (const char* const name : names) {
    if (is_there(folder / name) == there) found.push_back(name);
  }
  return found;
}

// The folder itself, or the subfolder that the archive was unpacked into.
std::filesystem::path find_folder(const std::filesystem::path& named, const Format& format,
                                  const std::vector<const char*>& names) {
  expect_folder(named, std::string("the .bin files of ") + format.name);
  const std::filesystem::path inner = named / format.folder;
  if (!files_in(named, names, true).empty() || files_in(inner, names, true).empty()) return named;
  return inner;
}

[[noreturn]] void refuse_missing(const std::filesystem::path& folder, const Format& format,
                                 const char* name) {
  const bool python = is_there(folder / format.python) || is_there(folder / "batches.meta") ||
                      is_there(folder / "meta");
  throw DataError(folder.string() + ": has no " + name +
                  (python ? ": this is the version for Python" : "") +
                  "; put the binary version of " + format.name + " there, or name another folder");
}

Labeled read_files(const std::filesystem::path& folder, const Format& format,
                   const std::vector<const char*>& names) {
  std::vector<at::Tensor> images, labels;
  for (const char* const name : names) {
    Labeled labeled = read_file(folder / name, format);
    images.push_back(std::move(labeled.images));
    labels.push_back(std::move(labeled.labels));
  }
  return {at::cat(images), at::cat(labels)};
}

Labeled read(const std::filesystem::path& named, const Format& format, Split split) {
  const std::vector<const char*>& names = split == Split::Train ? format.training : format.test;
  const std::filesystem::path folder = find_folder(named, format, names);
  const std::vector<const char*> missing = files_in(folder, names, false);
  if (!missing.empty()) refuse_missing(folder, format, missing.front());
  return read_files(folder, format, names);
}

}  // namespace

Labeled read_cifar10(const std::filesystem::path& folder, Split split) {
  return read(folder, cifar10(), split);
}

Labeled read_cifar100(const std::filesystem::path& folder, Split split) {
  return read(folder, split == Split::Train ? cifar100_training() : cifar100_test(), split);
}

Splits cifar_folder(const std::filesystem::path& named, bool hundred, const OpenOptions& options) {
  const TestShare share(options.test_percent);
  const Format& format = hundred ? cifar100_training() : cifar10();
  const std::filesystem::path folder = find_folder(named, format, format.training);
  const std::vector<const char*> there = files_in(folder, format.training, true);
  if (there.empty()) refuse_missing(folder, format, format.training.front());
  std::vector<const char*> missing = files_in(folder, format.training, false);
  Labeled training = read_files(folder, format, there);
  std::string note;
  if (!missing.empty()) {
    note = ": the training has " + std::to_string(training.images.size(0)) + " of " +
           std::to_string(format.pictures * static_cast<std::int64_t>(format.training.size())) +
           " pictures";
  }
  std::optional<Labeled> test;
  if (files_in(folder, format.test, false).empty()) {
    share.expect_not_named((folder / format.test.front()).string());
    test = read_files(folder, hundred ? cifar100_test() : format, format.test);
  } else {
    missing.push_back(format.test.front());
    note += (note.empty() ? ": " : ", and ") + share.text() + " of each class are the test set";
  }
  Splits splits = labeled_pictures(std::move(training), std::move(test),
                                   format.labels.back().classes, folder, options);
  if (missing.empty()) return splits;
  std::string names;
  for (const char* const name : missing) names += (names.empty() ? "" : ", ") + std::string(name);
  splits.notes.push_back(folder.string() + " lacks " + names + " of " + format.name + note);
  return splits;
}

}  // namespace neap::data
