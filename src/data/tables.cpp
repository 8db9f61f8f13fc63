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
#include <optional>
#include <set>
#include <string_view>
#include <utility>

namespace neap::data {
namespace {

namespace fs = std::filesystem;

// Mean and deviation of each feature, in the order of the rows, so that the bits do not depend on a
// number of threads.
ChannelScale scale_of(const formats::Csv& csv, const std::vector<std::int64_t>& training) {
  ChannelScale scale;
  const auto count = static_cast<double>(training.size());
  for (std::int64_t feature = 0; feature < csv.features; ++feature) {
    const auto value = [&](std::int64_t row) {
      return csv.values[static_cast<std::size_t>(row * csv.features + feature)];
    };
    double sum = 0, squares = 0;
    for (const std::int64_t row : training) sum += value(row);
    const double mean = sum / count;
    for (const std::int64_t row : training) squares += (value(row) - mean) * (value(row) - mean);
    scale.mean.push_back(mean);
    scale.deviation.push_back(squares > 0 ? std::sqrt(squares / count) : 1);
  }
  return scale;
}

void standardize(formats::Csv& csv, const ChannelScale& scale) {
  const auto features = static_cast<std::size_t>(csv.features);
  for (std::size_t i = 0; i < csv.values.size(); ++i) {
    csv.values[i] = (csv.values[i] - scale.mean[i % features]) / scale.deviation[i % features];
  }
}

struct Classes {
  std::vector<std::int64_t> numbers;  // one a row
  std::int64_t count = 0;
  std::vector<std::string> names;  // empty: the labels are numbers
};

// Nullopt: one of them is no number of a class.
std::optional<std::vector<std::int64_t>> as_numbers(const std::vector<std::string>& labels) {
  std::vector<std::int64_t> numbers;
  for (const std::string& label : labels) {
    std::int64_t number = -1;
    const auto [end, error] = std::from_chars(label.data(), label.data() + label.size(), number);
    if (error != std::errc() || end != label.data() + label.size() || number < 0 ||
        number >= kMostClasses) {
      return std::nullopt;
    }
    numbers.push_back(number);
  }
  return numbers;
}

// The classes of labels, by the names that there are.
Classes by_name(const fs::path& file, const std::vector<std::string>& labels,
                const OpenOptions& options) {
  Classes classes{.numbers = {},
                  .count = static_cast<std::int64_t>(options.class_names.size()),
                  .names = options.class_names};
  std::map<std::string_view, std::int64_t> known;
  for (const std::string& name : classes.names) {
    known.emplace(name, static_cast<std::int64_t>(known.size()));
  }
  for (std::size_t row = 0; row < labels.size(); ++row) {
    const auto found = known.find(labels[row]);
    if (found == known.end() && !options.whole) {
      throw DataError(file.string() + ": label " + std::to_string(row) + " is '" + labels[row] +
                      "', and no class of the training has this name; mend the label");
    }
    classes.numbers.push_back(found == known.end() ? kNoLabel : found->second);
  }
  return classes;
}

Classes classes_of(const fs::path& file, const std::vector<std::string>& labels,
                   const OpenOptions& options) {
  const std::optional<std::vector<std::int64_t>> numbers = as_numbers(labels);
  const bool are_named = !options.class_names.empty();
  if (are_named && (!numbers || !as_numbers(options.class_names))) {
    return by_name(file, labels, options);
  }
  const std::set<std::string> different(labels.begin(), labels.end());
  constexpr std::size_t kFew = 100;
  if (different.size() > std::max(kFew, labels.size() / 2)) {
    throw DataError(file.string() + ": has " + std::to_string(different.size()) +
                    " different labels in " + std::to_string(labels.size()) +
                    " rows; name the column of the classes, as csv:FILE:COLUMN");
  }
  if (numbers) return {*numbers, *std::ranges::max_element(*numbers) + 1, {}};
  Classes classes{.numbers = {},
                  .count = static_cast<std::int64_t>(different.size()),
                  .names = {different.begin(), different.end()}};
  for (const std::string& label : labels) {
    classes.numbers.push_back(std::distance(different.begin(), different.find(label)));
  }
  return classes;
}

}  // namespace

void expect_scale_of(std::int64_t features, const ChannelScale& scale, const fs::path& file) {
  const auto count = static_cast<std::size_t>(features);
  if (scale.mean.size() == count && scale.deviation.size() == count) return;
  throw InvalidArgument("a scale has " + std::to_string(scale.mean.size()) + " means and " +
                        std::to_string(scale.deviation.size()) + " deviations, and " +
                        file.string() + " has " + std::to_string(features) +
                        " features; give one of both for each, or leave it out");
}

Splits table(const fs::path& file, const std::string& label, const OpenOptions& options) {
  Source source(file);
  const std::vector<unsigned char> bytes = read_utf8(source, "", "save the table as UTF-8");
  formats::Csv csv;
  try {
    // As many columns as the training had features are features all.
    std::optional<std::int64_t> unlabeled;
    if (options.whole) {
      unlabeled = options.scale ? static_cast<std::int64_t>(options.scale->mean.size()) : 0;
    }
    csv = formats::parse_csv({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, label,
                             unlabeled);
  } catch (const formats::FormatError& error) {
    throw DataError(file.string() + ": " + error.what());
  }
  Classes classes = classes_of(file, csv.labels, options);
  Parts parts = parts_of(classes.numbers, file, options);
  Splits splits;
  splits.scale = options.scale.value_or(scale_of(csv, parts.training));
  if (options.whole && options.scale && label.empty() &&
      options.scale->mean.size() != static_cast<std::size_t>(csv.features)) {
    const std::size_t wanted = options.scale->mean.size();
    throw DataError(file.string() + ": has " + std::to_string(csv.features + 1) +
                    " columns, and the training had " + std::to_string(wanted) +
                    " features; give as many columns, or a column of labels beside them");
  }
  expect_scale_of(csv.features, *splits.scale, file);
  standardize(csv, *splits.scale);
  const at::Tensor x = at::tensor(csv.values, at::kDouble)
                           .view({static_cast<std::int64_t>(csv.labels.size()), csv.features})
                           .to(at::kFloat);
  const at::Tensor y = at::tensor(classes.numbers, at::kLong);
  splits.sample_shape = {csv.features};
  splits.columns = std::move(csv.names);
  splits.classes = classes.count;
  splits.class_names = std::move(classes.names);
  splits.training = from_tensors(rows_of({x, y}, parts.training));
  splits.test = from_tensors(rows_of({x, y}, parts.test));
  splits.test_rows = std::move(parts.test);
  return splits;
}

}  // namespace neap::data
