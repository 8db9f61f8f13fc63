// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// graph/program.h: a trace with checked ids and flat lists. The simulator and the planner work on
// it.
//
// Storages are numbered from 0 in the order of their definition, operators in their order. Both fit
// 32 bits.
#pragma once

#include <neap/graph.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

namespace neap::graph {

using Index = std::int32_t;
inline constexpr Index kNone = -1;
inline constexpr Index kNever = std::numeric_limits<Index>::max();

// The time of a copy, rounded up; nullopt: it passes 2^63 - 1 ns. REQUIRES: bytes_per_s > 0.
std::optional<std::int64_t> copy_ns(std::int64_t bytes, std::int64_t bytes_per_s);

// A storage at one version.
struct Content {
  Index storage;
  Index version;
};

class Program {
 public:
  struct Op {
    std::int64_t ns;
    std::int64_t workspace;
    std::int64_t makes_bytes;
    bool replayable;     // false also when it writes into a given storage
    std::int64_t event;  // in the trace
  };
  struct Storage {
    StorageId id;
    std::int64_t bytes;
    bool given;
    bool keep;
    Index maker;    // kNone for given ones
    Index arrival;  // given: it exists after this operator; kNone: from the start
    // The program drops it after this operator (kNone: before the first); kNever: it does not.
    Index released;
    Index versions;  // how often it is written into
  };

  // Throws: FormatError, with the event's line, when a storage is never defined, defined twice or
  // used after its release, or when the lists of an operator contradict each other; of line 1 for
  // bandwidths that are none.
  explicit Program(const Trace& trace);

  [[nodiscard]] Index operators() const { return static_cast<Index>(ops_.size()); }
  [[nodiscard]] Index storages() const { return static_cast<Index>(storages_.size()); }
  [[nodiscard]] const Op& op(Index i) const { return ops_[static_cast<std::size_t>(i)]; }
  [[nodiscard]] const Storage& storage(Index i) const {
    return storages_[static_cast<std::size_t>(i)];
  }
  // What must be resident before the operator, at which version: what it reads or writes into, each
  // once, without mutates_once.
  [[nodiscard]] std::span<const Content> needs(Index op) const { return needs_.of(op); }
  // Written in place, with the version before the write. A subset of needs().
  [[nodiscard]] std::span<const Content> mutates(Index op) const { return mutates_.of(op); }
  [[nodiscard]] std::span<const Index> mutates_once(Index op) const { return once_.of(op); }
  [[nodiscard]] std::span<const Index> makes(Index op) const { return makes_.of(op); }
  // Given storages that arrive after the operator; for kNone, those that exist from the start.
  [[nodiscard]] std::span<const Index> arrivals(Index op) const { return arrivals_.of(op + 1); }
  // As in the trace; both 0: there is no tier.
  [[nodiscard]] std::int64_t out_bytes_per_s() const { return out_bytes_per_s_; }
  [[nodiscard]] std::int64_t in_bytes_per_s() const { return in_bytes_per_s_; }
  [[nodiscard]] bool has_tier() const { return out_bytes_per_s_ > 0; }
  // Bytes of the given storages that exist from the start.
  [[nodiscard]] std::int64_t head_bytes() const;
  // Operators that write into it, in order, including those that write it once.
  [[nodiscard]] std::span<const Index> writers(Index storage) const { return writers_.of(storage); }
  // Operators that have it in needs(), in order.
  [[nodiscard]] std::span<const Index> users(Index storage) const { return users_.of(storage); }
  // kNone when the trace has no such storage.
  [[nodiscard]] Index index_of(StorageId id) const;

 private:
  // Lists of lists: list i is items[begin[i], begin[i + 1]).
  template <class Item>
  struct Lists {
    std::vector<std::size_t> begin{0};
    std::vector<Item> items;
    [[nodiscard]] std::span<const Item> of(Index i) const {
      const auto at = static_cast<std::size_t>(i);
      return {items.data() + begin[at], items.data() + begin[at + 1]};
    }
    void close() { begin.push_back(items.size()); }
  };
  class Reader;

  std::vector<Op> ops_;
  std::vector<Storage> storages_;
  Lists<Content> needs_, mutates_;
  Lists<Index> once_, makes_, arrivals_, writers_, users_;
  std::vector<std::pair<StorageId, Index>> by_id_;  // sorted
  std::int64_t out_bytes_per_s_ = 0, in_bytes_per_s_ = 0;
};

}  // namespace neap::graph
