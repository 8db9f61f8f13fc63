// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// data/own_files.h: the user's own data: pictures in folders, tables, arrays, texts, and the sets
// of IDX and CIFAR, whole or in part. Where the user has made no test set, some samples of each
// class are for it.
#pragma once

#include <neap/data.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace neap::data {

// Labels that are numbers are below it.
inline constexpr std::int64_t kMostClasses = 65'536;
// Of a sample whose class is not known.
inline constexpr std::int64_t kNoLabel = -1;

// Which samples are for the test where there is no test set.
class TestShare {
 public:
  // nullopt: a tenth. Throws: InvalidArgument when it is not above 0 and below 100.
  explicit TestShare(std::optional<double> percent);
  // Whether the sample is taken; `number`: from 1, in its class. The first one never is.
  [[nodiscard]] bool takes(std::int64_t number) const { return of(number) > of(number - 1); }
  // Of so many.
  [[nodiscard]] std::int64_t of(std::int64_t count) const;
  // The smallest class of which one is taken.
  [[nodiscard]] std::int64_t smallest() const;
  // For people: "10 %".
  [[nodiscard]] std::string text() const;
  // Throws: InvalidArgument when a share was named. `where`: the test set that there is.
  void expect_not_named(const std::string& where) const;

 private:
  bool named_;
  double percent_;
  std::int64_t millionths_;  // whole, so that each machine takes the same samples
};

// Whether each sample is for the test: so many of its class; where that is none of any class, so
// many of all but the first of a class. So each class of the test is in the training set.
// Throws: DataError, with the file, when none is.
std::vector<bool> test_samples(const std::vector<std::int64_t>& labels,
                               const std::filesystem::path& file, const TestShare& share);
// The samples of each set, by their numbers in all the data.
struct Parts {
  std::vector<std::int64_t> training, test;
};
// By test_samples(), or all for both where the options say so. Throws: as test_samples().
Parts parts_of(const std::vector<std::int64_t>& labels, const std::filesystem::path& file,
               const OpenOptions& options);
// These rows of each tensor.
std::vector<at::Tensor> rows_of(const std::vector<at::Tensor>& all,
                                const std::vector<std::int64_t>& rows);

// PNG and JPEG in a folder a class, or in train/ with such folders, and test/ or val/. x is
// (C, H, W) float. `shape`: of x, to which pictures are resized; empty: the first one's,
// and all must have it.
// Throws, as all here: DataError for a file; InvalidArgument for options that do not fit.
Splits picture_folders(const std::filesystem::path& folder, std::vector<std::int64_t> shape,
                       const OpenOptions& options);

// x is (F,) float, with mean 0 and deviation 1 by the training set, or scaled as the options say, a
// feature as a channel. `label`: see formats/csv.h.
// Labels that are whole numbers from 0 to 65,535 are the classes; others are sorted as texts.
Splits table(const std::filesystem::path& file, const std::string& label,
             const OpenOptions& options);
// Throws: InvalidArgument unless the scale has one of both for each feature.
void expect_scale_of(std::int64_t features, const ChannelScale& scale,
                     const std::filesystem::path& file);

// x and y of two files of numpy.save, or of two tensors of a safetensors file. uint8 of (N, H, W)
// or (N, C, H, W) are pictures; other numbers of (N, ...) become float; (N, F) are scaled as the
// options say, a feature as a channel. Labels are whole numbers from 0 on.
Splits numpy_arrays(const std::filesystem::path& x, const std::filesystem::path& y,
                    const OpenOptions& options);
Splits safetensors_arrays(const std::filesystem::path& file, const std::string& x,
                          const std::string& y, const OpenOptions& options);

// `classes`: nullopt: found, as data::open() says.
Splits idx_folder(const std::filesystem::path& folder, std::optional<std::int64_t> classes,
                  const OpenOptions& options);
// CIFAR-10, or CIFAR-100 by its fine labels.
Splits cifar_folder(const std::filesystem::path& folder, bool hundred, const OpenOptions& options);

Splits text_file(const std::filesystem::path& file, const std::string& encoding,
                 const OpenOptions& options);

// Scaled as the options say, or normalized by the training set. `test`: nullopt: taken from the
// training samples, of `file`.
Splits labeled_pictures(Labeled training, std::optional<Labeled> test, std::int64_t classes,
                        const std::filesystem::path& file, const OpenOptions& options);

}  // namespace neap::data
