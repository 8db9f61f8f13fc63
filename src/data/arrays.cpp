// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Arrays of the user: files of numpy.save, and tensors of a safetensors file.
#include "data/own_files.h"
#include "data/source.h"
#include "formats/npy.h"
#include "safetensors/safetensors.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <map>
#include <span>
#include <string_view>
#include <utility>

namespace neap::data {
namespace {

namespace fs = std::filesystem;

// An array, and where it is from, for messages.
struct Array {
  std::string name;
  at::Tensor items;
};

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

Array read_npy(const fs::path& file) {
  Source source(file);
  const std::vector<unsigned char> bytes = source.read_rest();
  try {
    const formats::Npy npy = formats::parse_npy(bytes);
    Array array{file.string(), at::empty(npy.shape, type_of(npy.element))};
    if (!npy.items.empty()) {
      std::memcpy(array.items.mutable_data_ptr(), npy.items.data(), npy.items.size());
    }
    return array;
  } catch (const formats::FormatError& error) {
    throw DataError(file.string() + ": at byte " + std::to_string(error.offset) + ": " +
                    error.what());
  }
}

std::string names_in(const safetensors::File& file) {
  constexpr std::size_t kMost = 8;
  std::string names;
  for (std::size_t i = 0; i < std::min(kMost, file.entries().size()); ++i) {
    names += (i == 0 ? "" : ", ") + file.entries()[i].name;
  }
  if (file.entries().size() > kMost) names += ", ...";
  return names.empty() ? "none" : names;
}

// Runs a step of the reader of safetensors, whose errors name the file already.
template <class Step>
auto of_file(Step step) {
  try {
    return step();
  } catch (const Error& error) {
    throw DataError(error.what());
  }
}

Array read_tensor(const safetensors::File& file, const std::string& name) {
  static const std::map<std::string_view, at::ScalarType> types = {
      {"BOOL", at::kByte}, {"U8", at::kByte},   {"I8", at::kChar},       {"I16", at::kShort},
      {"I32", at::kInt},   {"I64", at::kLong},  {"BF16", at::kBFloat16}, {"F16", at::kHalf},
      {"F32", at::kFloat}, {"F64", at::kDouble}};
  const safetensors::File::Entry* const entry = file.find(name);
  if (entry == nullptr) {
    throw DataError(file.path().string() + ": has no tensor " + name + "; it has " +
                    names_in(file) + ": name two of them, as safetensors:FILE:images:labels");
  }
  const auto type = types.find(entry->type);
  if (type == types.end()) {
    throw DataError(file.path().string() + ": tensor " + name + " at byte " +
                    std::to_string(entry->offset) + " is of the type " + entry->type +
                    "; save BOOL, U8, I8 to I64, F16, BF16, F32 or F64");
  }
  // LibTorch multiplies the extents for the strides, also where one is 0.
  std::int64_t items = 1;
  for (const std::int64_t extent : entry->shape) {
    if (__builtin_mul_overflow(items, std::max<std::int64_t>(1, extent), &items)) {
      throw DataError(file.path().string() + ": tensor " + name + " has a shape of more than 2^63");
    }
  }
  Array array{file.path().string() + ": " + name, at::empty(entry->shape, type->second)};
  if (entry->bytes > 0) {
    const std::span to(static_cast<std::byte*>(array.items.mutable_data_ptr()),
                       static_cast<std::size_t>(entry->bytes));
    of_file([&] { file.read(*entry, to); });
  }
  return array;
}

// As (N,) int64.
at::Tensor classes_of(const Array& array) {
  const at::Tensor& labels = array.items;
  if (labels.dim() != 1 || labels.is_floating_point()) {
    throw DataError(array.name + ": labels are one whole number a sample, of the shape (N,)");
  }
  const at::Tensor numbers = labels.to(at::kLong);
  const auto* const begin = numbers.const_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < numbers.size(0); ++i) {
    if (begin[i] >= 0 && begin[i] < kMostClasses) continue;
    throw DataError(array.name + ": label " + std::to_string(i) + " is " +
                    std::to_string(begin[i]) + "; classes are whole numbers from 0 to " +
                    std::to_string(kMostClasses - 1));
  }
  return numbers;
}

// numpy's programs often have the channels last.
void check_channels(const Array& array) {
  const at::Tensor& x = array.items;
  const auto is_channels = [&](std::int64_t dim) { return x.size(dim) == 1 || x.size(dim) == 3; };
  if (x.dim() < 4 || is_channels(1) || !is_channels(3)) return;
  throw DataError(array.name +
                  ": its pictures seem to be (N, H, W, C); save x.transpose(0, 3, 1, 2), which is "
                  "(N, C, H, W)");
}

void check_finite(const Array& array) {
  const at::Tensor& numbers = array.items;
  const auto* const begin = numbers.const_data_ptr<float>();
  for (std::int64_t i = 0; i < numbers.numel(); ++i) {
    if (std::isfinite(begin[i])) continue;
    throw DataError(array.name + ": sample " +
                    std::to_string(i / (numbers.numel() / numbers.size(0))) +
                    " has a number that is not finite; fill or leave out such samples");
  }
}

Splits arrays(const Array& x_array, const Array& y_array, const fs::path& file,
              const OpenOptions& options) {
  const at::Tensor& x = x_array.items;
  const at::Tensor y = classes_of(y_array);
  if (x.dim() < 2 || x.size(0) != y.size(0)) {
    throw DataError(x_array.name + ": has " + std::to_string(x.dim() == 0 ? 1 : x.size(0)) +
                    " samples of " + std::to_string(std::max<std::int64_t>(0, x.dim() - 1)) +
                    " dimensions, and " + y_array.name + " " + std::to_string(y.size(0)) +
                    " labels; x is (N, ...) and y is (N,)");
  }
  if (x.numel() == 0) throw DataError(x_array.name + ": has no numbers");
  const std::vector<std::int64_t> labels(y.const_data_ptr<std::int64_t>(),
                                         y.const_data_ptr<std::int64_t>() + y.size(0));
  const std::int64_t classes = *std::ranges::max_element(labels) + 1;
  if (x.scalar_type() == at::kByte && (x.dim() == 3 || x.dim() == 4)) {
    check_channels(x_array);
    return labeled_pictures({x, y}, std::nullopt, classes, file, options);
  }
  Parts parts = parts_of(labels, file, options);
  at::Tensor numbers = x.to(at::kFloat);
  check_finite({x_array.name, numbers});
  if (options.scale && x.dim() == 2) {  // features, as those of a table
    expect_scale_of(x.size(1), *options.scale, x_array.name);
    numbers = x.to(at::kDouble)
                  .sub(at::tensor(options.scale->mean, at::kDouble))
                  .div(at::tensor(options.scale->deviation, at::kDouble))
                  .to(at::kFloat);
  }
  Splits splits;
  splits.classes = classes;
  if (x.dim() == 2) splits.scale = options.scale;
  splits.sample_shape = x.sizes().slice(1).vec();
  splits.training = from_tensors(rows_of({numbers, y}, parts.training));
  splits.test = from_tensors(rows_of({numbers, y}, parts.test));
  splits.test_rows = std::move(parts.test);
  return splits;
}

}  // namespace

Splits numpy_arrays(const fs::path& x, const fs::path& y, const OpenOptions& options) {
  const Array samples = read_npy(x);  // before the labels: so it is the first to be refused
  return arrays(samples, read_npy(y), x, options);
}

Splits safetensors_arrays(const fs::path& file, const std::string& x, const std::string& y,
                          const OpenOptions& options) {
  const safetensors::File tensors = of_file([&] { return safetensors::File(file); });
  const Array samples = read_tensor(tensors, x);
  return arrays(samples, read_tensor(tensors, y), file, options);
}

}  // namespace neap::data
