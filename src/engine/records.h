// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/records.h: what the engine remembers. A Block is the record of a storage, from its
// beginning to its end. A Node is the recipe of an operator that can be replayed. Reads and Writes
// tie them together.
//
// Note [Versions]
// A block has version 0 when it is made. Each operator that writes into it adds one. A Write says
// which version it produced, a Read which version it saw. The engine makes version v again by
// running the block's writes in order. It begins with the last write at or below v that writes the
// block whole, and ends with the write of v. A block without writes is pinned: nothing can make it
// again. After a write that cannot be replayed the block is *opaque*: the chain still serves
// readers of older versions, but not the current version.
//
// Invariants:
//   block.readers lists exactly the Reads of it in living nodes; reader_count is their number
//   block.chain leads from the newest Write to the oldest; versions fall strictly
//   node.attached is the number of its Writes with a block; a node lives while attached > 0
//   a node makes new blocks, or mutates exactly one existing block, never both
//   once the program has let go of a block, `version` is the newest one that a reader asks for
//   a block lives while alive || reader_count > 0 || locks > 0
//   Resident, Retained, Working have data; Evicted, Gone have none; Evicted implies alive
//
// Note [Blanks]
// Programs fill tensors by hand: they call torch::zeros, full, randn, or empty and fill_, and then
// write through an accessor or by memcpy. No operator tells the engine. So a content that an
// operator made from no tensor's values is a *blank*. A blank has a recipe, and its bytes are
// checked each time that the content is about to be lost: when it is evicted, when it dies, and
// when an operator writes into it. Zeros must still be zeros. All others were hashed when they were
// made. A content that has changed was written by hand, so it is pinned. A storage that was made
// empty is pinned from the start, until an operator writes it whole.
#pragma once

#include "device/generator_state.h"
#include "intercept/operators.h"

#include <neap/engine.h>

#include <c10/core/StorageImpl.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

namespace neap::offload {
struct Copy;
}

namespace neap::engine {

struct Block;
struct Node;

struct Read {
  Block* block;
  Read* next;
  Read* previous;
  std::uint32_t version;
  std::uint32_t to_node;  // bytes from the node to this Read
  [[nodiscard]] Node* node();
};

struct Write {
  Block* block;     // null when the block does not need the write any more
  Write* previous;  // the previous write into the same block
  std::uint32_t version;
  std::uint32_t to_node;
  // Index among the tensors of the operator's results, counted flat; for makers.
  std::uint16_t result;
  bool whole;  // does not need the previous content
  [[nodiscard]] Node* node();
};

struct Node {
  const intercept::OperatorTraits* traits;
  std::uint64_t operator_sequence;  // gives the original order
  std::shared_ptr<const device::GeneratorState> generator;
  std::uint32_t code_bytes;
  float cost_ns;
  std::uint16_t read_count;
  std::uint16_t write_count;
  std::uint16_t attached;
  std::uint16_t state;  // index in ExecutionStates
  bool mutation;        // writes into an existing block
  bool once;            // its arguments with Use::Once are undefined in a replay
  bool marked;          // collected by the current materialization
  std::uint32_t replays;

  std::span<Read> reads() { return {reinterpret_cast<Read*>(this + 1), read_count}; }
  std::span<Write> writes() {
    return {reinterpret_cast<Write*>(reinterpret_cast<Read*>(this + 1) + read_count), write_count};
  }
  std::span<std::uint8_t> code() {
    return {
        reinterpret_cast<std::uint8_t*>(
            reinterpret_cast<Write*>(reinterpret_cast<Read*>(this + 1) + read_count) + write_count),
        code_bytes};
  }
  static std::size_t size(std::size_t reads, std::size_t writes, std::size_t code_bytes) {
    return sizeof(Node) + reads * sizeof(Read) + writes * sizeof(Write) + code_bytes;
  }
};
static_assert(sizeof(Node) % alignof(Read) == 0 && alignof(Read) == alignof(Write));

inline Node* Read::node() {
  return reinterpret_cast<Node*>(reinterpret_cast<char*>(this) - to_node);
}
inline Node* Write::node() {
  return reinterpret_cast<Node*>(reinterpret_cast<char*>(this) - to_node);
}

enum class Residence : std::uint8_t {
  Resident,  // its storage has the data
  Evicted,   // the program holds the storage, but the data is gone
  Retained,  // the program let go of it; the engine holds the data for readers
  Working,   // made again by the current materialization, not in its storage (yet)
  Gone,      // the program let go of it; there is no data, only a recipe
};

enum class PinReason : std::uint8_t {
  None,           // not pinned
  Parameter,      // a leaf that requires grad, or a storage with a name
  Outside,        // existed before the scope or the region
  Factory,        // made from no tensor; the program may have written it by hand
  Empty,          // made by an empty-like operator, and no operator has written it whole yet
  NotReplayable,  // made by an operator that must not be replayed
  Foreign,        // made from memory or tensors that are not LibTorch's own dense ones
  Gradient,       // made by a backward: see Note [Gradients]
  Overwritten,    // a content that it was made from has been overwritten or freed, or may be
  Exposed,        // the program has its address: see Note [Exposed storages]
  Final,          // its region has closed, and it stays in memory
  Observed,       // it could be made again, but its scope evicts nothing
};

// See Note [Blanks].
enum class Blank : std::uint8_t {
  No,
  Zeros,   // version 0 was zeros
  Hashed,  // the engine has a hash of version `blank_version`
  // No blank, but a hash is needed here too: see Note [Exposed storages].
  Watched,
};

// The smallest storage that is evicted while the program holds it. For a smaller one the recipe
// takes more memory than the storage. Programs also read small storages through raw pointers.
inline constexpr std::int64_t kSmallest = 512;  // bytes

// The number of a block that no plan can name.
inline constexpr std::uint32_t kNoNumber = ~std::uint32_t{0};

struct Block {
  void* data;
  // A weak reference; null for a block that was pinned from its beginning.
  c10::StorageImpl* storage;
  const intercept::OperatorTraits* maker;
  Write* chain;
  Read* readers;
  std::int64_t bytes;  // of the storage
  double last_use;     // by Counts::clock
  float cost_ns;       // of its writes since the last whole one, ns
  std::uint32_t version;
  std::uint32_t blank_version;
  std::uint32_t reader_count;
  std::uint32_t list_index;    // index in the list of all blocks
  std::uint32_t scope_number;  // the order in which its scope met it: see Note [Directors]
  std::int32_t evictable;      // index in Store::evictable(); -1: not in it
  std::int32_t held;           // index in Store::held(); -1: not in it
  std::int32_t in_region;      // index in the blocks of Regions; -1: not in it
  std::int32_t work;           // index in the current materialization; -1: not in it
  std::uint32_t evicted_set;   // belongs to the eviction policy
  std::uint32_t region;        // the innermost region when it was made; 0: none
  std::uint16_t locks;         // uses that need it now, such as operands of the current operator
  std::uint16_t pins;          // by neap::pin
  std::uint16_t replays;       // how often it was restored for an operator
  std::uint16_t chain_length;
  std::uint16_t layer;  // index in LayerNames; 0: none
  Residence residence;
  PinReason pinned;
  // By the rules of regions or by set_checkpoint_policy().
  std::optional<CheckpointPolicy> decision;
  Blank blank;
  bool alive;      // the program holds it
  bool opaque;     // the current version cannot be made again
  bool unseen;     // its memory comes from LibTorch's own allocator
  bool marked;     // visited by the current search
  bool dying;      // in the queue of deaths
  bool kept;       // a result of the region that closes
  bool chosen;     // its region chose to keep it when it closed; no rule says so
  bool temporary;  // see Note [Writes with grad mode off]
  Block* next_death;
  // See Note [Copies] in engine/block_copies.h.
  offload::Copy* copy;  // of the current version, in the tier; null: none
  void* arriving;       // memory that a load fills; null: none is under way
  bool uncopied;        // it could not be copied, and is not tried again
  bool copy_lost;       // its copy could not be read

  [[nodiscard]] bool has_data() const {
    return residence != Residence::Evicted && residence != Residence::Gone;
  }
  [[nodiscard]] bool replayable() const { return chain != nullptr && !opaque; }
  [[nodiscard]] bool can_come_back() const { return replayable() || copy != nullptr; }
  // The same in a scope that only observes. There, only blocks of regions have recipes.
  [[nodiscard]] bool observed_replayable() const {
    return (chain != nullptr || pinned == PinReason::Observed) && !opaque;
  }
  [[nodiscard]] bool saved() const {
    return chosen || decision == CheckpointPolicy::MustSave ||
           decision == CheckpointPolicy::PreferSave;
  }
};

}  // namespace neap::engine
