// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "base/stable_hash.h"
#include "safetensors/safetensors.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstring>
#include <set>

namespace neap::safetensors {
namespace {

constexpr std::size_t kAlignment = 8;  // of the elements in the file

std::string shown(const Tensor& tensor) {
  std::string text = tensor.name + ", " + tensor.type + " (";
  for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(tensor.shape[i]);
  }
  return text + ")";
}

void check(const Tensor& tensor) {
  std::int64_t expected = item_bytes(tensor.type);
  if (expected == 0) {
    throw InvalidArgument(shown(tensor) + ": safetensors has no such type; save another one");
  }
  for (const std::int64_t extent : tensor.shape) expected *= extent;
  const auto bytes = static_cast<std::int64_t>(tensor.bytes.size());
  if (bytes != expected) {
    throw InvalidArgument(shown(tensor) + " has " + std::to_string(expected) +
                          " bytes; given are " + std::to_string(bytes));
  }
}

// The 8 bytes before it and the header, which ends at a multiple of kAlignment.
std::string header_of(const std::vector<Tensor>& tensors, const Metadata& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::size_t offset = 0;
  for (const Tensor& tensor : tensors) {
    header[tensor.name] = {{"dtype", tensor.type},
                           {"shape", tensor.shape},
                           {"data_offsets", {offset, offset + tensor.bytes.size()}}};
    offset += tensor.bytes.size();
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const nlohmann::json::exception& wrong) {
    throw InvalidArgument(std::string("a name of a tensor is no UTF-8 text: ") + wrong.what() +
                          "; give it another one");
  }
  text.resize((text.size() + kAlignment - 1) / kAlignment * kAlignment, ' ');
  const std::uint64_t length = text.size();
  std::string all(sizeof length, '\0');
  std::memcpy(all.data(), &length, sizeof length);
  return all + text;
}

}  // namespace

Written write(const std::filesystem::path& path, std::vector<Tensor> tensors,
              const Metadata& metadata, OutputFile::Access access) {
  std::set<std::string_view> names = {"__metadata__"};
  for (const Tensor& tensor : tensors) {
    check(tensor);
    if (!names.insert(tensor.name).second) {
      throw InvalidArgument("two tensors are called " + tensor.name + "; names must differ");
    }
  }
  // So each tensor begins at a multiple of its element's size.
  std::ranges::stable_sort(tensors, std::greater(),
                           [](const Tensor& one) { return item_bytes(one.type); });
  Written written;
  const std::string header = header_of(tensors, metadata);
  OutputFile file(path, access);
  RunningHash hash;
  const auto append = [&](std::string_view bytes) {
    file.append(bytes);
    hash.update(bytes.data(), bytes.size());
    written.bytes += static_cast<std::int64_t>(bytes.size());
  };
  append(header);
  for (const Tensor& tensor : tensors) {
    append({reinterpret_cast<const char*>(tensor.bytes.data()), tensor.bytes.size()});
    written.tensors[tensor.name] = stable_hash(tensor.bytes.data(), tensor.bytes.size());
  }
  file.finish();
  written.hash = hash.value();
  return written;
}

}  // namespace neap::safetensors
