// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/recipes.h: the store of blocks and nodes, and the rules by which they come and go. Knows nothing of budgets or of
// the dispatcher: see engine/records.h for the invariants.
//
// Records live in a pool of their own pages, not in malloc: small nodes between large buffers fragment glibc's heap, and
// kernels ran 30 to 160 % slower for it (docs/design.md).
// Threads: none; the engine's thread only.
#pragma once

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

  // A block that the program holds and whose data is at `data`. No chain yet.
  Block* create_block(void* data, std::int64_t bytes);
  // Ties a new node to what it reads and writes. For each write, block, version, result and whole are taken from
  // `writes`; for a maker the versions are 0. The blocks' versions must be set by the caller.
  struct NewWrite {
    Block* block;
    std::uint32_t version;
    std::uint16_t result;
    bool whole;
  };
  Node* create_node(const intercept::OperatorTraits& traits, std::span<Block* const> reads,
                    std::span<const NewWrite> writes, std::span<const std::uint8_t> code);

  // The block's recipe is dropped: from now on it is given. Nodes that no block needs go, and what only they read.
  void make_given(Block& block, Given why);
  // Drops the writes before the newest one. REQUIRES: that one is whole, and nobody reads an older version.
  void forget_older_writes(Block& block);
  // The program let go of the block, or a reader did: frees the record when neither is left.
  void release_if_unused(Block& block);
  // Forgets everything. Blocks keep their data where it is.
  void clear();

  [[nodiscard]] std::span<Block* const> blocks() const { return blocks_; }
  [[nodiscard]] std::int64_t bytes() const { return bytes_; }
  [[nodiscard]] std::int64_t peak_bytes() const { return peak_bytes_; }
  void reset_peak() { peak_bytes_ = bytes_; }
  [[nodiscard]] std::int64_t nodes() const { return node_count_; }
  // Node::sequence of the next one.
  [[nodiscard]] std::uint64_t next_sequence() const { return sequence_; }
  // Equations of engine/records.h; throws std::logic_error with the first that does not hold. For tests and debug builds.
  void validate() const;

  // Called for a block that is going away while it still has data of its own (Retained, Working), and for one whose
  // storage must be let go of. Set once by the engine.
  struct Owner {
    virtual ~Owner() = default;
    virtual void forget(Block& block) noexcept = 0;
  };
  void set_owner(Owner* owner) { owner_ = owner; }

 private:
  // A dead block's writes that are newer than what anybody reads. Without this, `x += f(x)` is a cycle: the block holds
  // the addition, which reads f's result, whose recipe reads the block. By versions there is none, because each
  // operator reads only what older ones wrote; so what nobody can reach is always let go of.
  void drop_unread_writes(Block& block);
  void detach(Write& write);
  void destroy_node(Node* node);
  void destroy_block(Block* block);
  void drain();

  // Where a record was, for the next of its size: the pool takes several times as long to find one. It stays, so the most that
  // there was of each size is held.
  struct Spare {
    Spare* next;
  };
  void* take(std::size_t bytes);
  void give_back(void* record, std::size_t bytes) noexcept;

  std::unique_ptr<std::pmr::memory_resource> pages_;
  std::pmr::unsynchronized_pool_resource pool_;
  static constexpr std::size_t kUnit = 32;
  static constexpr std::size_t kSizes = 64;  // larger ones go back to the pool
  std::array<Spare*, kSizes> spares_{};      // by size in units
  std::vector<Block*> blocks_;
  std::vector<Node*> doomed_nodes_;  // work lists instead of recursion: chains are long
  std::vector<Block*> doomed_blocks_;
  Owner* owner_ = nullptr;
  std::uint64_t sequence_ = 0;
  std::int64_t bytes_ = 0;
  std::int64_t peak_bytes_ = 0;
  std::int64_t node_count_ = 0;
  bool draining_ = false;
};

}  // namespace neap::engine
