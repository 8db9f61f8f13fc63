// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The names of data sets on a command line:
//   spec   := "fashion-mnist" | DIR | "idx:" DIR [":" number] | "cifar10:" DIR | "cifar100:" DIR
//           | "pictures:" DIR [":" number "x" number "x" number] | "csv:" FILE [":" COLUMN]
//           | "npy:" FILE "," FILE | "safetensors:" FILE [":" NAME ":" NAME]
//           | "text:" FILE [":" ENCODING]
//           | "synthetic:" number {"x" number} ":" number [":" number]
//   number := a decimal number of at least 1
// The words before a colon take precedence: a folder of that name has to be written as ./cifar10:x.
#include "data/own_files.h"
#include "data/scale.h"
#include "data/source.h"
#include "formats/encoding.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>
#include <utility>

namespace neap::data {
namespace {

constexpr const char* kForms =
    "fashion-mnist | DIR or idx:DIR[:CLASSES] (IDX files) | pictures:DIR[:3x64x64] | "
    "csv:FILE[:COLUMN] | npy:X,Y | safetensors:FILE[:X:Y] | cifar10:DIR | cifar100:DIR | "
    "text:FILE[:ENCODING] | synthetic:3x224x224:1000[:COUNT]";
constexpr std::int64_t kSyntheticSamples = 1024;
constexpr std::int64_t kTestPart = 10;  // a tenth

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

Splits noise(Spec& spec, const OpenOptions& options) {
  TestShare(options.test_percent).expect_not_named("the noise of another seed");
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
                          std::max<std::int64_t>(1, samples / kTestPart), /*seed=*/1);
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

// A name, and what follows its last colon: a name may have colons, so one that exists is whole.
struct Suffixed {
  std::string name;
  std::optional<std::string> suffix;
};
Suffixed split_at_colon(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos || exists(text)) return {text, std::nullopt};
  return {text.substr(0, colon), text.substr(colon + 1)};
}

Splits folder_of_idx(Spec& spec, const OpenOptions& options) {
  const auto [folder, suffix] = split_at_colon(spec.rest("a folder").string());
  if (!suffix) return idx_folder(folder, std::nullopt, options);
  constexpr std::int64_t kMostLabels = 256;
  std::int64_t classes = 0;
  const char* const end = suffix->data() + suffix->size();
  const auto [stop, error] = std::from_chars(suffix->data(), end, classes);
  if (error != std::errc() || stop != end || classes < 1 || classes > kMostLabels) {
    spec.refuse("expected the number of classes, 1 to 256, after the last colon");
  }
  return idx_folder(folder, classes, options);
}

Splits folders_of_pictures(Spec& spec, const OpenOptions& options) {
  const auto [folder, suffix] = split_at_colon(spec.rest("a folder").string());
  if (!suffix) return picture_folders(folder, {}, options);
  const std::vector<std::int64_t> shape = shape_of(*suffix);
  if (shape.size() != 3 || (shape[0] != 1 && shape[0] != 3)) {
    spec.refuse("expected a shape such as 3x64x64, with 1 or 3 channels, after the last colon");
  }
  return picture_folders(folder, shape, options);
}

Splits csv(Spec& spec, const OpenOptions& options) {
  const auto [file, suffix] = split_at_colon(spec.rest("a file").string());
  if (suffix && suffix->empty()) spec.refuse("expected a column after the last colon");
  return table(file, suffix.value_or(""), options);
}

Splits npy(Spec& spec, const OpenOptions& options) {
  const std::string text = spec.rest("two files").string();
  const std::size_t comma = text.find(',');
  if (comma == std::string::npos) spec.refuse("expected two files with a comma between, x and y");
  return numpy_arrays(text.substr(0, comma), text.substr(comma + 1), options);
}

Splits named_tensors(Spec& spec, const OpenOptions& options) {
  const std::string text = spec.rest("a file").string();
  const auto [before, y] = split_at_colon(text);
  if (!y) return safetensors_arrays(text, "x", "y", options);
  const auto [file, x] = split_at_colon(before);
  if (!x || x->empty() || y->empty()) {
    spec.refuse("expected the names of two tensors behind the file, as FILE:images:labels");
  }
  return safetensors_arrays(file, *x, *y, options);
}

Splits text(Spec& spec, const OpenOptions& options) {
  const std::string whole = spec.rest("a file").string();
  const auto [file, encoding] = split_at_colon(whole);
  if (!encoding || !exists(file)) return text_file(whole, "", options);
  if (!formats::knows_encoding(*encoding)) {
    spec.refuse("expected an encoding that iconv knows, as ISO-8859-1, after the last colon");
  }
  return text_file(file, *encoding, options);
}

Splits of_kind(const std::string& text_of_spec, const OpenOptions& options) {
  Spec spec(text_of_spec);
  if (text_of_spec == "fashion-mnist") {
    return idx_folder(fashion_mnist_directory(), std::nullopt, options);
  }
  for (const auto& [word, hundred] : {std::pair("cifar10:", false), std::pair("cifar100:", true)}) {
    if (spec.take(word)) return cifar_folder(spec.rest("a folder"), hundred, options);
  }
  if (spec.take("idx:")) return folder_of_idx(spec, options);
  if (spec.take("pictures:")) return folders_of_pictures(spec, options);
  if (spec.take("csv:")) return csv(spec, options);
  if (spec.take("npy:")) return npy(spec, options);
  if (spec.take("safetensors:")) return named_tensors(spec, options);
  if (spec.take("text:")) return text(spec, options);
  if (spec.take("synthetic:")) return noise(spec, options);
  std::error_code error;
  if (std::filesystem::is_directory(text_of_spec, error)) {
    return idx_folder(text_of_spec, std::nullopt, options);
  }
  spec.refuse("neither a folder nor a kind of data");
}

// What was read as floats, with the scale that was asked for.
void scale(Splits& splits, const std::string& spec, const OpenOptions& options) {
  constexpr std::size_t kPicture = 3;
  if (options.scale && splits.vocabulary == 0 && splits.sample_shape.size() == 1 &&
      splits.sample_shape[0] == static_cast<std::int64_t>(options.scale->mean.size())) {
    splits.scale = options.scale;  // of features; noise stays as it is
    return;
  }
  if (splits.sample_shape.size() != kPicture) {
    throw InvalidArgument("data \"" + spec + "\": a scale is for pictures, and these samples are " +
                          (splits.vocabulary > 0 ? "texts" : "no (C, H, W)") + "; leave it out");
  }
  splits.scale = options.scale ? *options.scale : ChannelScale::of(*splits.training);
  splits.training = scaled(std::move(splits.training), *splits.scale);
  splits.test = scaled(std::move(splits.test), *splits.scale);
}

}  // namespace

Splits labeled_pictures(Labeled training, std::optional<Labeled> test, std::int64_t classes,
                        const std::filesystem::path& file, const OpenOptions& options) {
  Parts parts;
  if (!test) {
    const auto* const label = training.labels.const_data_ptr<std::int64_t>();
    parts = parts_of({label, label + training.labels.size(0)}, file, options);
    const std::vector<at::Tensor> all{training.images, training.labels};
    const std::vector<at::Tensor> rows = rows_of(all, parts.training);
    const std::vector<at::Tensor> test_rows = rows_of(all, parts.test);
    training = {rows[0], rows[1]};
    test = {test_rows[0], test_rows[1]};
  }
  const at::IntArrayRef sizes = training.images.sizes();
  if (sizes.slice(1) != test->images.sizes().slice(1)) {
    throw DataError("the training pictures are " + std::to_string(sizes[sizes.size() - 2]) + " x " +
                    std::to_string(sizes.back()) + " and the test pictures " +
                    std::to_string(test->images.size(-2)) + " x " +
                    std::to_string(test->images.size(-1)) +
                    "; they belong to different sets: fetch both again");
  }
  Splits splits;
  splits.sample_shape = sizes.slice(1).vec();
  if (sizes.size() == 3) splits.sample_shape.insert(splits.sample_shape.begin(), 1);
  splits.classes = classes;
  splits.test_rows = std::move(parts.test);
  splits.scale = options.scale ? *options.scale : of_bytes(Normalization::of(training.images));
  const Normalization normalization = for_bytes(*splits.scale, splits.sample_shape[0]);
  splits.training = from_labeled(std::move(training), normalization);
  splits.test = from_labeled(*std::move(test), normalization);
  return splits;
}

Splits open(const std::string& spec, const OpenOptions& options) {
  (void)TestShare(options.test_percent);
  if (options.scale && options.find_scale) {
    throw InvalidArgument("data::open: a scale is given and is to be found; take one of the two");
  }
  constexpr std::int64_t kMostWindow = std::int64_t{1} << 40;
  if (options.window && (*options.window < 1 || *options.window > kMostWindow)) {
    throw InvalidArgument("data::open: a window of " + std::to_string(*options.window) +
                          " bytes; name 1 to 2^40");
  }
  Splits splits = of_kind(spec, options);
  if (options.window && splits.vocabulary == 0) {
    throw InvalidArgument("data \"" + spec +
                          "\": a window is for texts, and these samples are none; leave it out");
  }
  if (!splits.scale && (options.scale || options.find_scale)) scale(splits, spec, options);
  // Other data may have fewer of the classes.
  if (splits.vocabulary == 0) {
    splits.classes =
        std::max(splits.classes, static_cast<std::int64_t>(options.class_names.size()));
    if (splits.class_names.empty() &&
        splits.classes == static_cast<std::int64_t>(options.class_names.size())) {
      splits.class_names = options.class_names;
    }
  }
  return splits;
}

}  // namespace neap::data
