// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/fuzz/line_mutator.h: damage that leaves most lines as they are. The parser refuses nearly
// every file of JSON lines with bytes changed at random, so that the code after it would hardly be
// tested.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <random>
#include <string>
#include <utility>
#include <vector>

// libFuzzer's own mutation of bytes. Returns the new number of bytes, at most `most`.
// NOLINTNEXTLINE(readability-identifier-naming): its name.
extern "C" std::size_t LLVMFuzzerMutate(unsigned char* bytes, std::size_t count, std::size_t most);

namespace neap::fuzz {

class LineMutator {
 public:
  LineMutator(const std::string& text, unsigned seed) : engine_(seed) {
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = std::min(text.find('\n', at), text.size());
      lines_.push_back(text.substr(at, end - at));
      at = end + 1;
    }
    if (lines_.empty()) lines_.emplace_back();
  }

  std::vector<std::string>& mutate() {
    for (std::size_t left = 1 + below(4); left > 0; --left) mutate_once();
    return lines_;
  }

  static std::string joined(const std::vector<std::string>& lines) {
    std::string text;
    for (const std::string& line : lines) text += line + '\n';
    return text;
  }

 private:
  void mutate_once() {
    const std::size_t at = below(lines_.size());
    switch (below(8)) {
      case 0:
        if (lines_.size() > 1) lines_.erase(lines_.begin() + static_cast<std::ptrdiff_t>(at));
        break;
      case 1:
      case 2:
        lines_.insert(lines_.begin() + static_cast<std::ptrdiff_t>(below(lines_.size() + 1)),
                      std::string(lines_[at]));
        break;
      case 3:
        std::swap(lines_[at], lines_[below(lines_.size())]);
        break;
      case 4:
        mutate_bytes(lines_[at]);
        break;
      default:
        mutate_number(lines_[at]);
        break;
    }
  }

  void mutate_bytes(std::string& line) {
    const std::size_t old = line.size();
    line.resize(old + 64);
    line.resize(LLVMFuzzerMutate(reinterpret_cast<unsigned char*>(line.data()), old, line.size()));
  }

  // Replaces one of the line's numbers, makes a list longer or shorter by one, or replaces a key.
  void mutate_number(std::string& line) {
    constexpr std::array<const char*, 7> kLarge{"72057594037927936",
                                                "72057594037927937",
                                                "9007199254740992",
                                                "9007199254740993",
                                                "9223372036854775807",
                                                "9223372036854775808",
                                                "-1"};
    const auto digit = [](char c) { return c >= '0' && c <= '9'; };
    std::vector<std::pair<std::size_t, std::size_t>> numbers;  // begin and end
    for (std::size_t at = 0; at < line.size(); ++at) {
      const std::size_t begin = at;
      while (at < line.size() && digit(line[at])) ++at;
      if (at > begin) numbers.emplace_back(begin, at);
    }
    if (numbers.empty()) return;
    const auto [begin, end] = numbers[below(numbers.size())];
    const std::string small = std::to_string(below(8));
    switch (below(6)) {
      case 0:
        line.insert(end, ',' + small);
        break;
      case 1:
        line.erase(begin, end - begin + (end < line.size() && line[end] == ',' ? 1 : 0));
        break;
      case 2:
        line.replace(begin, end - begin, kLarge.at(below(kLarge.size())));
        break;
      default:
        line.replace(begin, end - begin, small);
        break;
    }
  }

  std::size_t below(std::size_t end) { return engine_() % end; }

  std::minstd_rand engine_;
  std::vector<std::string> lines_;
};

// What LLVMFuzzerCustomMutator returns.
inline std::size_t put(const std::string& text, unsigned char* bytes, std::size_t most) {
  const std::size_t count = std::min(text.size(), most);
  std::copy_n(text.begin(), count, bytes);
  return count;
}

}  // namespace neap::fuzz
