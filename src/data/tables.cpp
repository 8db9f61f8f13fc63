// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Tables and arrays of the user.
#include "data/own_files.h"
#include "data/source.h"
#include "formats/csv.h"
#include "formats/npy.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <map>
#include <set>
#include <utility>

namespace neap::data {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kMostClasses = 65'536;

std::vector<at::Tensor> rows_of(const std::vector<at::Tensor>& all,
                                const std::vector<bool>& is_of_test, bool test) {
  std::vector<std::int64_t> rows;
  for (std::size_t i = 0; i < is_of_test.size(); ++i) {
    if (is_of_test[i] == test) rows.push_back(static_cast<std::int64_t>(i));
  }
  const at::Tensor index = at::tensor(rows, at::kLong);
  std::vector<at::Tensor> some;
  for (const at::Tensor& one : all) some.push_back(one.index_select(0, index));
  return some;
}

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

// ---------------------------------------------------------------- arrays

at::ScalarType type_of(formats::Element element) {
  switch (element) {
    case formats::Element::Bool:
    case formats::Element::UInt8:
      return at::kByte;
    case formats::Element::Int8:
      return at::kChar;
    case formats::Element::Int16:
      return at::kShort;
    case formats::Element::Int32:
      return at::kInt;
    case formats::Element::Int64:
      return at::kLong;
    case formats::Element::Float32:
      return at::kFloat;
    case formats::Element::Float64:
      break;
  }
  return at::kDouble;
}

at::Tensor read_array(const fs::path& file) {
  Source source(file);
  const std::vector<unsigned char> bytes = source.read_rest();
  try {
    const formats::Npy npy = formats::parse_npy(bytes);
    at::Tensor array = at::empty(npy.shape, type_of(npy.element));
    if (!npy.items.empty()) {
      std::memcpy(array.mutable_data_ptr(), npy.items.data(), npy.items.size());
    }
    return array;
  } catch (const formats::FormatError& error) {
    throw DataError(file.string() + ": at byte " + std::to_string(error.offset) + ": " +
                    error.what());
  }
}

at::Tensor read_labels(const fs::path& file) {
  const at::Tensor labels = read_array(file);
  if (labels.dim() != 1 || labels.is_floating_point()) {
    throw DataError(file.string() + ": labels are one whole number a sample, of the shape (N,)");
  }
  const at::Tensor numbers = labels.to(at::kLong);
  const auto* const begin = numbers.const_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < numbers.size(0); ++i) {
    if (begin[i] >= 0 && begin[i] < kMostClasses) continue;
    throw DataError(file.string() + ": label " + std::to_string(i) + " is " +
                    std::to_string(begin[i]) + "; classes are whole numbers from 0 to " +
                    std::to_string(kMostClasses - 1));
  }
  return numbers;
}

// numpy's programs often have the channels last.
void check_channels(const fs::path& file, const at::Tensor& x) {
  const auto is_channels = [&](std::int64_t dim) { return x.size(dim) == 1 || x.size(dim) == 3; };
  if (x.dim() < 4 || is_channels(1) || !is_channels(3)) return;
  throw DataError(file.string() +
                  ": its pictures seem to be (N, H, W, C); save x.transpose(0, 3, 1, 2), which is "
                  "(N, C, H, W)");
}

void check_finite(const fs::path& file, const at::Tensor& numbers) {
  const auto* const begin = numbers.const_data_ptr<float>();
  for (std::int64_t i = 0; i < numbers.numel(); ++i) {
    if (std::isfinite(begin[i])) continue;
    throw DataError(file.string() + ": sample " +
                    std::to_string(i / (numbers.numel() / numbers.size(0))) +
                    " has a number that is not finite; fill or leave out such samples");
  }
}

}  // namespace

std::vector<bool> test_samples(const std::vector<std::int64_t>& labels, const fs::path& file) {
  constexpr std::int64_t kEvery = 10;
  std::map<std::int64_t, std::int64_t> met;
  std::vector<bool> of_class, of_all;  // the second where no class has 10
  for (const std::int64_t label : labels) {
    const std::int64_t in_class = ++met[label];
    of_class.push_back(in_class % kEvery == 0);
    of_all.push_back(of_class.size() % kEvery == 0 && in_class > 1);
  }
  const auto any = [](const std::vector<bool>& is_of_test) {
    return std::ranges::find(is_of_test, true) != is_of_test.end();
  };
  if (any(of_class)) return of_class;
  if (any(of_all)) return of_all;
  throw DataError(file.string() + ": has " + std::to_string(labels.size()) +
                  " samples, too few to keep a tenth for the test; at least 10 are needed, and "
                  "two of a class");
}

Splits table(const fs::path& file, const std::string& label) {
  Source source(file);
  const std::vector<unsigned char> bytes = source.read_rest();
  formats::Csv csv;
  try {
    csv = formats::parse_csv({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, label);
  } catch (const formats::FormatError& error) {
    throw DataError(file.string() + ": " + error.what());
  }
  const auto [labels, classes] = classes_of(file, csv.labels);
  const std::vector<bool> is_of_test = test_samples(labels, file);
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

Splits arrays(const fs::path& x_file, const fs::path& y_file) {
  const at::Tensor x = read_array(x_file), y = read_labels(y_file);
  if (x.dim() < 2 || x.size(0) != y.size(0)) {
    throw DataError(x_file.string() + ": has " + std::to_string(x.dim() == 0 ? 1 : x.size(0)) +
                    " samples of " + std::to_string(std::max<std::int64_t>(0, x.dim() - 1)) +
                    " dimensions, and " + y_file.string() + " " + std::to_string(y.size(0)) +
                    " labels; x is (N, ...) and y is (N,)");
  }
  if (x.numel() == 0) throw DataError(x_file.string() + ": has no numbers");
  const std::vector<std::int64_t> labels(y.const_data_ptr<std::int64_t>(),
                                         y.const_data_ptr<std::int64_t>() + y.size(0));
  const std::vector<bool> is_of_test = test_samples(labels, x_file);
  Splits splits;
  splits.classes = *std::ranges::max_element(labels) + 1;
  if (x.scalar_type() == at::kByte && (x.dim() == 3 || x.dim() == 4)) {
    check_channels(x_file, x);
    const auto training = rows_of({x, y}, is_of_test, /*test=*/false);
    const auto test = rows_of({x, y}, is_of_test, /*test=*/true);
    return labeled_pictures({training[0], training[1]}, {test[0], test[1]}, splits.classes);
  }
  const at::Tensor numbers = x.to(at::kFloat);
  check_finite(x_file, numbers);
  splits.sample_shape = x.sizes().slice(1).vec();
  splits.training = from_tensors(rows_of({numbers, y}, is_of_test, /*test=*/false));
  splits.test = from_tensors(rows_of({numbers, y}, is_of_test, /*test=*/true));
  return splits;
}

}  // namespace neap::data
