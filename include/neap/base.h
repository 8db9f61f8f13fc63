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
#include <vector>

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

// A storage that LibTorch holds, or that was evicted. A row of a SavedReport.
struct SavedStorage {
  enum class State : std::uint8_t {
    Kept,     // in memory; it can be recomputed, or its region has closed and kept it
    Evicted,  // not in memory; a read runs the operators that make it again
    Pinned,   // in memory, and cannot be evicted: see `reason`
  };
  std::string region;      // the checkpoint() region or the like; empty: made outside of a region
  std::string layer;       // from neap::name_layers(); empty: unknown
  std::string op;          // the operator that made it, as aten::mm; empty: older than the scope
  std::int64_t bytes = 0;  // as the allocator counts them, with rounding
  State state = State::Kept;
  std::string reason;  // why it cannot be evicted; empty unless Pinned
};

// All storages that LibTorch holds at one moment, each once. kept + pinned + other == live.
struct NEAP_EXPORT SavedReport {
  std::vector<SavedStorage> storages;  // largest first
  std::int64_t kept = 0;
  std::int64_t pinned = 0;
  std::int64_t evicted = 0;  // not part of `live`
  std::int64_t other = 0;    // storages that no operator of the scope has read or made
  std::int64_t live = 0;     // `live` of memory::usage() at that moment

  // The sums, then the largest groups of equal region, layer, operator and state; at most `rows`
  // groups.
  [[nodiscard]] std::string text(std::size_t rows = 20) const;
};

}  // namespace neap
