// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Writes values in Python's pickle format, protocol 2: None, bool, int, str, list and dict. Nothing
// that it writes can name a class or a function, so a reader that allows none reads it.
//
//   PickleWriter pickle;
//   pickle.begin_dict();
//   pickle.text("size");
//   pickle.integer(512);
//   pickle.end_dict();
//   file << pickle.finish();
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace neap::app {

// REQUIRES: one value in all, and in each dict a value after each key.
class PickleWriter {
 public:
  PickleWriter();
  void none();
  void boolean(bool value);
  void integer(std::int64_t value);
  // Bytes that are not UTF-8 become U+FFFD: a reader would refuse the whole file.
  // REQUIRES: less than 4 GiB.
  void text(std::string_view value);

  void begin_list() { begin("](", /*is_list=*/true); }
  void end_list() { end("e"); }
  void begin_dict() { begin("}(", /*is_list=*/false); }
  void end_dict() { end("u"); }

  // Gives the value that was just written a number, to write it again in a few bytes. Both places
  // are one object in Python.
  std::uint32_t remember();
  void again(std::uint32_t number);

  [[nodiscard]] std::string finish();

 private:
  struct Level {
    bool is_list;
    int items;  // since the last opcode that took them into the list or the dict
  };
  void begin(std::string_view opcodes, bool is_list);
  void end(std::string_view opcode);
  // A value follows. Long lists are taken in parts, as by Python itself: readers keep a part on
  // their stack.
  void next_item();

  std::string bytes_;
  std::vector<Level> levels_;
  std::uint32_t remembered_ = 0;
};

}  // namespace neap::app
