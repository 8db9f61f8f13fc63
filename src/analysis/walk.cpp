// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "analysis/walk.h"

#include <utility>

namespace neap::analysis {
namespace {

std::string text_of(const Sizes& sizes) {
  std::string text;
  for (const std::int64_t extent : sizes) {
    if (!text.empty()) text += ", ";
    text += std::to_string(extent);
  }
  return "(" + text + ")";
}

}  // namespace

Walk::Walk(Sizes input, std::int64_t item_bytes, Kernels kernels)
    : sizes_(std::move(input)), item_bytes_(item_bytes), kernels_(kernels) {
  storages_.push_back({elements() * item_bytes});
}

std::int64_t Walk::elements() const {
  std::int64_t count = 1;
  for (const std::int64_t extent : sizes_) count *= extent;
  return count;
}

void Walk::enter(const std::string& name, bool learns, std::int64_t item_bytes) {
  item_bytes_ = item_bytes;
  layers_.push_back({name, learns || has_gradient_, has_gradient_, current_, current_});
  for (const std::int64_t skip : skips_) layers_.back().skipped += skip;
}

void Walk::leave() {
  layers_.back().output = current_;
  has_gradient_ = layers_.back().needs_gradient;
}

void Walk::end() {
  layers_.push_back({"", has_gradient_, has_gradient_, current_, current_});
  keep();
  // As cross entropy: the gradient of what it keeps, in addition to that of the output.
  hold_elements(elements());
}

void Walk::keep() { keep_storage(current_); }

void Walk::keep_bytes(std::int64_t bytes) {
  storages_.push_back({bytes});
  keep_storage(storages_.size() - 1);
}

void Walk::make(Sizes sizes) {
  sizes_ = std::move(sizes);
  storages_.push_back({elements() * item_bytes_});
  current_ = storages_.size() - 1;
}

void Walk::begin_skip(std::int64_t times) { skips_.push_back(times * elements() * item_bytes_); }
void Walk::end_skip() { skips_.pop_back(); }

void Walk::return_to(const Place& place) {
  sizes_ = place.sizes;
  current_ = place.storage;
  has_gradient_ = place.has_gradient;
}

void Walk::assume(Sizes sizes, const std::string& why) {
  assumptions_.push_back(layers_.back().name + ": " + why + "; got " + text_of(sizes_) + ", took " +
                         text_of(sizes));
  make(std::move(sizes));
  layers_.back().input = current_;
}

void Walk::keep_storage(std::size_t index) {
  Storage& storage = storages_[index];
  if (index == kInput || storage.first_keeper >= 0 || !layers_.back().needs_gradient) return;
  storage.first_keeper = static_cast<int>(layers_.size()) - 1;
}

}  // namespace neap::analysis
