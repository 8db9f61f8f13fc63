// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Noise. std::mt19937_64 and std::seed_seq give the same numbers with every compiler, but the
// standard's distributions do not. So the numbers are made from the generator's bits here.
#include <neap/data.h>

#include <ATen/ops/empty.h>

#include <random>
#include <utility>

namespace neap::data {
namespace {

class Synthetic final : public Dataset {
 public:
  Synthetic(std::vector<std::int64_t> shape, std::int64_t classes, std::int64_t size,
            std::uint64_t seed)
      : shape_(std::move(shape)), classes_(classes), size_(size), seed_(seed) {}

  [[nodiscard]] std::int64_t size() const override { return size_; }
  [[nodiscard]] Sample get(std::int64_t index) const override {
    const auto number = static_cast<std::uint64_t>(index);
    std::seed_seq seeds{seed_ & 0xffffffffU, seed_ >> 32, number & 0xffffffffU, number >> 32};
    std::mt19937_64 random(seeds);
    at::Tensor x = at::empty(shape_, at::kFloat);
    at::Tensor y = at::empty({}, at::kLong);
    *y.mutable_data_ptr<std::int64_t>() =
        static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(classes_));
    auto* const to = x.mutable_data_ptr<float>();
    for (std::int64_t i = 0; i < x.numel(); ++i) {
      to[i] = static_cast<float>(random() >> 40) * 0x1p-23F - 1.0F;  // 24 bits: exact
    }
    return {std::move(x), std::move(y)};
  }

 private:
  std::vector<std::int64_t> shape_;
  std::int64_t classes_, size_;
  std::uint64_t seed_;
};

}  // namespace

std::shared_ptr<Dataset> synthetic(std::vector<std::int64_t> shape, std::int64_t classes,
                                   std::int64_t size, std::uint64_t seed) {
  const auto expect_positive = [](const char* what, std::int64_t value) {
    if (value < 1) {
      throw InvalidArgument(std::string("synthetic: ") + what + " is " + std::to_string(value) +
                            "; expected at least 1");
    }
  };
  for (const std::int64_t extent : shape) expect_positive("an extent of the shape", extent);
  expect_positive("classes", classes);
  expect_positive("size", size);
  return std::make_shared<Synthetic>(std::move(shape), classes, size, seed);
}

}  // namespace neap::data
