// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/base.h: byte counts and the root of every error that neap throws. Knows nothing of LibTorch.
//
//   neap::Bytes budget = neap::Bytes::parse("1.5 GiB");
//   std::cout << budget.count() << '\n' << budget.text() << '\n';  // 1610612736, 1.5 GiB
//
// Threads: everything here is a value; no shared state.
#pragma once

#include <neap/export.h>

#include <compare>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace neap {

// The root of all that neap throws. what() says what happened, where, with which sizes, and what to
// do next. One error is LibTorch's to throw: reading an evicted tensor by a raw pointer (data_ptr(), an accessor), or in another
// thread than the scope's, is a c10::Error with a text of neap's, because the access is LibTorch's own.
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

// A number of bytes. Never negative when it came from parse().
class NEAP_EXPORT Bytes {
 public:
  constexpr Bytes() = default;
  constexpr explicit Bytes(std::int64_t count) : count_(count) {}

  // Reads `123`, `64KiB`, `1.5 GiB`, `2GB`: a decimal number, then nothing (bytes), `B`, or a unit
  // of 1000 (kB or KB, MB, GB, TB) or 1024 (KiB, MiB, GiB, TiB). Fractions are rounded down to whole bytes.
  // Throws: InvalidArgument, with the text and the position of the first character that is wrong.
  static Bytes parse(std::string_view text);

  [[nodiscard]] constexpr std::int64_t count() const { return count_; }
  // For people: `88.1 MiB`, `512 B`; one decimal, binary units.
  [[nodiscard]] std::string text() const;

  friend constexpr auto operator<=>(Bytes, Bytes) = default;
  friend constexpr Bytes operator+(Bytes a, Bytes b) { return Bytes(a.count_ + b.count_); }
  friend constexpr Bytes operator-(Bytes a, Bytes b) { return Bytes(a.count_ - b.count_); }

 private:
  std::int64_t count_ = 0;
};

// One storage that LibTorch holds, or held until it was evicted. A row of a SavedReport.
struct SavedStorage {
  enum class State : std::uint8_t {
    Kept,     // in memory; can be made again, or its region is over and kept it
    Evicted,  // the operators that make it run again when it is read
    Pinned,   // in memory, and cannot go: see `reason`
  };
  std::string region;      // of checkpoint() and its kin; empty: made outside of one
  std::string layer;       // by neap::name(); empty: not known
  std::string op;          // the operator that made it, as aten::mm; empty: it was there before
  std::int64_t bytes = 0;  // as the allocator counts them, rounding and header included
  State state = State::Kept;
  std::string reason;  // why it cannot go; empty unless Pinned
};

// Everything that LibTorch holds at one moment, each storage once. kept + pinned + other == live.
struct NEAP_EXPORT SavedReport {
  std::vector<SavedStorage> storages;  // largest first
  std::int64_t kept = 0;
  std::int64_t pinned = 0;
  std::int64_t evicted = 0;  // not in `live`
  std::int64_t other = 0;    // what no operator of the scope has read or made
  std::int64_t live = 0;     // of memory::usage(), at that moment

  // The sums, then the largest groups of equal region, layer, operator and state, at most `rows` of them.
  [[nodiscard]] std::string text(std::size_t rows = 20) const;
};

}  // namespace neap
