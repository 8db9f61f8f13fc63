// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/records.h: what the engine remembers. A Block is a storage's life; a Node is an operator that can run again, the
// recipe; Reads and Writes tie them together.
//
// Note [Versions]
// A block has version 0 when it is made and one more after each operator that writes into it. A Write says which version it
// produced, a Read which one it saw. Content of version v comes back by running the block's writes in order, from the last
// one at or below v that writes the block whole, up to v. A block without writes is *given*: nothing can make it again.
// After a write that cannot be replayed the block is *opaque*: readers of older versions still have its chain, the
// current version has not.
//
// Invariants:
//   block.readers lists exactly the Reads of it in living nodes; reader_count is their number
//   block.chain leads from the newest Write to the oldest; versions fall strictly
//   node.attached == number of its Writes with a block; a node lives while attached > 0
//   a node makes new blocks, or mutates exactly one existing block, never both
//   of a block that the program let go of, `version` is the newest that a reader asks for
//   a block lives while alive || reader_count > 0 || locks > 0
//   Resident, Retained, Working have data; Evicted, Gone have none; Evicted implies alive
//
// Note [Blanks]
// Programs fill tensors by hand: torch::zeros, full, randn or empty and fill_, then an accessor or memcpy, which no operator
// tells. So what an operator made from no tensor's values is a blank: it has a recipe, and each time that this content is about
// to go (it is evicted, dies, or an operator writes into it) the bytes are looked at. Zeros must still be zeros, of all
// others a hash was taken when they were made. What has changed was written by hand, and is given. What was made empty
// and not written whole by an operator is given from the start.
#pragma once

#include "intercept/generator_state.h"
#include "intercept/operators.h"

#include <c10/core/StorageImpl.h>

#include <cstdint>
#include <memory>
#include <span>

namespace neap::engine {

struct Block;
struct Node;

struct Read {
  Block* block;
  Read* next;
  Read* previous;
  std::uint32_t version;
  std::uint32_t to_node;  // bytes from the node to this
  [[nodiscard]] Node* node();
};

struct Write {
  Block* block;     // null once the block needs it no longer
  Write* previous;  // the write before it into the same block
  std::uint32_t version;
  std::uint32_t to_node;
  std::uint16_t result;  // which tensor of the operator's results, counted flat; for makers
  bool whole;            // does not need what was there before
  [[nodiscard]] Node* node();
};

struct Node {
  const intercept::OperatorTraits* traits;
  std::uint64_t sequence;  // original order
  std::shared_ptr<const intercept::GeneratorState> generator;
  std::uint32_t code_bytes;
  float cost_ns;
  std::uint16_t read_count;
  std::uint16_t write_count;
  std::uint16_t attached;
  std::uint16_t state;  // number in ExecutionStates
  bool mutation;        // writes into an existing block
  bool once;            // its once-arguments are replayed undefined
  bool marked;          // taken up by the materialization under way
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
  Evicted,   // the program holds the storage, the data is gone
  Retained,  // the program let go of it; readers need the data, the engine holds it
  Working,   // made again for a materialization under way, not in its storage (yet)
  Gone,      // the program let go of it, no data: a recipe only
};

enum class Given : std::uint8_t {
  No,
  Parameter,      // a leaf that requires grad
  Outside,        // existed before the scope or the region, or was written by hand
  Factory,        // made from no tensor: programs write into those through raw pointers
  Empty,          // made by an empty-like operator, not yet written whole by an operator
  NotReplayable,  // made by an operator that must not run again
  Foreign,        // LibTorch did not allocate it
  Gradient,       // made by a backward: Note [Gradients]
  Overwritten,    // what it was made from has been overwritten
  Final,          // its region is over
  Observed,       // could be made again, but nothing is evicted in its scope
};

// CheckpointPolicy of a block; Open: nobody has said anything; Chosen: no rule, but what was there when its region closed.
enum class Decision : std::uint8_t {
  Open,
  MustSave,
  PreferSave,
  PreferRecompute,
  MustRecompute,
  Chosen,
};

// See Note [Blanks].
enum class Blank : std::uint8_t {
  No,
  Zeros,   // version 0 was zeros
  Hashed,  // the engine has the hash of version `blank_version`
};

// Evicting less costs more memory for the recipe than it gives, and programs read small things through raw pointers.
inline constexpr std::int64_t kSmallest = 512;  // bytes

// The number of a block that no plan can speak of.
inline constexpr std::uint32_t kNoNumber = ~std::uint32_t{0};

struct Block {
  void* data;
  c10::StorageImpl* storage;  // a weak reference; null for given blocks
  const intercept::OperatorTraits* maker;
  Write* chain;
  Read* readers;
  std::int64_t bytes;  // of the storage
  double last_use;     // by the engine's clock
  float cost_ns;       // of all its writes
  std::uint32_t version;
  std::uint32_t blank_version;
  std::uint32_t reader_count;
  std::uint32_t index;     // in the engine's list of all blocks
  std::uint32_t number;    // in its scope, in the order of meeting: see Note [Plans in the engine]
  std::int32_t evictable;  // index in the engine's list of what can go, -1 outside
  std::int32_t held;  // index in the engine's list of what is held for recipes alone, -1 outside
  std::int32_t in_region;   // index in the list of blocks made in open regions, -1 outside
  std::int32_t work;        // index in the materialization under way, -1 outside
  std::uint32_t component;  // the policy's
  std::uint32_t region;     // the innermost that was open when it was made; 0: none
  std::uint16_t locks;      // operands of operators under way
  std::uint16_t pins;       // neap::pin
  std::uint16_t replays;    // how often it was brought back
  std::uint16_t chain_length;
  std::uint16_t layer;  // number in LayerNames; 0: none
  Residence residence;
  Given given;
  Decision decision;
  Blank blank;
  bool alive;      // the program holds it
  bool opaque;     // the current version cannot be made again
  bool unseen;     // memory of LibTorch's own allocator
  bool marked;     // visited by the search under way
  bool dying;      // queued in the list of deaths
  bool kept;       // an output of the region that closes
  bool temporary;  // see Note [Writes with grad mode off]
  Block* next_death;

  [[nodiscard]] bool has_data() const {
    return residence != Residence::Evicted && residence != Residence::Gone;
  }
  [[nodiscard]] bool replayable() const { return chain != nullptr && !opaque; }
  // The same in a scope that only observes, where a block has a recipe from a region at most.
  [[nodiscard]] bool observed_replayable() const {
    return (chain != nullptr || given == Given::Observed) && !opaque;
  }
  [[nodiscard]] bool saved() const {
    return decision == Decision::MustSave || decision == Decision::PreferSave ||
           decision == Decision::Chosen;
  }
};

}  // namespace neap::engine
