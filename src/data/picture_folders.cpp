// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// PNG and JPEG in a folder a class.
#include "data/own_files.h"
#include "data/scale.h"
#include "data/source.h"
#include "formats/picture.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/scalar_tensor.h>

#include <algorithm>
#include <cctype>
#include <fstream>
#include <initializer_list>
#include <map>
#include <optional>
#include <utility>

namespace neap::data {
namespace {

namespace fs = std::filesystem;

struct PictureFile {
  fs::path path;
  std::int64_t label;
};

// Larger files are no pictures. Unlike other data, they are not unpacked: small ones could become
// large.
constexpr std::uintmax_t kMostPictureBytes = std::uintmax_t{256} << 20;

formats::Picture read_picture(const fs::path& path) {
  std::error_code error;
  const std::uintmax_t size = fs::file_size(path, error);
  if (!error && size > kMostPictureBytes) {
    throw DataError(path.string() + ": has " + std::to_string(size) +
                    " bytes, more than a picture of 256 MiB; remove it");
  }
  std::ifstream file(path, std::ios::binary);
  std::vector<unsigned char> bytes(error ? 0 : static_cast<std::size_t>(size));
  file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  if (error || !file) throw DataError(path.string() + ": cannot be read; is it yours to read?");
  try {
    return formats::decode_picture(bytes);
  } catch (const formats::FormatError& refusal) {
    throw DataError(path.string() + ": " + refusal.what() + "; mend or remove it");
  }
}

std::string shape_text(std::int64_t channels, std::int64_t height, std::int64_t width) {
  return std::to_string(channels) + "x" + std::to_string(height) + "x" + std::to_string(width);
}

// The shape that all pictures have, or are resized to.
struct Shape {
  std::vector<std::int64_t> extents;  // C, H, W
  bool resizes = false;
};

formats::Picture read_shaped(const fs::path& path, const Shape& shape) {
  formats::Picture picture = read_picture(path);
  const std::vector<std::int64_t>& want = shape.extents;
  if (shape.resizes) return formats::shaped(picture, want[0], want[1], want[2]);
  if (picture.channels != want[0] || picture.height != want[1] || picture.width != want[2]) {
    throw DataError(path.string() + ": is " +
                    shape_text(picture.channels, picture.height, picture.width) +
                    ", and the first picture is " + shape_text(want[0], want[1], want[2]) +
                    "; name a shape for all: pictures:DIR:3x64x64");
  }
  return picture;
}

Normalization found_in(const std::vector<PictureFile>& files, const Shape& shape) {
  ChannelSums sums(shape.extents[0]);
  for (const PictureFile& file : files) {
    sums.add(read_shaped(file.path, shape).pixels.data(), shape.extents[1] * shape.extents[2]);
  }
  return sums.normalization();
}

class PictureFiles final : public Dataset {
 public:
  PictureFiles(std::vector<PictureFile> files, Shape shape, Normalization by)
      : files_(std::move(files)), shape_(std::move(shape)), by_(std::move(by)) {}

  [[nodiscard]] std::int64_t size() const override {
    return static_cast<std::int64_t>(files_.size());
  }
  [[nodiscard]] Sample get(std::int64_t index) const override {
    const PictureFile& file = files_[static_cast<std::size_t>(index)];
    const formats::Picture picture = read_shaped(file.path, shape_);
    at::Tensor x = at::empty(shape_.extents, at::kFloat);
    const unsigned char* from = picture.pixels.data();
    float* to = x.mutable_data_ptr<float>();
    const std::int64_t plane = shape_.extents[1] * shape_.extents[2];
    for (std::size_t c = 0; c < by_.mean.size(); ++c) {
      for (std::int64_t i = 0; i < plane; ++i) {
        *to++ = normalized(static_cast<float>(*from++), by_, c);
      }
    }
    return {x, at::scalar_tensor(file.label, at::kLong)};
  }

 private:
  std::vector<PictureFile> files_;
  Shape shape_;
  Normalization by_;
};

bool names_picture(const fs::path& path) {
  std::string end = path.extension().string();
  std::ranges::transform(end, end.begin(), [](unsigned char c) { return std::tolower(c); });
  return end == ".png" || end == ".jpg" || end == ".jpeg";
}

bool is_hidden(const fs::path& path) { return path.filename().string().starts_with('.'); }

// The names of the folders in a folder, sorted, without hidden ones.
std::vector<std::string> folders_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (entry.is_directory() && !is_hidden(entry.path())) {
      names.push_back(entry.path().filename().string());
    }
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
    for (fs::recursive_directory_iterator it(folder / name), end; it != end; ++it) {
      if (is_hidden(it->path())) {
        it.disable_recursion_pending();
      } else if (it->is_regular_file() && names_picture(it->path())) {
        files.push_back({it->path(), label->second});
      }
    }
    std::ranges::sort(files.begin() + static_cast<std::ptrdiff_t>(begin), files.end(), {},
                      &PictureFile::path);
  }
  return files;
}

// Those in the folder itself, which tells no class.
std::vector<PictureFile> unlabeled_in(const fs::path& folder) {
  std::vector<PictureFile> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (entry.is_regular_file() && !is_hidden(entry.path()) && names_picture(entry.path())) {
      files.push_back({entry.path(), kNoLabel});
    }
  }
  std::ranges::sort(files, {}, &PictureFile::path);
  return files;
}

// The first of these folders that exists.
std::optional<fs::path> folder_named(const fs::path& folder,
                                     std::initializer_list<const char*> names) {
  for (const char* const name : names) {
    if (fs::is_directory(folder / name)) return folder / name;
  }
  return std::nullopt;
}

// Throws: also std::filesystem::filesystem_error.
Splits open_folders(const fs::path& folder, std::vector<std::int64_t> extents,
                    const OpenOptions& options) {
  const TestShare share(options.test_percent);
  const std::optional<fs::path> training = folder_named(folder, {"train", "training"});
  std::optional<fs::path> test;
  if (training) test = folder_named(folder, {"test", "testing", "val", "valid", "validation"});
  const fs::path root = training.value_or(folder);
  const std::vector<std::string> names =
      options.class_names.empty() ? folders_in(root) : options.class_names;
  std::map<std::string, std::int64_t> classes;
  for (const std::string& name : names) {
    classes.emplace(name, static_cast<std::int64_t>(classes.size()));
  }
  std::vector<PictureFile> files = pictures_in(root, classes), test_files;
  std::vector<std::int64_t> test_rows;
  if (options.whole && !test) {
    for (PictureFile& file : unlabeled_in(root)) files.push_back(std::move(file));
  }
  if (files.empty() && options.whole && !options.class_names.empty()) {
    throw DataError(root.string() +
                    ": has no .png, .jpg or .jpeg, neither in it nor in folders of classes");
  }
  if (files.empty() || classes.size() < 2) {
    throw DataError(root.string() +
                    ": has no .png, .jpg or .jpeg in folders for two classes or more, as "
                    "cats/1.jpg and dogs/1.jpg");
  }
  if (test) {
    share.expect_not_named(test->string());
    test_files = pictures_in(*test, classes);
    if (test_files.empty()) throw DataError(test->string() + ": has no pictures");
  } else {
    std::vector<std::int64_t> labels;
    for (const PictureFile& file : files) labels.push_back(file.label);
    Parts parts = parts_of(labels, folder, options);
    const auto these = [&](const std::vector<std::int64_t>& rows) {
      std::vector<PictureFile> some;
      for (const std::int64_t row : rows) some.push_back(files[static_cast<std::size_t>(row)]);
      return some;
    };
    test_files = these(parts.test);
    files = these(parts.training);
    test_rows = std::move(parts.test);
  }
  Shape shape{.extents = std::move(extents), .resizes = false};
  shape.resizes = !shape.extents.empty();
  if (!shape.resizes) {
    const formats::Picture first = read_picture(files.front().path);
    shape.extents = {first.channels, first.height, first.width};
  }
  Splits splits;
  splits.sample_shape = shape.extents;
  splits.classes = static_cast<std::int64_t>(classes.size());
  splits.class_names = names;
  for (const PictureFile& file : test_files) splits.test_files.push_back(file.path);
  splits.test_rows = std::move(test_rows);
  constexpr double kHalf = 0.5;  // -1 to 1
  splits.scale = options.scale.value_or(ChannelScale{.mean = {kHalf}, .deviation = {kHalf}});
  if (options.find_scale) splits.scale = of_bytes(found_in(files, shape));
  const Normalization by = for_bytes(*splits.scale, shape.extents[0]);
  splits.training = std::make_shared<PictureFiles>(std::move(files), shape, by);
  splits.test = std::make_shared<PictureFiles>(std::move(test_files), shape, by);
  return splits;
}

}  // namespace

Splits picture_folders(const fs::path& folder, std::vector<std::int64_t> shape,
                       const OpenOptions& options) {
  expect_folder(folder, "a folder of pictures for each class");
  try {
    return open_folders(folder, std::move(shape), options);
  } catch (const fs::filesystem_error& error) {
    throw DataError(error.path1().string() + ": " + error.code().message() +
                    "; a folder of pictures must be readable, and have no link to itself");
  }
}

}  // namespace neap::data
