// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The names of data sets on a command line:
//   spec   := "fashion-mnist" | DIR | "cifar10:" DIR | "cifar100:" DIR | "text:" FILE
//           | "pictures:" DIR [":" number "x" number "x" number] | "csv:" FILE [":" COLUMN]
//           | "npy:" FILE "," FILE
//           | "synthetic:" number {"x" number} ":" number [":" number]
//   number := a decimal number of at least 1
// The words before a colon take precedence: a folder of that name has to be written as ./cifar10:x.
#include "data/own_files.h"
#include "data/source.h"

#include <algorithm>
#include <charconv>
#include <string_view>
#include <utility>

namespace neap::data {
namespace {

constexpr const char* kForms =
    "fashion-mnist | DIR (IDX files) | pictures:DIR[:3x64x64] | csv:FILE[:COLUMN] | npy:X,Y | "
    "cifar10:DIR | cifar100:DIR | text:FILE | synthetic:3x224x224:1000[:COUNT]";
constexpr std::int64_t kTextWindow = 256;
constexpr std::int64_t kBytes = 256;
constexpr std::int64_t kSyntheticSamples = 1024;
constexpr std::int64_t kTestShare = 10;  // a tenth

class Spec {
 public:
  explicit Spec(const std::string& text) : text_(text) {}

  // Consumes `word` when it is next.
  bool take(std::string_view word) {
    if (std::string_view(text_).substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }
  std::filesystem::path rest(const char* what) {
    if (done()) refuse(std::string("expected ") + what);
    return text_.substr(at_);
  }
  std::int64_t number(const char* what, std::int64_t most) {
    std::int64_t value = 0;
    const char* const begin = text_.data() + at_;
    const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), value);
    if (error != std::errc() || value < 1 || value > most) {
      refuse(std::string("expected ") + what + ", 1 to " + std::to_string(most));
    }
    at_ += static_cast<std::size_t>(end - begin);
    return value;
  }
  [[nodiscard]] bool done() const { return at_ == text_.size(); }
  [[noreturn]] void refuse(const std::string& what) const {
    throw InvalidArgument("data \"" + text_ + "\": at position " + std::to_string(at_) + ": " +
                          what + "; accepted are " + kForms);
  }

 private:
  const std::string& text_;
  std::size_t at_ = 0;
};

Splits idx(const std::filesystem::path& folder) {
  const std::int64_t classes = classes_of_idx(folder);
  Labeled training = read_labeled(folder, Split::Train, classes);
  Labeled test = read_labeled(folder, Split::Test, classes);
  return labeled_pictures(std::move(training), std::move(test), classes);
}

Splits cifar(const std::filesystem::path& folder,
             Labeled (*read)(const std::filesystem::path&, Split), std::int64_t classes) {
  Labeled training = read(folder, Split::Train);
  Labeled test = read(folder, Split::Test);
  return labeled_pictures(std::move(training), std::move(test), classes);
}

Splits text(const std::filesystem::path& file) {
  const at::Tensor bytes = read_text(file);
  const std::int64_t least = kTextWindow + 1;
  if (bytes.size(0) < 2 * least) {
    throw DataError(file.string() + ": has " + std::to_string(bytes.size(0)) +
                    " bytes; training and test need a window of " + std::to_string(kTextWindow) +
                    " bytes and the one after each, so at least " + std::to_string(2 * least) +
                    ": name a longer text");
  }
  const std::int64_t test = std::max(least, bytes.size(0) / kTestShare);
  Splits splits;
  splits.training = text_windows(bytes.slice(0, 0, bytes.size(0) - test), kTextWindow);
  splits.test = text_windows(bytes.slice(0, bytes.size(0) - test), kTextWindow);
  splits.sample_shape = {kTextWindow};
  splits.classes = kBytes;
  splits.vocabulary = kBytes;
  return splits;
}

Splits noise(Spec& spec) {
  Splits splits;
  std::int64_t left = kMostBytes / static_cast<std::int64_t>(sizeof(float));
  do {
    splits.sample_shape.push_back(spec.number("an extent of the shape", left));
    left /= splits.sample_shape.back();
  } while (spec.take("x"));
  if (!spec.take(":")) spec.refuse("expected x and an extent, or : and the number of classes");
  constexpr std::int64_t kMost = std::int64_t{1} << 31;
  splits.classes = spec.number("the number of classes", kMost);
  std::int64_t samples = kSyntheticSamples;
  if (spec.take(":")) samples = spec.number("the number of samples", kMost);
  if (!spec.done()) spec.refuse("expected the end");
  splits.training = synthetic(splits.sample_shape, splits.classes, samples, /*seed=*/0);
  splits.test = synthetic(splits.sample_shape, splits.classes,
                          std::max<std::int64_t>(1, samples / kTestShare), /*seed=*/1);
  return splits;
}

bool exists(const std::string& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

// The extents of `3x64x64`; empty: the text is none.
std::vector<std::int64_t> shape_of(const std::string& text) {
  constexpr std::int64_t kMostExtent = 1 << 16;
  std::vector<std::int64_t> shape;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (true) {
    std::int64_t extent = 0;
    const auto [stop, error] = std::from_chars(at, end, extent);
    if (error != std::errc() || extent < 1 || extent > kMostExtent) return {};
    shape.push_back(extent);
    if (stop == end) return shape;
    if (*stop != 'x') return {};
    at = stop + 1;
  }
}

// A folder, and a shape where one follows the last colon. A folder's name may have a colon.
Splits folders_of_pictures(Spec& spec) {
  const std::string text = spec.rest("a folder").string();
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos || exists(text)) return picture_folders(text, {});
  const std::vector<std::int64_t> shape = shape_of(text.substr(colon + 1));
  if (shape.size() != 3 || (shape[0] != 1 && shape[0] != 3)) {
    spec.refuse("expected a shape such as 3x64x64, with 1 or 3 channels, after the last colon");
  }
  return picture_folders(text.substr(0, colon), shape);
}

Splits csv(Spec& spec) {
  const std::string text = spec.rest("a file").string();
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos || exists(text)) return table(text, "");
  if (colon + 1 == text.size()) spec.refuse("expected a column after the last colon");
  return table(text.substr(0, colon), text.substr(colon + 1));
}

Splits npy(Spec& spec) {
  const std::string text = spec.rest("two files").string();
  const std::size_t comma = text.find(',');
  if (comma == std::string::npos) spec.refuse("expected two files with a comma between, x and y");
  return arrays(text.substr(0, comma), text.substr(comma + 1));
}

}  // namespace

Splits labeled_pictures(Labeled training, Labeled test, std::int64_t classes) {
  const at::IntArrayRef sizes = training.images.sizes();
  if (sizes.slice(1) != test.images.sizes().slice(1)) {
    throw DataError("the training pictures are " + std::to_string(sizes[sizes.size() - 2]) + " x " +
                    std::to_string(sizes.back()) + " and the test pictures " +
                    std::to_string(test.images.size(-2)) + " x " +
                    std::to_string(test.images.size(-1)) +
                    "; they belong to different sets: fetch both again");
  }
  Splits splits;
  splits.sample_shape = sizes.slice(1).vec();
  if (sizes.size() == 3) splits.sample_shape.insert(splits.sample_shape.begin(), 1);
  splits.classes = classes;
  const Normalization normalization = Normalization::of(training.images);
  splits.training = from_labeled(std::move(training), normalization);
  splits.test = from_labeled(std::move(test), normalization);
  return splits;
}

Splits open(const std::string& text_of_spec) {
  Spec spec(text_of_spec);
  if (text_of_spec == "fashion-mnist") return idx(fashion_mnist_directory());
  if (spec.take("cifar10:")) return cifar(spec.rest("a folder"), &read_cifar10, 10);
  if (spec.take("cifar100:")) return cifar(spec.rest("a folder"), &read_cifar100, 100);
  if (spec.take("pictures:")) return folders_of_pictures(spec);
  if (spec.take("csv:")) return csv(spec);
  if (spec.take("npy:")) return npy(spec);
  if (spec.take("text:")) return text(spec.rest("a file"));
  if (spec.take("synthetic:")) return noise(spec);
  std::error_code error;
  if (std::filesystem::is_directory(text_of_spec, error)) return idx(text_of_spec);
  spec.refuse("neither a folder nor a kind of data");
}

}  // namespace neap::data
