// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/graph/files.h: whole and damaged files of traces and plans, and what their readers say of
// them.
#pragma once

#include "support/scratch_folder.h"

#include <neap/graph.h>

#include <gtest/gtest.h>
#include <zlib.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <streambuf>
#include <string>
#include <string_view>
#include <utility>

namespace neap::graph {

// The trace from the page on the formats.
inline const std::string kTraceHead =
    R"({"neap_trace":1,"label":"resnet50 batch 16","device":"cpu","torch":"2.15.0"})"
    "\n";
inline const std::string kTraceExample =
    kTraceHead +
    R"({"storage":0,"bytes":4096,"kind":"parameter"})"
    "\n"
    R"({"op":0,"name":"aten::addmm","in":[0],"out":[{"storage":7,"bytes":65536}],"mutates":[],"ns":51200,"workspace":0,"random":false,"phase":"forward","scope":"layer1.0.conv1"})"
    "\n"
    R"({"release":7})"
    "\n"
    R"({"end":true,"keep":[0]})"
    "\n";
// A trace with every other key, and the largest numbers that are allowed.
inline const std::string kTraceOfEveryKey =
    kTraceHead +
    R"({"storage":0,"bytes":4096,"kind":"buffer"})"
    "\n"
    R"({"op":0,"name":"aten::a","in":[],"out":[{"storage":7,"bytes":0},{"storage":9,"bytes":72057594037927936}],"mutates":[],"mutates_once":[0],"ns":9007199254740992,"workspace":72057594037927936,"random":true,"replayable":false,"call":"9e3779b97f4a7c15","phase":"backward","scope":"\u00e9\"\\\u0001"})"
    "\n"
    R"({"storage":9223372036854775807,"bytes":1,"kind":"input"})"
    "\n"
    R"({"op":1,"name":"","in":[9223372036854775807,7],"out":[],"mutates":[7],"ns":0,"workspace":0,"random":false,"phase":"other","scope":""})"
    "\n"
    R"({"end":true,"keep":[7,0]})"
    "\n";

inline Trace trace_of(const std::string& text) {
  std::istringstream in(text);
  return read_trace(in, "step.jsonl");
}

inline std::string text_of(const Trace& trace) {
  std::ostringstream out;
  write_trace(trace, out);
  return out.str();
}

inline Plan plan_of(const std::string& text) {
  std::istringstream in(text);
  return read_plan(in, "plan.jsonl");
}

inline std::string text_of(const Plan& plan) {
  std::ostringstream out;
  write_plan(plan, out);
  return out.str();
}

// `text` with the only occurrence of `old` replaced.
inline std::string exchanged(std::string text, std::string_view old, std::string_view fresh) {
  const std::size_t at = text.find(old);
  EXPECT_NE(at, std::string::npos) << old;
  EXPECT_EQ(text.find(old, at + 1), std::string::npos) << old << " is there twice";
  return at == std::string::npos ? text : text.replace(at, old.size(), fresh);
}

// The text of a refusal, and the line that the error names. Line -1: nothing was refused.
struct Refusal {
  std::string text = "nothing was thrown";
  std::int64_t line = -1;
};

template <class Step>
Refusal refusal_of(Step step) {
  try {
    step();
  } catch (const FormatError& error) {
    return {error.what(), error.line};
  }
  return {};
}

// Flips each bit of `text` in turn, and each byte as a whole. `read` may refuse the result with a
// FormatError, but must throw nothing else.
template <class Read>
void read_with_each_byte_damaged(const std::string& text, Read read) {
  for (std::size_t at = 0; at < text.size(); ++at) {
    for (const unsigned mask : {1U, 2U, 4U, 8U, 16U, 32U, 64U, 128U, 255U}) {
      std::string damaged = text;
      damaged[at] = static_cast<char>(static_cast<unsigned char>(damaged[at]) ^ mask);
      try {
        read(damaged);
      } catch (const FormatError& error) {
        EXPECT_GE(error.line, 1);
      }
    }
  }
}

// A line that never ends, as far as a reader can tell. Counts the characters that were taken from
// it.
class EndlessLine : public std::streambuf {
 public:
  explicit EndlessLine(std::string start) : start_(std::move(start)) {}
  [[nodiscard]] std::size_t taken() const { return taken_; }

 protected:
  std::streamsize xsgetn(char* to, std::streamsize count) override {
    if (taken_ > kEnough) return 0;
    for (std::streamsize i = 0; i < count; ++i, ++taken_) {
      to[i] = taken_ < start_.size() ? start_[taken_] : 'a';
    }
    return count;
  }

 private:
  static constexpr std::size_t kEnough = std::size_t{16} << 20;
  std::string start_;
  std::size_t taken_ = 0;
};

class WithFolder : public test::ScratchFolder, public testing::Test {
 protected:
  // Packs it as gzip does.
  std::string packed(const std::string& content) {
    const std::filesystem::path path = folder_ / "packing";
    const gzFile out = gzopen(path.c_str(), "wb9");
    EXPECT_EQ(gzwrite(out, content.data(), static_cast<unsigned>(content.size())),
              static_cast<int>(content.size()));
    EXPECT_EQ(gzclose(out), Z_OK);
    std::ostringstream bytes;
    bytes << std::ifstream(path, std::ios::binary).rdbuf();
    return bytes.str();
  }
};

}  // namespace neap::graph
