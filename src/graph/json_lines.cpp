// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "graph/json_lines.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <ostream>
#include <unordered_set>
#include <utility>

namespace neap::graph {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kChunkBytes = std::size_t{1} << 16;
constexpr int kMostNesting = 32;
constexpr std::size_t kHashDigits = 16;

std::string quoted(std::string_view text) { return '"' + std::string(text) + '"'; }

// Untrusted text, made fit for a terminal and for one line.
std::string printable(std::string_view text, std::size_t most) {
  std::string out(text.substr(0, most));
  std::ranges::replace_if(
      out, [](char c) { return c < ' ' || c > '~'; }, '?');
  if (text.size() > most) out += "...";
  return out;
}

std::string described(const Json& value) {
  if (value.is_array()) return "a list";
  if (value.is_object()) return "an object";
  return printable(value.dump(-1, ' ', /*ensure_ascii=*/true), 60);
}

std::string listed(std::span<const std::string_view> names) {
  std::string text;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i > 0) text += i + 1 < names.size() ? ", " : " or ";
    text += quoted(names[i]);
  }
  return text;
}

std::string up_to(std::int64_t most) {
  return "a whole number from 0 to " + std::to_string(most) + ", without point or exponent";
}

std::optional<std::int64_t> whole_number(const Json& value, std::int64_t most) {
  if (!value.is_number_integer()) return {};
  // The parser stores 2^63 and more as unsigned. Numbers above 2^64 - 1 are not integers to it.
  if (value.is_number_unsigned() ? value.get<std::uint64_t>() > static_cast<std::uint64_t>(most)
                                 : value.get<std::int64_t>() < 0) {
    return {};
  }
  return value.get<std::int64_t>();
}

// The parser's message, without its prefix and its position.
std::string reason_of(const Json::exception& error) {
  std::string_view text = error.what();
  if (const std::size_t at = text.find("] "); at != std::string_view::npos) {
    text.remove_prefix(at + 2);
  }
  if (text.starts_with("parse error")) text.remove_prefix(std::min(text.find(": "), text.size()));
  if (text.starts_with(": ")) text.remove_prefix(2);
  return printable(text, 160);
}

}  // namespace

// ---------------------------------------------------------------- lines

JsonLines::JsonLines(std::unique_ptr<Input> input, std::string name)
    : input_(std::move(input)), name_(std::move(name)), object_(std::make_unique<Json>()) {}

JsonLines::~JsonLines() = default;

std::optional<JsonObject> JsonLines::next() {
  const std::optional<std::string_view> text = next_text();
  if (!text) return {};
  parse(*text);
  return JsonObject(*object_, *this);
}

JsonObject JsonLines::head(std::span<const std::string_view> keys, std::int64_t newest) {
  const std::optional<JsonObject> first = next();
  const std::string expected = "the head, {" + quoted(keys[0]) + ":1, ...}";
  if (!first) refuse_end(expected);
  if (!first->has(keys[0])) refuse("expected " + expected + "; is this another kind of file?");
  static_cast<void>(first->kind(keys));
  const std::int64_t version = first->number(keys[0]);
  if (version < 1 || version > newest) {
    refuse("version " + std::to_string(version) + " is not known, expected 1" +
           (newest > 1 ? " to " + std::to_string(newest) : "") +
           "; read it with the neap that wrote it");
  }
  return *first;
}

std::optional<std::string_view> JsonLines::next_text() {
  ++line_;
  std::size_t searched = start_;
  for (;;) {
    const std::size_t end = std::min(buffer_.find('\n', searched), buffer_.size());
    if (end - start_ > kMostLineBytes) {
      refuse("is longer than 1 MiB (1048576 bytes), which no line may be");
    }
    if (end < buffer_.size()) {
      const std::size_t start = std::exchange(start_, end + 1);
      return std::string_view(buffer_).substr(start, end - start);
    }
    buffer_.erase(0, std::exchange(start_, 0));
    searched = buffer_.size();
    if (read_more()) continue;
    if (buffer_.empty()) {
      --line_;
      return {};
    }
    // The last line may lack its "\n".
    start_ = buffer_.size();
    return buffer_;
  }
}

// False at the end.
bool JsonLines::read_more() {
  if (ended_) return false;
  const std::size_t old = buffer_.size();
  buffer_.resize(old + kChunkBytes);
  const Input::Chunk chunk = input_->read(buffer_.data() + old, kChunkBytes);
  buffer_.resize(old + chunk.bytes);
  if (!chunk.damage.empty()) refuse("here or further on " + chunk.damage + "; make the file again");
  ended_ = chunk.bytes == 0;
  return !ended_;
}

void JsonLines::parse(std::string_view text) {
  if (text.find_first_not_of(" \t\r") == std::string_view::npos) {
    refuse("is blank; expected an object");
  }
  // The parser accepts both: it ignores a byte order mark, and takes a zero byte for the end,
  // whatever follows.
  if (text.starts_with("\xEF\xBB\xBF")) {
    refuse("starts with a byte order mark; write the file without one");
  }
  if (const std::size_t zero = text.find('\0'); zero != std::string_view::npos) {
    refuse("is not JSON: a byte of value 0 at position " + std::to_string(zero + 1));
  }
  std::vector<std::unordered_set<std::string>> keys;  // seen so far, for each enclosing object
  const auto check = [&](int depth, Json::parse_event_t event, const Json& parsed) {
    const auto level = static_cast<std::size_t>(depth);
    if (depth >= kMostNesting) refuse("is nested deeper than " + std::to_string(kMostNesting));
    if (event == Json::parse_event_t::object_start) {
      keys.resize(std::max(keys.size(), level + 2));
      keys[level + 1].clear();
    } else if (event == Json::parse_event_t::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys[level].insert(key).second) {
        refuse("has the key \"" + printable(key, 60) + "\" twice");
      }
    }
    return true;
  };
  try {
    *object_ = Json::parse(text, check);
  } catch (const Json::parse_error& error) {
    refuse("is not JSON: at position " + std::to_string(error.byte) + ": " + reason_of(error) +
           (ended_ ? "; the file ends here: it may be cut short" : ""));
  } catch (const Json::exception& error) {
    refuse("is not JSON: " + reason_of(error));
  }
  if (!object_->is_object()) refuse("expected an object, found " + described(*object_));
}

void JsonLines::refuse(const std::string& what) const {
  throw FormatError(name_ + ": line " + std::to_string(line_) + ": " + what, line_);
}

void JsonLines::refuse_end(const std::string& expected) const {
  throw FormatError(name_ + ": line " + std::to_string(line_ + 1) +
                        ": the file is cut short: expected " + expected + ", found nothing more",
                    line_ + 1);
}

// ---------------------------------------------------------------- objects

bool JsonObject::has(std::string_view key) const { return object_->contains(key); }

std::size_t JsonObject::kind(std::span<const std::string_view> keys) const {
  std::vector<std::size_t> here;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (has(keys[i])) here.push_back(i);
  }
  if (here.size() == 1) return here[0];
  refuse("expected exactly one of the keys " + listed(keys) + ", found " +
         (here.empty() ? "none" : quoted(keys[here[0]]) + " and " + quoted(keys[here[1]])));
}

std::int64_t JsonObject::number(std::string_view key, std::int64_t most) const {
  const Json& found = value(key);
  if (const auto number = whole_number(found, most)) return *number;
  refuse_value(quoted(key), up_to(most), found);
}

std::string JsonObject::text(std::string_view key) const {
  const Json& found = value(key);
  if (!found.is_string()) refuse_value(quoted(key), "a text", found);
  return found.get_ref<const std::string&>();
}

bool JsonObject::flag(std::string_view key) const {
  const Json& found = value(key);
  if (!found.is_boolean()) refuse_value(quoted(key), "true or false", found);
  return found.get<bool>();
}

std::uint64_t JsonObject::hash(std::string_view key) const {
  const Json& found = value(key);
  std::uint64_t hash = 0;
  if (found.is_string()) {
    const auto& digits = found.get_ref<const std::string&>();
    const char* const end = digits.data() + digits.size();
    const auto [stop, error] = std::from_chars(digits.data(), end, hash, 16);
    if (error != std::errc() || stop != end || digits.size() != kHashDigits) hash = 0;
  }
  if (hash != 0) return hash;
  refuse_value(quoted(key), "a text of 16 hexadecimal digits, not all of them 0", found);
}

std::size_t JsonObject::choice(std::string_view key,
                               std::span<const std::string_view> names) const {
  const Json& found = value(key);
  if (found.is_string()) {
    const auto name = std::ranges::find(names, found.get_ref<const std::string&>());
    if (name != names.end()) return static_cast<std::size_t>(name - names.begin());
  }
  refuse_value(quoted(key), listed(names), found);
}

std::vector<std::int64_t> JsonObject::numbers(std::string_view key) const {
  const Json& items = list(key);
  std::vector<std::int64_t> all;
  all.reserve(items.size());
  for (const Json& item : items) {
    const auto number = whole_number(item, kMostNumber);
    if (!number) {
      refuse_value(quoted(key) + ", item " + std::to_string(all.size() + 1), up_to(kMostNumber),
                   item);
    }
    all.push_back(*number);
  }
  return all;
}

std::vector<JsonObject> JsonObject::objects(std::string_view key) const {
  const Json& items = list(key);
  std::vector<JsonObject> all;
  all.reserve(items.size());
  for (const Json& item : items) {
    if (!item.is_object()) {
      refuse_value(quoted(key) + ", item " + std::to_string(all.size() + 1), "an object", item);
    }
    all.push_back(JsonObject(item, *lines_, key, all.size() + 1));
  }
  return all;
}

const Json& JsonObject::list(std::string_view key) const {
  const Json& found = value(key);
  if (!found.is_array()) refuse_value(quoted(key), "a list", found);
  return found;
}

const Json& JsonObject::value(std::string_view key) const {
  const auto found = object_->find(key);
  if (found == object_->end()) refuse("the key " + quoted(key) + " is missing");
  return *found;
}

void JsonObject::refuse_value(const std::string& key, const std::string& expected,
                              const Json& found) const {
  refuse(key + ": expected " + expected + ", found " + described(found));
}

void JsonObject::refuse(const std::string& what) const {
  if (list_.empty()) lines_->refuse(what);
  lines_->refuse(quoted(list_) + ", item " + std::to_string(item_) + ": " + what);
}

// ---------------------------------------------------------------- writing

void LineWriter::number(std::string_view key, std::int64_t value, std::int64_t most) {
  check(key, value, most);
  start(key);
  text_ += std::to_string(value);
}

void LineWriter::text(std::string_view key, std::string_view value) {
  start(key);
  try {
    text_ += Json(value).dump();
  } catch (const Json::exception& error) {
    refuse(quoted(key) + ": expected a text in UTF-8: " + reason_of(error));
  }
}

void LineWriter::flag(std::string_view key, bool value) {
  start(key);
  text_ += value ? "true" : "false";
}

void LineWriter::hash(std::string_view key, std::uint64_t value) {
  start(key);
  std::array<char, kHashDigits + 1> digits{};
  std::snprintf(digits.data(), digits.size(), "%016llx", static_cast<unsigned long long>(value));
  text_ += quoted(digits.data());
}

void LineWriter::numbers(std::string_view key, std::span<const std::int64_t> values) {
  start(key);
  text_ += '[';
  for (const std::int64_t value : values) {
    check(key, value, kMostNumber);
    if (text_.back() != '[') text_ += ',';
    text_ += std::to_string(value);
  }
  text_ += ']';
}

void LineWriter::finish(std::ostream& out) {
  text_ += '}';
  if (text_.size() > kMostLineBytes) {
    refuse("would take " + std::to_string(text_.size()) + " bytes, more than 1 MiB (1048576)");
  }
  text_ += '\n';
  out.write(text_.data(), static_cast<std::streamsize>(text_.size()));
}

void LineWriter::refuse(const std::string& what) const {
  throw FormatError(std::string(file_) + ": line " + std::to_string(number_) + ": " + what,
                    number_);
}

void LineWriter::start(std::string_view key) {
  if (text_.back() != '{') text_ += ',';
  text_ += quoted(key);
  text_ += ':';
}

void LineWriter::check(std::string_view key, std::int64_t value, std::int64_t most) const {
  if (value >= 0 && value <= most) return;
  refuse(quoted(key) + ": expected " + up_to(most) + ", found " + std::to_string(value));
}

}  // namespace neap::graph
