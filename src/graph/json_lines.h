// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// graph/json_lines.h: a file of JSON objects, one a line.
//   file := line ("\n" line)* "\n"?        at most 1 MiB a line, its "\n" not counted
//   line := JSON object, in UTF-8, no key twice, nested 32 deep at most
// Around the object may stand what JSON takes for space: blanks, tabs, and the "\r" of a file that Windows wrote. A blank line is
// an error, a byte order mark too.
//
// Strict: whatever is not as asked for throws a FormatError with name, line, key, what was found and what was expected.
// Memory: one line, and its parsed form, which takes less than 50 MiB whatever is in the line.
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

// An object of the line that was read last, which is where it lives.
class JsonObject {
 public:
  [[nodiscard]] bool has(std::string_view key) const;
  // Which of `keys` is here: exactly one must be.
  [[nodiscard]] std::size_t kind(std::span<const std::string_view> keys) const;

  // All of these throw when the key is missing.
  [[nodiscard]] std::int64_t number(std::string_view key, std::int64_t most = kMostNumber) const;
  [[nodiscard]] std::string text(std::string_view key) const;
  [[nodiscard]] bool flag(std::string_view key) const;
  // 64 bits as 16 hexadecimal digits, not all of them 0.
  [[nodiscard]] std::uint64_t hash(std::string_view key) const;
  // Which of `names` is the text.
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
  std::string_view list_;  // the key of the list that it is in, if it is in one
  std::size_t item_;
};

class JsonLines {
 public:
  JsonLines(std::unique_ptr<Input> input, std::string name);
  ~JsonLines();

  // The next line; none after the last one.
  [[nodiscard]] std::optional<JsonObject> next();
  // The first line, which says what the file is: `keys[0]` is its kind, and the version, 1.
  [[nodiscard]] JsonObject head(std::span<const std::string_view> keys);

  // Of the line that was read last.
  [[nodiscard]] std::int64_t line() const { return line_; }
  [[nodiscard]] const std::string& name() const { return name_; }
  // `what` is wrong in the line that was read last.
  [[noreturn]] void refuse(const std::string& what) const;
  // The file ends here, where a line was expected.
  [[noreturn]] void refuse_end(const std::string& expected) const;

 private:
  std::optional<std::string_view> next_text();
  bool read_more();
  void parse(std::string_view text);

  std::unique_ptr<Input> input_;
  std::string name_;
  std::string buffer_;
  std::size_t start_ = 0;  // in buffer_, of what was not handed out
  bool ended_ = false;
  std::int64_t line_ = 0;
  std::unique_ptr<nlohmann::json> object_;
};

// One line, written key by key. Throws: FormatError, with the line, for what could not be read again: a number out of range, a
// text that is not UTF-8, more than 1 MiB.
class LineWriter {
 public:
  // `file`: trace or plan, for messages.
  LineWriter(std::string_view file, std::int64_t line) : file_(file), number_(line) {}

  void number(std::string_view key, std::int64_t value, std::int64_t most = kMostNumber);
  void text(std::string_view key, std::string_view value);
  void flag(std::string_view key, bool value);
  void hash(std::string_view key, std::uint64_t value);
  void numbers(std::string_view key, std::span<const std::int64_t> values);
  // write(item) writes the keys of one.
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
