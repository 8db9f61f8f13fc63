// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Which samples become the test set where the data has none.
#include "data/own_files.h"

#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <sstream>

namespace neap::data {
namespace {

constexpr double kTenth = 10;               // percent
constexpr std::int64_t kWhole = 1'000'000;  // millionths
constexpr double kMillionthsInAPercent = 1e4;

}  // namespace

TestShare::TestShare(std::optional<double> percent)
    : named_(percent.has_value()), percent_(percent.value_or(kTenth)), millionths_(0) {
  if (!(percent_ > 0 && percent_ < 100)) {
    throw InvalidArgument("a test share of " + text() + "; expected more than 0 % and less than " +
                          "100 % of the samples");
  }
  millionths_ =
      std::clamp<std::int64_t>(std::llround(percent_ * kMillionthsInAPercent), 1, kWhole - 1);
}

std::int64_t TestShare::of(std::int64_t count) const {
  // In two parts: `count` is below 2^37, but the product with a million could pass 2^63.
  return count / kWhole * millionths_ + count % kWhole * millionths_ / kWhole;
}

std::int64_t TestShare::smallest() const { return (kWhole + millionths_ - 1) / millionths_; }

std::string TestShare::text() const {
  std::ostringstream text;
  text << percent_ << " %";
  return text.str();
}

void TestShare::expect_not_named(const std::string& where) const {
  if (!named_) return;
  throw InvalidArgument("a test share of " + text() + ": " + where +
                        " is a test set already; leave the share out, or take that set away");
}

std::vector<bool> test_samples(const std::vector<std::int64_t>& labels,
                               const std::filesystem::path& file, const TestShare& share) {
  std::map<std::int64_t, std::int64_t> met;
  std::vector<bool> of_class, of_all;  // the second where no class has enough
  for (const std::int64_t label : labels) {
    const std::int64_t in_class = ++met[label];
    of_class.push_back(share.takes(in_class));
    of_all.push_back(share.takes(static_cast<std::int64_t>(of_class.size())) && in_class > 1);
  }
  const auto any = [](const std::vector<bool>& is_of_test) {
    return std::ranges::find(is_of_test, true) != is_of_test.end();
  };
  if (any(of_class)) return of_class;
  if (any(of_all)) return of_all;
  throw DataError(file.string() + ": has " + std::to_string(labels.size()) +
                  " samples, too few to keep " + share.text() + " for the test; at least " +
                  std::to_string(share.smallest()) + " are needed, and two of a class");
}

Parts parts_of(const std::vector<std::int64_t>& labels, const std::filesystem::path& file,
               const OpenOptions& options) {
  const TestShare share(options.test_percent);
  Parts parts;
  if (options.whole) {
    parts.training.resize(labels.size());
    std::iota(parts.training.begin(), parts.training.end(), std::int64_t{0});
    parts.test = parts.training;
    return parts;
  }
  const std::vector<bool> is_of_test = test_samples(labels, file, share);
  for (std::size_t i = 0; i < is_of_test.size(); ++i) {
    (is_of_test[i] ? parts.test : parts.training).push_back(static_cast<std::int64_t>(i));
  }
  return parts;
}

std::vector<at::Tensor> rows_of(const std::vector<at::Tensor>& all,
                                const std::vector<std::int64_t>& rows) {
  const at::Tensor index = at::tensor(rows, at::kLong);
  std::vector<at::Tensor> some;
  for (const at::Tensor& one : all) some.push_back(one.index_select(0, index));
  return some;
}

}  // namespace neap::data
