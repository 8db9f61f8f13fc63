// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "base/stable_hash.h"
#include "machine/input.h"
#include "safetensors/safetensors.h"

#include <neap/base.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <optional>
#include <set>
#include <system_error>

namespace neap::safetensors {
namespace {

using Json = nlohmann::json;

constexpr std::int64_t kLengthBytes = 8;
constexpr std::int64_t kMostHeaderBytes = 100'000'000;  // the format's own limit

// Null: no JSON, or an object with a name that stands twice, of which the parser would drop one.
std::optional<Json> parse(std::string_view text) {
  std::vector<std::set<std::string>> names;
  bool twice = false;
  const auto see = [&](int /*depth*/, Json::parse_event_t event, Json& value) {
    if (event == Json::parse_event_t::object_start) names.emplace_back();
    if (event == Json::parse_event_t::object_end) names.pop_back();
    if (event == Json::parse_event_t::key) {
      twice = twice || !names.back().insert(value.get<std::string>()).second;
    }
    return true;
  };
  Json json = Json::parse(text, see, /*allow_exceptions=*/false);
  if (json.is_discarded() || twice) return std::nullopt;
  return json;
}

bool is_count(const Json& value) {
  return value.is_number_unsigned() &&
         value.get<std::uint64_t>() <=
             static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
}

bool are_counts(const Json& value) {
  return value.is_array() && std::ranges::all_of(value, is_count);
}

// Nullopt: more than 2^63.
std::optional<std::int64_t> product(std::int64_t bytes, const std::vector<std::int64_t>& shape) {
  for (const std::int64_t extent : shape) {
    if (__builtin_mul_overflow(bytes, extent, &bytes)) return std::nullopt;
  }
  return bytes;
}

// What is wrong with the description of a tensor; empty: nothing.
std::string fill(File::Entry& entry, const Json& value, std::int64_t start) {
  if (!value.is_object() || !value.contains("dtype") || !value["dtype"].is_string() ||
      !value.contains("shape") || !are_counts(value["shape"]) || !value.contains("data_offsets") ||
      !are_counts(value["data_offsets"]) || value["data_offsets"].size() != 2) {
    return "expected dtype, shape and data_offsets";
  }
  entry.type = value["dtype"].get<std::string>();
  entry.shape = value["shape"].get<std::vector<std::int64_t>>();
  const auto offsets = value["data_offsets"].get<std::array<std::int64_t, 2>>();
  const std::int64_t item = item_bytes(entry.type);
  if (item == 0) return "its type " + entry.type + " is none of the format";
  const std::optional<std::int64_t> bytes = product(item, entry.shape);
  if (offsets[1] < offsets[0] || bytes != offsets[1] - offsets[0]) {
    return "its offsets " + std::to_string(offsets[0]) + " to " + std::to_string(offsets[1]) +
           " do not have the bytes of its type and shape";
  }
  std::int64_t end = 0;
  if (__builtin_add_overflow(start, offsets[1], &end)) return "its offset is too large";
  entry.offset = start + offsets[0];
  entry.bytes = *bytes;
  return {};
}

}  // namespace

File::File(std::filesystem::path path) : path_(std::move(path)) {
  const machine::Opened opened = machine::open_to_read(path_);
  if (!opened.why.empty()) machine::refuse_opening(path_, opened);
  descriptor_ = opened.descriptor;
  try {
    read_header();
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

File::~File() { ::close(descriptor_); }

void File::read_header() {
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0) {
    throw machine::Unreadable(path_.string() +
                              " cannot be read: " + std::generic_category().message(errno) +
                              "; check the disk, or take another copy of it");
  }
  if (!S_ISREG(status.st_mode)) throw Error(path_.string() + " is no regular file; name one");
  bytes_ = status.st_size;
  std::uint64_t length = 0;
  if (bytes_ < kLengthBytes) refuse(0, "expected 8 bytes with the length of a header");
  read_at(0, std::as_writable_bytes(std::span(&length, 1)));
  if (length > static_cast<std::uint64_t>(std::min(kMostHeaderBytes, bytes_ - kLengthBytes))) {
    refuse(0, "the header should have " + std::to_string(length) + " bytes, and the file has " +
                  std::to_string(bytes_ - kLengthBytes) + " after this number");
  }
  std::string text(length, '\0');
  read_at(kLengthBytes, std::as_writable_bytes(std::span(text)));
  const std::optional<Json> header = parse(text);
  if (!header || !header->is_object()) {
    refuse(kLengthBytes, "expected a header of one JSON object, in which no name stands twice");
  }
  const std::int64_t start = kLengthBytes + static_cast<std::int64_t>(length);
  for (const auto& [name, value] : header->items()) {
    if (name == "__metadata__") {
      const auto is_text = [](const Json& one) { return one.is_string(); };
      if (!value.is_object() || !std::ranges::all_of(value, is_text)) {
        refuse(kLengthBytes, "__metadata__ has something else than texts");
      }
      metadata_ = value.get<Metadata>();
      continue;
    }
    Entry& entry = entries_.emplace_back(Entry{.name = name});
    const std::string wrong = fill(entry, value, start);
    if (!wrong.empty()) refuse(kLengthBytes, name + ": " + wrong);
  }
  // Else two tensors could share bytes, or a part of the file belong to none.
  std::vector<const Entry*> by_offset;
  for (const Entry& entry : entries_) by_offset.push_back(&entry);
  std::ranges::sort(by_offset, {},
                    [](const Entry* one) { return std::pair(one->offset, one->bytes); });
  std::int64_t at = start;
  for (const Entry* const entry : by_offset) {
    if (entry->offset != at) {
      refuse(at,
             entry->name + " should begin here, and begins at " + std::to_string(entry->offset));
    }
    at += entry->bytes;
  }
  if (at != bytes_) {
    refuse(std::min(at, bytes_), "the tensors end at byte " + std::to_string(at) +
                                     ", and the file has " + std::to_string(bytes_));
  }
}

const File::Entry* File::find(std::string_view name) const {
  const auto found = std::ranges::lower_bound(
      entries_, name, {}, [](const Entry& one) { return std::string_view(one.name); });
  return found != entries_.end() && found->name == name ? &*found : nullptr;
}

void File::read(const Entry& entry, std::span<std::byte> to) const { read_at(entry.offset, to); }

std::uint64_t File::hash() const {
  RunningHash hash;
  std::vector<std::byte> part(std::size_t{1} << 20);
  for (std::int64_t at = 0; at < bytes_;) {
    const std::span some(part.data(), std::min(part.size(), static_cast<std::size_t>(bytes_ - at)));
    read_at(at, some);
    hash.update(some.data(), some.size());
    at += static_cast<std::int64_t>(some.size());
  }
  return hash.value();
}

void File::read_at(std::int64_t offset, std::span<std::byte> to) const {
  while (!to.empty()) {
    const ssize_t got = ::pread(descriptor_, to.data(), to.size(), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      throw machine::Unreadable(
          path_.string() + " cannot be read at byte " + std::to_string(offset) + ": " +
          std::generic_category().message(errno) + "; check the disk, or take another copy of it");
    }
    if (got == 0)
      refuse(offset, "the file ends here, and had " + std::to_string(bytes_) + " bytes");
    to = to.subspan(static_cast<std::size_t>(got));
    offset += got;
  }
}

void File::refuse(std::int64_t offset, const std::string& what) const {
  throw Error(path_.string() + " is no whole safetensors file: at byte " + std::to_string(offset) +
              ", " + what + "; take another copy of it");
}

}  // namespace neap::safetensors
