// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Tables of the user.
#include "data/own_files.h"
#include "data/source.h"
#include "formats/csv.h"

#include <ATen/ops/tensor.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <set>
#include <utility>

namespace neap::data {
namespace {

namespace fs = std::filesystem;

// In the order of the rows, so that the bits do not depend on a number of threads.
void standardize(formats::Csv& csv, const std::vector<bool>& is_of_test) {
  const auto features = static_cast<std::size_t>(csv.features);
  const std::size_t rows = csv.labels.size();
  for (std::size_t feature = 0; feature < features; ++feature) {
    double sum = 0, squares = 0, count = 0;
    const auto value = [&](std::size_t row) -> double& {
      return csv.values[row * features + feature];
    };
    for (std::size_t row = 0; row < rows; ++row) {
      if (is_of_test[row]) continue;
      sum += value(row);
      ++count;
    }
    const double mean = sum / count;
    for (std::size_t row = 0; row < rows; ++row) {
      if (is_of_test[row]) continue;
      squares += (value(row) - mean) * (value(row) - mean);
    }
    const double deviation = squares > 0 ? std::sqrt(squares / count) : 1;
    for (std::size_t row = 0; row < rows; ++row) {
      value(row) = (value(row) - mean) / deviation;
    }
  }
}

// The classes of labels, as (N,) int64, and how many there are.
std::pair<std::vector<std::int64_t>, std::int64_t> classes_of(
    const fs::path& file, const std::vector<std::string>& labels) {
  std::vector<std::int64_t> numbers;
  for (const std::string& label : labels) {
    std::int64_t number = -1;
    const auto [end, error] = std::from_chars(label.data(), label.data() + label.size(), number);
    if (error != std::errc() || end != label.data() + label.size() || number < 0 ||
        number >= kMostClasses) {
      break;
    }
    numbers.push_back(number);
  }
  const std::set<std::string> different(labels.begin(), labels.end());
  constexpr std::size_t kFew = 100;
  if (different.size() > std::max(kFew, labels.size() / 2)) {
    throw DataError(file.string() + ": has " + std::to_string(different.size()) +
                    " different labels in " + std::to_string(labels.size()) +
                    " rows; name the column of the classes, as csv:FILE:COLUMN");
  }
  std::int64_t count = 0;
  if (numbers.size() == labels.size()) {
    count = *std::ranges::max_element(numbers) + 1;
  } else {
    count = static_cast<std::int64_t>(different.size());
    numbers.clear();
    for (const std::string& label : labels) {
      numbers.push_back(std::distance(different.begin(), different.find(label)));
    }
  }
  return {numbers, count};
}

}  // namespace

Splits table(const fs::path& file, const std::string& label, const OpenOptions& options) {
  Source source(file);
  const std::vector<unsigned char> bytes = read_utf8(source, "", "save the table as UTF-8");
  formats::Csv csv;
  try {
    csv = formats::parse_csv({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, label);
  } catch (const formats::FormatError& error) {
    throw DataError(file.string() + ": " + error.what());
  }
  const auto [labels, classes] = classes_of(file, csv.labels);
  const std::vector<bool> is_of_test = test_samples(labels, file, TestShare(options.test_percent));
  standardize(csv, is_of_test);
  const at::Tensor x = at::tensor(csv.values, at::kDouble)
                           .view({static_cast<std::int64_t>(labels.size()), csv.features})
                           .to(at::kFloat);
  const at::Tensor y = at::tensor(labels, at::kLong);
  Splits splits;
  splits.sample_shape = {csv.features};
  splits.classes = classes;
  splits.training = from_tensors(rows_of({x, y}, is_of_test, /*test=*/false));
  splits.test = from_tensors(rows_of({x, y}, is_of_test, /*test=*/true));
  return splits;
}

}  // namespace neap::data
