// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "formats/encoding.h"

#include <iconv.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <string_view>

namespace neap::formats {
namespace {

struct Mark {
  std::string_view bytes;
  const char* encoding;
};
// The longer ones first: that of UTF-16LE begins that of UTF-32LE.
constexpr std::array kMarks = {
    Mark{{"\xFF\xFE\0\0", 4}, "UTF-32LE"}, Mark{{"\0\0\xFE\xFF", 4}, "UTF-32BE"},
    Mark{{"\xEF\xBB\xBF", 3}, "UTF-8"}, Mark{{"\xFF\xFE", 2}, "UTF-16LE"},
    Mark{{"\xFE\xFF", 2}, "UTF-16BE"}};
constexpr std::string_view kUtf8Mark = "\xEF\xBB\xBF";

bool begins_with(const std::vector<unsigned char>& bytes, std::string_view mark) {
  return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size())
      .starts_with(mark);
}

class Converter {
 public:
  explicit Converter(const std::string& from) : to_utf8_(::iconv_open("UTF-8", from.c_str())) {}
  Converter(const Converter&) = delete;
  Converter& operator=(const Converter&) = delete;
  ~Converter() {
    if (is_open()) ::iconv_close(to_utf8_);
  }
  [[nodiscard]] bool is_open() const {
    return to_utf8_ != reinterpret_cast<iconv_t>(std::ptrdiff_t{-1});  // NOLINT: as POSIX has it
  }

  // Converts what `in` has, and moves it on. Returns 0, or errno: EILSEQ, EINVAL.
  int convert(char** in, std::size_t* left, std::vector<unsigned char>& out) {
    constexpr std::size_t kChunk = std::size_t{1} << 16;
    while (true) {
      const std::size_t begin = out.size();
      out.resize(begin + kChunk);
      char* to = reinterpret_cast<char*>(out.data()) + begin;
      std::size_t room = kChunk;
      const std::size_t done = ::iconv(to_utf8_, in, left, &to, &room);
      const int error = errno;
      out.resize(out.size() - room);
      if (done != static_cast<std::size_t>(-1)) return 0;
      if (error != E2BIG) return error;
    }
  }

 private:
  iconv_t to_utf8_;
};

}  // namespace

bool knows_encoding(const std::string& name) {
  // Behind a slash there are iconv's own options, as //IGNORE, with which it would skip bytes.
  return !name.empty() && name.find('/') == std::string::npos && Converter(name).is_open();
}

std::vector<unsigned char> utf8_of(std::vector<unsigned char> bytes, const std::string& encoding) {
  std::string from = encoding;
  for (const Mark& mark : kMarks) {
    if (from.empty() && begins_with(bytes, mark.bytes)) from = mark.encoding;
  }
  if (from.empty()) return bytes;
  Converter converter(from);
  if (!converter.is_open()) throw FormatError("iconv does not know the encoding " + from, 0);
  std::vector<unsigned char> out;
  char* in = reinterpret_cast<char*>(bytes.data());
  std::size_t left = bytes.size();
  const int error = converter.convert(&in, &left, out);
  if (error != 0) {
    throw FormatError(std::string(error == EINVAL ? "cut short in a character: expected "
                                                  : "no character: expected ") +
                          from + (encoding.empty() ? ", which its byte order mark names" : ""),
                      static_cast<std::int64_t>(bytes.size() - left));
  }
  converter.convert(nullptr, nullptr, out);  // what a converter with a state still holds
  if (begins_with(out, kUtf8Mark)) {
    out.erase(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(kUtf8Mark.size()));
  }
  return out;
}

}  // namespace neap::formats
