// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Texts as bytes, for a language model whose vocabulary is the 256 byte values.
#include "data/own_files.h"
#include "data/source.h"
#include "formats/encoding.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace neap::data {
namespace {

constexpr std::int64_t kWindow = 256;
constexpr std::int64_t kByteValues = 256;

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

std::vector<unsigned char> read_utf8(Source& source, const std::string& encoding,
                                     const std::string& advice) {
  try {
    return formats::utf8_of(source.read_rest(), encoding);
  } catch (const formats::FormatError& error) {
    source.refuse(error.offset, error.what() + ("; " + advice));
  }
}

at::Tensor read_text(const std::filesystem::path& file, const std::string& encoding) {
  if (!encoding.empty() && !formats::knows_encoding(encoding)) {
    throw InvalidArgument("read_text: iconv knows no encoding '" + encoding +
                          "'; name one of those that `iconv -l` shows");
  }
  Source source(file);
  const std::vector<unsigned char> content =
      read_utf8(source, encoding, "mend the text, or name its encoding, as text:FILE:ISO-8859-1");
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

Splits text_file(const std::filesystem::path& file, const std::string& encoding,
                 const OpenOptions& options) {
  const TestShare share(options.test_percent);
  const at::Tensor bytes = read_text(file, encoding);
  const std::int64_t size = bytes.size(0);
  const std::int64_t window = options.window.value_or(kWindow);
  const std::int64_t least = window + 1;
  if (size < 2 * least) {
    throw DataError(file.string() + ": has " + std::to_string(size) +
                    " bytes; training and test need a window of " + std::to_string(window) +
                    " bytes and the one after each, so at least " + std::to_string(2 * least) +
                    ": name a longer text" + (options.window ? ", or a shorter window" : ""));
  }
  const std::int64_t test = std::clamp(share.of(size), least, size - least);
  Splits splits;
  splits.training = text_windows(bytes.slice(0, 0, size - test), window);
  splits.test = text_windows(bytes.slice(0, size - test), window);
  splits.sample_shape = {window};
  splits.classes = kByteValues;
  splits.vocabulary = kByteValues;
  return splits;
}

std::filesystem::path fortunes_directory() {
  return package_folder("/usr/share/games/fortunes", "fortunes", "a text of your own");
}

}  // namespace neap::data
