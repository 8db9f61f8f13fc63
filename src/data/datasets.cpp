// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Data sets from tensors, labeled pictures and functions.
#include "data/scale.h"

#include <neap/data.h>

#include <ATen/ops/empty.h>

#include <array>
#include <sstream>
#include <utility>

namespace neap::data {
namespace {

class Rows final : public Dataset {
 public:
  explicit Rows(std::vector<at::Tensor> tensors) : tensors_(std::move(tensors)) {}
  [[nodiscard]] std::int64_t size() const override { return tensors_[0].size(0); }
  [[nodiscard]] Sample get(std::int64_t index) const override {
    Sample sample;
    for (const at::Tensor& tensor : tensors_) sample.push_back(tensor.select(0, index));
    return sample;
  }

 private:
  std::vector<at::Tensor> tensors_;
};

class Function final : public Dataset {
 public:
  Function(std::int64_t size, std::function<Sample(std::int64_t)> get)
      : size_(size), get_(std::move(get)) {}
  [[nodiscard]] std::int64_t size() const override { return size_; }
  [[nodiscard]] Sample get(std::int64_t index) const override { return get_(index); }

 private:
  std::int64_t size_;
  std::function<Sample(std::int64_t)> get_;
};

std::string shape_of(const at::Tensor& tensor) {
  if (!tensor.defined()) return "an undefined tensor";
  std::ostringstream text;
  text << tensor.scalar_type() << ' ' << tensor.sizes();
  return text.str();
}

bool is_pictures(const at::Tensor& images) {
  return images.defined() && images.scalar_type() == at::kByte &&
         (images.dim() == 3 || images.dim() == 4) && images.numel() > 0;
}

std::int64_t channels_of(const at::Tensor& images) {
  return images.dim() == 4 ? images.size(1) : 1;
}

class Pictures final : public Dataset {
 public:
  Pictures(const Labeled& labeled, const Normalization& normalization)
      : images_(labeled.images.contiguous()),
        labels_(labeled.labels),
        shape_{channels_of(images_), images_.size(-2), images_.size(-1)} {
    for (std::size_t c = 0; c < normalization.mean.size(); ++c) {
      auto& table = tables_.emplace_back();
      for (std::size_t value = 0; value < table.size(); ++value) {
        table[value] = normalized(static_cast<float>(value), normalization, c);
      }
    }
  }

  [[nodiscard]] std::int64_t size() const override { return images_.size(0); }
  [[nodiscard]] Sample get(std::int64_t index) const override {
    at::Tensor x = at::empty(shape_, at::kFloat);
    auto* to = x.mutable_data_ptr<float>();
    const unsigned char* from = images_.const_data_ptr<unsigned char>() + index * x.numel();
    const std::int64_t plane = shape_[1] * shape_[2];
    for (const auto& table : tables_) {
      for (std::int64_t i = 0; i < plane; ++i) *to++ = table[*from++];
    }
    return {std::move(x), labels_.select(0, index)};
  }

 private:
  at::Tensor images_, labels_;
  std::array<std::int64_t, 3> shape_;
  // for each channel, the normalized form of each stored value
  std::vector<std::array<float, 256>> tables_;
};

}  // namespace

Dataset::~Dataset() = default;

std::shared_ptr<Dataset> from_tensors(std::vector<at::Tensor> tensors) {
  if (tensors.empty()) throw InvalidArgument("from_tensors: no tensor is given; name one or more");
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const at::Tensor& tensor = tensors[i];
    if (!tensor.defined() || tensor.dim() == 0 || tensor.size(0) == 0) {
      throw InvalidArgument("from_tensors: tensor " + std::to_string(i) + " is " +
                            shape_of(tensor) + "; expected one row a sample");
    }
    if (tensor.size(0) != tensors[0].size(0)) {
      throw InvalidArgument("from_tensors: tensor 0 has " + std::to_string(tensors[0].size(0)) +
                            " rows and tensor " + std::to_string(i) + " has " +
                            std::to_string(tensor.size(0)) + "; give one row a sample to each");
    }
    tensors[i] = tensor.detach();
  }
  return std::make_shared<Rows>(std::move(tensors));
}

std::shared_ptr<Dataset> from_function(std::int64_t size, std::function<Sample(std::int64_t)> get) {
  if (size < 1) {
    throw InvalidArgument("from_function: size is " + std::to_string(size) +
                          "; a data set has at least 1 sample");
  }
  if (!get) throw InvalidArgument("from_function: the function is empty; give one that loads");
  return std::make_shared<Function>(size, std::move(get));
}

Normalization Normalization::of(const at::Tensor& images) {
  if (!is_pictures(images)) {
    throw InvalidArgument("Normalization: the images are " + shape_of(images) +
                          "; expected (N, H, W) or (N, C, H, W) uint8, with N of at least 1");
  }
  const at::Tensor dense = images.contiguous();
  const std::int64_t channels = channels_of(dense);
  const std::int64_t plane = dense.size(-2) * dense.size(-1);
  ChannelSums sums(channels);
  const auto* at = dense.const_data_ptr<unsigned char>();
  for (std::int64_t i = 0; i < dense.size(0); ++i, at += channels * plane) sums.add(at, plane);
  return sums.normalization();
}

std::shared_ptr<Dataset> from_labeled(const Labeled& labeled, const Normalization& normalization) {
  if (!is_pictures(labeled.images) || !labeled.labels.defined() || labeled.labels.dim() != 1 ||
      labeled.labels.scalar_type() != at::kLong ||
      labeled.labels.size(0) != labeled.images.size(0)) {
    throw InvalidArgument("from_labeled: the images are " + shape_of(labeled.images) +
                          " and the labels " + shape_of(labeled.labels) +
                          "; expected (N, H, W) or (N, C, H, W) uint8 and (N,) int64");
  }
  const auto channels = static_cast<std::size_t>(channels_of(labeled.images));
  if (normalization.mean.size() != channels || normalization.deviation.size() != channels) {
    throw InvalidArgument("from_labeled: the images have " + std::to_string(channels) +
                          " channels, the normalization has " +
                          std::to_string(normalization.mean.size()) + " means and " +
                          std::to_string(normalization.deviation.size()) +
                          " deviations; take Normalization::of(images)");
  }
  for (const float deviation : normalization.deviation) {
    if (!(deviation > 0)) {
      throw InvalidArgument("from_labeled: a deviation is " + std::to_string(deviation) +
                            "; expected a number above 0, as Normalization::of(images) gives it");
    }
  }
  return std::make_shared<Pictures>(labeled, normalization);
}

}  // namespace neap::data
