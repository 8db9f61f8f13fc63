// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "data/own_files.h"

#include "data/source.h"
#include "formats/csv.h"
#include "formats/npy.h"
#include "formats/picture.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <map>
#include <set>
#include <span>

namespace neap::data {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kTestEvery = 10;
constexpr std::int64_t kMostClasses = 65'536;

[[noreturn]] void refuse(const fs::path& file, const formats::FormatError& error) {
  throw DataError(file.string() + ": at byte " + std::to_string(error.offset) + ": " +
                  error.what());
}

bool is_of_test(std::int64_t sample) { return sample % kTestEvery == kTestEvery - 1; }

at::Tensor rows_of(const at::Tensor& all, bool test) {
  std::vector<std::int64_t> rows;
  for (std::int64_t i = 0; i < all.size(0); ++i) {
    if (is_of_test(i) == test) rows.push_back(i);
  }
  return all.index_select(0, at::tensor(rows, at::kLong));
}

void check_count(const fs::path& file, std::int64_t samples) {
  if (samples >= kTestEvery) return;
  throw DataError(file.string() + ": has " + std::to_string(samples) +
                  " samples; each tenth is for the test, so at least 10 are needed");
}

// ---------------------------------------------------------------- pictures

struct PictureFile {
  fs::path path;
  std::int64_t label;
};

formats::Picture read_picture(const fs::path& path) {
  Source source(path);
  const std::vector<unsigned char> bytes = source.read_rest();
  try {
    return formats::decode_picture(bytes);
  } catch (const formats::FormatError& error) {
    throw DataError(path.string() + ": " + error.what() + "; fetch it again, or remove it");
  }
}

std::string shape_text(std::int64_t channels, std::int64_t height, std::int64_t width) {
  return std::to_string(channels) + "x" + std::to_string(height) + "x" + std::to_string(width);
}

class PictureFiles final : public Dataset {
 public:
  PictureFiles(std::vector<PictureFile> files, std::vector<std::int64_t> shape, bool resizes)
      : files_(std::move(files)), shape_(std::move(shape)), resizes_(resizes) {}

  [[nodiscard]] std::int64_t size() const override {
    return static_cast<std::int64_t>(files_.size());
  }
  [[nodiscard]] Sample get(std::int64_t index) const override {
    const PictureFile& file = files_[static_cast<std::size_t>(index)];
    formats::Picture picture = read_picture(file.path);
    if (resizes_) {
      picture = formats::shaped(picture, shape_[0], shape_[1], shape_[2]);
    } else if (picture.channels != shape_[0] || picture.height != shape_[1] ||
               picture.width != shape_[2]) {
      throw DataError(file.path.string() + ": is " +
                      shape_text(picture.channels, picture.height, picture.width) +
                      ", and the first picture is " + shape_text(shape_[0], shape_[1], shape_[2]) +
                      "; name a shape for all: pictures:DIR:3x64x64");
    }
    at::Tensor x = at::empty(shape_, at::kFloat);
    float* const to = x.mutable_data_ptr<float>();
    constexpr float kMiddle = 127.5F;
    for (std::size_t i = 0; i < picture.pixels.size(); ++i) {
      to[i] = (static_cast<float>(picture.pixels[i]) - kMiddle) / kMiddle;
    }
    return {x, at::scalar_tensor(file.label, at::kLong)};
  }

 private:
  std::vector<PictureFile> files_;
  std::vector<std::int64_t> shape_;
  bool resizes_;
};

bool names_picture(const fs::path& path) {
  std::string end = path.extension().string();
  std::ranges::transform(end, end.begin(), [](unsigned char c) { return std::tolower(c); });
  return end == ".png" || end == ".jpg" || end == ".jpeg";
}

// The names of the folders in a folder, sorted; those that begin with a point are left out.
std::vector<std::string> folders_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    std::string name = entry.path().filename().string();
    if (entry.is_directory() && !name.starts_with('.')) names.push_back(std::move(name));
  }
  std::ranges::sort(names);
  return names;
}

std::vector<PictureFile> pictures_in(const fs::path& folder,
                                     const std::map<std::string, std::int64_t>& classes) {
  std::vector<PictureFile> files;
  for (const std::string& name : folders_in(folder)) {
    const auto label = classes.find(name);
    if (label == classes.end()) {
      throw DataError((folder / name).string() + ": no class of the training set has this name");
    }
    const std::size_t begin = files.size();
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder / name)) {
      if (entry.is_regular_file() && names_picture(entry.path())) {
        files.push_back({entry.path(), label->second});
      }
    }
    std::ranges::sort(files.begin() + static_cast<std::ptrdiff_t>(begin), files.end(), {},
                      &PictureFile::path);
  }
  return files;
}

// Absent: the user has made no test set.
std::optional<fs::path> test_folder(const fs::path& folder) {
  if (!fs::is_directory(folder / "train")) return std::nullopt;
  for (const char* const name : {"test", "val", "valid"}) {
    if (fs::is_directory(folder / name)) return folder / name;
  }
  return std::nullopt;
}

// ---------------------------------------------------------------- tables

// In the order of the rows, so that the bits do not depend on a number of threads.
void standardize(formats::Csv& csv) {
  const auto features = static_cast<std::size_t>(csv.features);
  const std::size_t rows = csv.labels.size();
  for (std::size_t feature = 0; feature < features; ++feature) {
    double sum = 0, squares = 0, count = 0;
    const auto value = [&](std::size_t row) -> float& {
      return csv.values[row * features + feature];
    };
    for (std::size_t row = 0; row < rows; ++row) {
      if (is_of_test(static_cast<std::int64_t>(row))) continue;
      sum += value(row);
      ++count;
    }
    const double mean = sum / count;
    for (std::size_t row = 0; row < rows; ++row) {
      if (is_of_test(static_cast<std::int64_t>(row))) continue;
      squares += (value(row) - mean) * (value(row) - mean);
    }
    const double deviation = squares > 0 ? std::sqrt(squares / count) : 1;
    for (std::size_t row = 0; row < rows; ++row) {
      value(row) = static_cast<float>((value(row) - mean) / deviation);
    }
  }
}

// The classes of labels, as (N,) int64, and how many there are.
std::pair<at::Tensor, std::int64_t> classes_of(const fs::path& file,
                                               const std::vector<std::string>& labels) {
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
  std::int64_t count = 0;
  if (numbers.size() == labels.size()) {
    count = *std::ranges::max_element(numbers) + 1;
  } else {
    const std::set<std::string> sorted(labels.begin(), labels.end());
    count = static_cast<std::int64_t>(sorted.size());
    if (count > kMostClasses) {
      throw DataError(file.string() + ": has " + std::to_string(count) +
                      " different labels; name the column of the classes, as csv:FILE:COLUMN");
    }
    numbers.clear();
    for (const std::string& label : labels) {
      numbers.push_back(std::distance(sorted.begin(), sorted.find(label)));
    }
  }
  return {at::tensor(numbers, at::kLong), count};
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
    refuse(file, error);
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

}  // namespace

Splits picture_folders(const fs::path& folder, std::vector<std::int64_t> shape) {
  expect_folder(folder, "a folder of pictures for each class");
  const std::optional<fs::path> test = test_folder(folder);
  const fs::path training = test ? folder / "train" : folder;
  std::map<std::string, std::int64_t> classes;
  for (const std::string& name : folders_in(training)) {
    classes.emplace(name, static_cast<std::int64_t>(classes.size()));
  }
  std::vector<PictureFile> files = pictures_in(training, classes), test_files;
  if (files.empty()) {
    throw DataError(training.string() +
                    ": has no .png, .jpg or .jpeg in a folder for each class, as cats/1.jpg");
  }
  if (test) {
    test_files = pictures_in(*test, classes);
    if (test_files.empty()) throw DataError(test->string() + ": has no pictures");
  } else {
    check_count(folder, static_cast<std::int64_t>(files.size()));
    std::vector<PictureFile> rest;
    for (std::size_t i = 0; i < files.size(); ++i) {
      (is_of_test(static_cast<std::int64_t>(i)) ? test_files : rest).push_back(files[i]);
    }
    files = std::move(rest);
  }
  const bool resizes = !shape.empty();
  if (!resizes) {
    const formats::Picture first = read_picture(files.front().path);
    shape = {first.channels, first.height, first.width};
  }
  Splits splits;
  splits.sample_shape = shape;
  splits.classes = static_cast<std::int64_t>(classes.size());
  splits.training = std::make_shared<PictureFiles>(std::move(files), shape, resizes);
  splits.test = std::make_shared<PictureFiles>(std::move(test_files), shape, resizes);
  return splits;
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
  const auto count = static_cast<std::int64_t>(csv.labels.size());
  check_count(file, count);
  standardize(csv);
  const at::Tensor x = at::tensor(csv.values, at::kFloat).view({count, csv.features});
  const auto [y, classes] = classes_of(file, csv.labels);
  Splits splits;
  splits.sample_shape = {csv.features};
  splits.classes = classes;
  splits.training = from_tensors({rows_of(x, /*test=*/false), rows_of(y, /*test=*/false)});
  splits.test = from_tensors({rows_of(x, /*test=*/true), rows_of(y, /*test=*/true)});
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
  check_count(x_file, x.size(0));
  const std::int64_t classes = y.max().item<std::int64_t>() + 1;
  if (x.scalar_type() == at::kByte && (x.dim() == 3 || x.dim() == 4)) {
    return labeled_pictures({rows_of(x, false), rows_of(y, false)},
                            {rows_of(x, true), rows_of(y, true)}, classes);
  }
  const at::Tensor numbers = x.to(at::kFloat);
  Splits splits;
  splits.sample_shape = x.sizes().slice(1).vec();
  splits.classes = classes;
  splits.training = from_tensors({rows_of(numbers, false), rows_of(y, false)});
  splits.test = from_tensors({rows_of(numbers, true), rows_of(y, true)});
  return splits;
}

}  // namespace neap::data
