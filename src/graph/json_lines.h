// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// graph/json_lines.h: a file of JSON objects, one a line.
//   file := line ("\n" line)* "\n"?        at most 1 MiB a line, its "\n" not counted
//   line := JSON object, in UTF-8, no key twice, nested 32 deep at most
// Around the object, the white space of JSON is allowed: blanks, tabs, and the "\r" of a Windows
// file. A blank line is an error, and so is a byte order mark.
//
// Strict: any deviation throws a FormatError with name, line, key, what was found and what was
// expected.
// Memory: one line and its parsed form, which takes less than 50 MiB for any line.
#pragma once

#include "graph/input.h"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace neap::graph {

inline constexpr std::size_t kMostLineBytes = std::size_t{1} << 20;
inline constexpr std::int64_t kMostNumber = std::numeric_limits<std::int64_t>::max();

class JsonLines;

// An object of the last line that was read. Valid until the next line is read.
class JsonObject {
 public:
  [[nodiscard]] bool has(std::string_view key) const;
  // The index of the one of `keys` that is present. Throws when there is none or more than one.
  [[nodiscard]] std::size_t kind(std::span<const std::string_view> keys) const;

  // All of these throw when the key is missing.
  [[nodiscard]] std::int64_t number(std::string_view key, std::int64_t most = kMostNumber) const;
  [[nodiscard]] std::string text(std::string_view key) const;
  [[nodiscard]] bool flag(std::string_view key) const;
  // 64 bits as 16 hexadecimal digits, not all of them 0.
  [[nodiscard]] std::uint64_t hash(std::string_view key) const;
  // The index in `names` of the text.
  [[nodiscard]] std::size_t choice(std::string_view key,
                                   std::span<const std::string_view> names) const;
  [[nodiscard]] std::vector<std::int64_t> numbers(std::string_view key) const;
  [[nodiscard]] std::vector<JsonObject> objects(std::string_view key) const;

  [[noreturn]] void refuse(const std::string& what) const;

 private:
  friend class JsonLines;
  JsonObject(const nlohmann::json& object, const JsonLines& lines, std::string_view list = {},
             std::size_t item = 0)
      : object_(&object), lines_(&lines), list_(list), item_(item) {}

  [[nodiscard]] const nlohmann::json& value(std::string_view key) const;
  [[nodiscard]] const nlohmann::json& list(std::string_view key) const;
  [[noreturn]] void refuse_value(const std::string& key, const std::string& expected,
                                 const nlohmann::json& found) const;

  const nlohmann::json* object_;
  const JsonLines* lines_;
  std::string_view list_;  // the key of the list that contains it; empty: none does
  std::size_t item_;
};

class JsonLines {
 public:
  JsonLines(std::unique_ptr<Input> input, std::string name);
  ~JsonLines();

  // The next line; nullopt after the last one.
  [[nodiscard]] std::optional<JsonObject> next();
  // Reads the first line, which has the kind of file as `keys[0]`, with the version as its value.
  // Throws for a version outside of 1 to `newest`.
  [[nodiscard]] JsonObject head(std::span<const std::string_view> keys, std::int64_t newest = 1);

  // The number of the last line that was read.
  [[nodiscard]] std::int64_t line() const { return line_; }
  [[nodiscard]] const std::string& name() const { return name_; }
  // Throws: FormatError, for the last line that was read.
  [[noreturn]] void refuse(const std::string& what) const;
  // Throws: FormatError, because the file ends where a line was expected.
  [[noreturn]] void refuse_end(const std::string& expected) const;

 private:
  std::optional<std::string_view> next_text();
  bool read_more();
  void parse(std::string_view text);

  std::unique_ptr<Input> input_;
  std::string name_;
  std::string buffer_;
  std::size_t start_ = 0;  // in buffer_, of the data that was not handed out yet
  bool ended_ = false;
  std::int64_t line_ = 0;
  std::unique_ptr<nlohmann::json> object_;
};

// Writes one line, key by key. Throws: FormatError, with the line, for what could not be read back:
// a number out of range, a text that is not UTF-8, more than 1 MiB.
class LineWriter {
 public:
  // `file`: "trace" or "plan", for messages.
  LineWriter(std::string_view file, std::int64_t line) : file_(file), number_(line) {}

  void number(std::string_view key, std::int64_t value, std::int64_t most = kMostNumber);
  void text(std::string_view key, std::string_view value);
  void flag(std::string_view key, bool value);
  void hash(std::string_view key, std::uint64_t value);
  void numbers(std::string_view key, std::span<const std::int64_t> values);
  // write(item) writes the keys of one item.
  template <class Items, class Write>
  void objects(std::string_view key, const Items& items, Write write) {
    start(key);
    text_ += '[';
    for (const auto& item : items) {
      if (text_.back() == '}') text_ += ',';
      text_ += '{';
      write(item);
      text_ += '}';
    }
    text_ += ']';
  }

  // Ends the line.
  void finish(std::ostream& out);
  [[noreturn]] void refuse(const std::string& what) const;

 private:
  void start(std::string_view key);
  void check(std::string_view key, std::int64_t value, std::int64_t most) const;

  std::string_view file_;
  std::int64_t number_;
  std::string text_ = "{";
};

}  // namespace neap::graph
