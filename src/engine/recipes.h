// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/recipes.h: stores blocks and nodes, and decides when each of them is destroyed. It knows
// nothing of budgets or of the dispatcher. See engine/records.h for the invariants.
//
// Records live in a pool of their own pages, not in malloc. Small nodes between large buffers
// fragment glibc's heap, and kernels ran 30 to 160 % slower for it (docs/design/memory.md, "Memory
// of records"). Not thread-safe; only the engine's thread uses it.
#pragma once

#include "device/host_pages.h"
#include "engine/records.h"

#include <c10/core/StorageImpl.h>

#include <array>
#include <cstdint>
#include <memory_resource>
#include <span>
#include <vector>

namespace neap::engine {

class Recipes {
 public:
  Recipes();
  Recipes(const Recipes&) = delete;
  Recipes& operator=(const Recipes&) = delete;
  ~Recipes();

  // Makes a block that the program holds and whose data is at `data`. It has no chain yet.
  Block* create_block(void* data, std::int64_t bytes);
  // Makes a node and ties it to what it reads and writes. For each write, `writes` gives block,
  // version, result and whole; the version is 0 for a maker. The caller sets the versions of the
  // blocks.
  struct NewWrite {
    Block* block;
    std::uint32_t version;
    std::uint16_t result;
    bool whole;
  };
  Node* create_node(const intercept::OperatorTraits& traits, std::span<Block* const> reads,
                    std::span<const NewWrite> writes, std::span<const std::uint8_t> code);

  // The next four take no memory, so that they can be done where nothing may throw.
  // Drops the block's recipe, so that the block is pinned. Nodes that no block needs are destroyed,
  // and so are dead blocks that only those nodes read.
  void pin_for_good(Block& block, PinReason why);
  // Drops all writes before the newest one. REQUIRES: the newest one is whole, and nobody reads an
  // older version.
  void forget_older_writes(Block& block);
  // Call it after the program or a lock has let go of the block. Frees the record when nobody reads
  // it.
  void release_if_unused(Block& block);
  // Forgets all records, but those of blocks for which `stays` is true; null: for none. Storages
  // keep their data. What stays has no recipe and no readers any more.
  void clear(bool (*stays)(const Block&) = nullptr);

  [[nodiscard]] std::span<Block* const> blocks() const { return blocks_; }
  [[nodiscard]] std::int64_t bytes() const { return bytes_; }
  [[nodiscard]] std::int64_t peak_bytes() const { return peak_bytes_; }
  void reset_peak() { peak_bytes_ = bytes_; }
  [[nodiscard]] std::int64_t nodes() const { return node_count_; }
  // The Node::operator_sequence of the next node.
  [[nodiscard]] std::uint64_t next_sequence() const { return sequence_; }
  // Checks the invariants of engine/records.h; `at_rest`: also that no search or replay has left a
  // mark or a lock behind. Throws std::logic_error with the first one that does not hold. For tests
  // and debug builds.
  void validate(bool at_rest) const;

  // The engine is told before a block is destroyed, so that it frees data that only the engine
  // holds. It is also told when a dead block's data is of a version that nobody reads. Set once by
  // the engine.
  struct Owner {
    virtual ~Owner() = default;
    virtual void forget(Block& block) noexcept = 0;
  };
  void set_owner(Owner* owner) { owner_ = owner; }

 private:
  // Drops those writes of a dead block that are newer than any version that is read. Without this,
  // `x += f(x)` would be a cycle: the block holds the addition, the addition reads f's result, and
  // the recipe of f reads the block. With versions there is no cycle, because each operator reads
  // only what older operators wrote. So records that nobody can reach are always freed.
  void drop_unread_writes(Block& block);
  void detach(Write& write);
  void destroy_node(Node* node);
  void destroy_block(Block* block);
  void drain();

  // A list of freed records of one size, for the next record of that size: the pool takes several
  // times as long to find one. Records in these lists are never given back, so the pool keeps the
  // largest number of each size that there ever was.
  struct Spare {
    Spare* next;
  };
  void* take(std::size_t bytes);
  void give_back(void* record, std::size_t bytes) noexcept;

  device::HostPages pages_;
  std::pmr::unsynchronized_pool_resource pool_;
  static constexpr std::size_t kUnit = 32;
  static constexpr std::size_t kSizes = 64;  // larger records go back to the pool
  std::array<Spare*, kSizes> spares_{};      // index: the size in units of kUnit
  std::vector<Block*> blocks_;
  // Work lists instead of recursion, because chains are long. They have room for all records.
  std::vector<Node*> doomed_nodes_;
  std::vector<Block*> doomed_blocks_;
  Owner* owner_ = nullptr;
  std::uint64_t sequence_ = 0;
  std::int64_t bytes_ = 0;
  std::int64_t peak_bytes_ = 0;
  std::int64_t node_count_ = 0;
  bool draining_ = false;
};

}  // namespace neap::engine
