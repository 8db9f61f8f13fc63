// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// graph/program.h: a trace with its ids checked and its lists laid out flat. What the simulator and the planner work on.
//
// Storages are numbered from 0 in the order of their definition, operators in theirs; both fit 32 bits.
#pragma once

#include <neap/graph.h>

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace neap::graph {

using Index = std::int32_t;
inline constexpr Index kNone = -1;
inline constexpr Index kNever = std::numeric_limits<Index>::max();

// A storage's content at one version.
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
    bool replayable;     // also by what it writes: false where it writes into a given storage
    std::int64_t event;  // in the trace
  };
  struct Storage {
    StorageId id;
    std::int64_t bytes;
    bool given;
    bool keep;
    Index maker;    // kNone for given ones
    Index arrival;  // given: the operator after which it is there, kNone from the start
    Index
        released;  // the operator after which the program holds it no longer (kNone: before the first); kNever
    Index versions;  // how often it is written into
  };

  // Throws: FormatError, with the event's line, when a storage is never defined, defined twice or used after its release, or an
  // operator's lists contradict each other.
  explicit Program(const Trace& trace);

  [[nodiscard]] Index operators() const { return static_cast<Index>(ops_.size()); }
  [[nodiscard]] Index storages() const { return static_cast<Index>(storages_.size()); }
  [[nodiscard]] const Op& op(Index i) const { return ops_[static_cast<std::size_t>(i)]; }
  [[nodiscard]] const Storage& storage(Index i) const {
    return storages_[static_cast<std::size_t>(i)];
  }
  // What must be resident, at which version: what it reads and what it writes into, each once, but for mutates_once.
  [[nodiscard]] std::span<const Content> needs(Index op) const { return needs_.of(op); }
  // Written in place; the version is the one before. A subset of needs().
  [[nodiscard]] std::span<const Content> mutates(Index op) const { return mutates_.of(op); }
  [[nodiscard]] std::span<const Index> mutates_once(Index op) const { return once_.of(op); }
  [[nodiscard]] std::span<const Index> makes(Index op) const { return makes_.of(op); }
  // Given storages that arrive when the operator has run; of kNone: the ones of the start.
  [[nodiscard]] std::span<const Index> arrivals(Index op) const { return arrivals_.of(op + 1); }
  // Of the given storages of the start.
  [[nodiscard]] std::int64_t head_bytes() const;
  // Operators that write into it, in order, mutates_once among them.
  [[nodiscard]] std::span<const Index> writers(Index storage) const { return writers_.of(storage); }
  // Operators that need it, in order.
  [[nodiscard]] std::span<const Index> users(Index storage) const { return users_.of(storage); }
  // kNone: the trace has no such storage.
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
};

}  // namespace neap::graph
