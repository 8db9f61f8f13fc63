// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Texts as bytes, for a language model whose vocabulary is the 256 byte values.
#include "data/source.h"

#include <ATen/ops/empty.h>

#include <cstring>
#include <utility>

namespace neap::data {
namespace {

class TextWindows final : public Dataset {
 public:
  TextWindows(at::Tensor text, std::int64_t tokens) : text_(std::move(text)), tokens_(tokens) {}

  // The last byte is only a target.
  [[nodiscard]] std::int64_t size() const override { return (text_.size(0) - 1) / tokens_; }
  [[nodiscard]] Sample get(std::int64_t index) const override {
    return {window(index * tokens_), window(index * tokens_ + 1)};
  }

 private:
  [[nodiscard]] at::Tensor window(std::int64_t first) const {
    return text_.narrow(0, first, tokens_).to(at::kLong);
  }

  at::Tensor text_;
  std::int64_t tokens_;
};

}  // namespace

at::Tensor read_text(const std::filesystem::path& file) {
  Source source(file);
  const std::vector<unsigned char> content = source.read_rest();
  if (content.empty()) source.refuse(0, "is empty; name a text of at least one byte");
  at::Tensor text = at::empty({static_cast<std::int64_t>(content.size())}, at::kByte);
  std::memcpy(text.mutable_data_ptr(), content.data(), content.size());
  return text;
}

std::shared_ptr<Dataset> text_windows(at::Tensor text, std::int64_t tokens) {
  if (!text.defined() || text.dim() != 1 || text.scalar_type() != at::kByte) {
    throw InvalidArgument("text_windows: text must be (N,) uint8, as read_text() gives it");
  }
  if (tokens < 1) {
    throw InvalidArgument("text_windows: tokens is " + std::to_string(tokens) +
                          "; name a length of at least 1");
  }
  if (text.size(0) <= tokens) {
    throw InvalidArgument("text_windows: a window of " + std::to_string(tokens) +
                          " tokens and the one after need " + std::to_string(tokens + 1) +
                          " bytes, the text has " + std::to_string(text.size(0)) +
                          "; name a longer text or a shorter window");
  }
  return std::make_shared<TextWindows>(std::move(text), tokens);
}

std::filesystem::path fortunes_directory() {
  return package_folder("/usr/share/games/fortunes", "fortunes", "a text of your own");
}

}  // namespace neap::data
