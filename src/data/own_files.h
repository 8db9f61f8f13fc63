// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// data/own_files.h: the user's own data: pictures in folders, tables, arrays. Where the user has
// made no test set, each tenth sample of a class is for it.
#pragma once

#include <neap/data.h>

#include <filesystem>
#include <string>
#include <vector>

namespace neap::data {

// PNG and JPEG in a folder a class, or in train/ with such folders, and test/ or val/. x is
// (C, H, W) float, -1 to 1. `shape`: of x, to which pictures are resized; empty: the first one's,
// and all must have it.
// Throws: DataError.
Splits picture_folders(const std::filesystem::path& folder, std::vector<std::int64_t> shape);

// x is (F,) float, with mean 0 and deviation 1 by the training set. `label`: see formats/csv.h.
// Labels that are whole numbers from 0 to 65,535 are the classes; others are sorted as texts.
// Throws: DataError.
Splits table(const std::filesystem::path& file, const std::string& label);

// x and y of two files of numpy.save. uint8 of (N, H, W) or (N, C, H, W) are pictures, normalized
// by the training set; other numbers of (N, ...) become float. Labels are whole numbers from 0 on.
// Throws: DataError.
Splits arrays(const std::filesystem::path& x, const std::filesystem::path& y);

// Whether each sample is for the test: each tenth of its class; where no class has 10, each tenth
// of all but the first of a class. So each class of the test is in the training set.
// Throws: DataError, with the file, when none is.
std::vector<bool> test_samples(const std::vector<std::int64_t>& labels,
                               const std::filesystem::path& file);

// Normalized by the training set.
Splits labeled_pictures(Labeled training, Labeled test, std::int64_t classes);

}  // namespace neap::data
