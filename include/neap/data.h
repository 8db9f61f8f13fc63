// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/data.h: labeled pictures from IDX files, the format of MNIST and its kin.
//
//   const auto folder = neap::data::fashion_mnist_directory();
//   const neap::data::Labeled training = neap::data::read_labeled(folder, neap::data::Split::Train);
//   std::cout << training.images.sizes() << '\n';  // [60000, 28, 28]
//
// Guarantees: a file is read whole or refused; a damaged, shortened or mixed-up one never crashes the program and
// never takes more memory than the file has content, whatever its header says.
// N: pictures, H, W: height and width. Units: bytes. Threads: any; no shared state.
#pragma once

#include <neap/base.h>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <string>

namespace neap::data {

// A file that cannot be used: its path, the offset in what it holds (unpacked), what was expected, what to do.
class NEAP_EXPORT DataError : public Error {
 public:
  explicit DataError(const std::string& text);
  ~DataError() override;
};

struct Labeled {
  at::Tensor images;  // (N, H, W) uint8
  at::Tensor labels;  // (N,) int64, each in [0, classes)
};

enum class Split { Train, Test };

// Reads the two files of one split from a folder: train-images-idx3-ubyte and train-labels-idx1-ubyte, or t10k-..., plain or
// with .gz; a plain one comes first.
// Throws: DataError when one is missing or damaged, or when their counts differ.
NEAP_EXPORT Labeled read_labeled(const std::filesystem::path& folder, Split split,
                                 std::int64_t classes = 10);

// Returns (N, H, W) uint8. Plain or gzip, by content.
NEAP_EXPORT at::Tensor read_idx_images(const std::filesystem::path& file);
// Returns (N,) int64. Throws: DataError also for a label outside of [0, classes).
NEAP_EXPORT at::Tensor read_idx_labels(const std::filesystem::path& file, std::int64_t classes);

// Where the package dataset-fashion-mnist of Debian keeps its files.
// Throws: DataError, with what to install, when it is not there.
NEAP_EXPORT std::filesystem::path fashion_mnist_directory();

}  // namespace neap::data
