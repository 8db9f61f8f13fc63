// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/base.h: byte counts and the base class of every error that neap throws. Does not depend on
// LibTorch.
//
//   neap::Bytes budget = neap::Bytes::parse("1.5 GiB");
//   std::cout << budget.count() << '\n' << budget.text() << '\n';  // 1610612736, 1.5 GiB
//
// Threads: every type here is a value; there is no shared state.
#pragma once

#include <neap/export.h>

#include <compare>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace neap {

// The base class of every error that neap throws. what() says what happened, where, with which
// sizes, and what to do next.
// One error is a c10::Error instead, because LibTorch throws it: an access to an evicted tensor by
// a raw pointer (data_ptr(), an accessor), or from another thread than the scope's. Its text is
// neap's.
class NEAP_EXPORT Error : public std::runtime_error {
 public:
  explicit Error(const std::string& text);
  ~Error() override;
};

// A text, an option or a size that cannot be used.
class NEAP_EXPORT InvalidArgument : public Error {
 public:
  explicit InvalidArgument(const std::string& text);
  ~InvalidArgument() override;
};

// A number of bytes. parse() never returns a negative one.
class NEAP_EXPORT Bytes {
 public:
  constexpr Bytes() = default;
  constexpr explicit Bytes(std::int64_t count) : count_(count) {}

  // Reads `123`, `64KiB`, `1.5 GiB`, `2GB`: a decimal number, then nothing (bytes), `B`, or a unit
  // of 1000 (kB or KB, MB, GB, TB) or 1024 (KiB, MiB, GiB, TiB). Fractions are rounded down to
  // whole bytes.
  // Throws: InvalidArgument, with the text and the position of the first wrong character.
  static Bytes parse(std::string_view text);

  [[nodiscard]] constexpr std::int64_t count() const { return count_; }
  // For people: `88.1 MiB`, `512 B`. One decimal, binary units.
  [[nodiscard]] std::string text() const;

  friend constexpr auto operator<=>(Bytes, Bytes) = default;
  friend constexpr Bytes operator+(Bytes a, Bytes b) { return Bytes(a.count_ + b.count_); }
  friend constexpr Bytes operator-(Bytes a, Bytes b) { return Bytes(a.count_ - b.count_); }

 private:
  std::int64_t count_ = 0;
};

}  // namespace neap
