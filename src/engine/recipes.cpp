// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "engine/recipes.h"

#include <cstddef>
#include <new>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <unordered_set>
#include <utility>

namespace neap::engine {
namespace {

constexpr std::pmr::pool_options kPool{.max_blocks_per_chunk = 512,
                                       .largest_required_pool_block = 4096};

}  // namespace

Recipes::Recipes() : pool_(kPool, &pages_) {}
Recipes::~Recipes() { clear(); }

static_assert(alignof(Block) <= alignof(std::max_align_t));
static_assert(alignof(Node) <= alignof(std::max_align_t));
static_assert(std::is_trivially_destructible_v<Block>);

void* Recipes::take(std::size_t bytes) {
  static_assert(sizeof(Spare) <= kUnit);
  const std::size_t units = (bytes + kUnit - 1) / kUnit;
  if (units < spares_.size() && spares_[units] != nullptr) {
    return std::exchange(spares_[units], spares_[units]->next);
  }
  pages_.prepare();
  return pool_.allocate(units < spares_.size() ? units * kUnit : bytes);
}

void Recipes::give_back(void* record, std::size_t bytes) noexcept {
  const std::size_t units = (bytes + kUnit - 1) / kUnit;
  if (units >= spares_.size()) return pool_.deallocate(record, bytes);
  spares_[units] = new (record) Spare{spares_[units]};
}

Block* Recipes::create_block(void* data, std::int64_t bytes) {
  if (blocks_.size() == blocks_.capacity()) {  // what may throw comes first
    const std::size_t most = 2 * blocks_.size() + 64;
    doomed_blocks_.reserve(most);
    blocks_.reserve(most);
  }
  auto* const block = new (take(sizeof(Block))) Block{};
  block->data = data;
  block->bytes = bytes;
  block->alive = true;
  block->residence = Residence::Resident;
  block->evictable = -1;
  block->held = -1;
  block->in_region = -1;
  block->work = -1;
  block->scope_number = kNoNumber;
  block->list_index = static_cast<std::uint32_t>(blocks_.size());
  blocks_.push_back(block);
  bytes_ += static_cast<std::int64_t>(sizeof(Block));
  peak_bytes_ = std::max(peak_bytes_, bytes_);
  return block;
}

Node* Recipes::create_node(const intercept::OperatorTraits& traits, std::span<Block* const> reads,
                           std::span<const NewWrite> writes, std::span<const std::uint8_t> code) {
  const std::size_t size = Node::size(reads.size(), writes.size(), code.size());
  const auto nodes = static_cast<std::size_t>(node_count_);
  if (nodes == doomed_nodes_.capacity()) doomed_nodes_.reserve(2 * nodes + 64);
  void* const memory = take(size);
  bytes_ += static_cast<std::int64_t>(size);
  peak_bytes_ = std::max(peak_bytes_, bytes_);
  ++node_count_;
  auto* const node = new (memory) Node{};
  node->traits = &traits;
  node->operator_sequence = sequence_++;
  node->read_count = static_cast<std::uint16_t>(reads.size());
  node->write_count = static_cast<std::uint16_t>(writes.size());
  node->attached = node->write_count;
  node->code_bytes = static_cast<std::uint32_t>(code.size());
  const auto distance = [node](const void* part) {
    return static_cast<std::uint32_t>(static_cast<const char*>(part) -
                                      reinterpret_cast<const char*>(node));
  };
  for (std::size_t i = 0; i < reads.size(); ++i) {
    Read& read = node->reads()[i];
    Block& block = *reads[i];
    read = Read{&block, block.readers, nullptr, block.version, distance(&read)};
    if (block.readers != nullptr) block.readers->previous = &read;
    block.readers = &read;
    ++block.reader_count;
  }
  for (std::size_t i = 0; i < writes.size(); ++i) {
    Write& write = node->writes()[i];
    Block& block = *writes[i].block;
    write = Write{&block,           block.chain,      writes[i].version,
                  distance(&write), writes[i].result, writes[i].whole};
    block.chain = &write;
    ++block.chain_length;
  }
  std::copy(code.begin(), code.end(), node->code().begin());
  return node;
}

void Recipes::detach(Write& write) {
  Node* const node = write.node();
  write.block = nullptr;
  if (--node->attached == 0) doomed_nodes_.push_back(node);
}

void Recipes::pin_for_good(Block& block, PinReason why) {
  for (Write* write = block.chain; write != nullptr;) {
    Write* const older = write->previous;
    detach(*write);
    write = older;
  }
  block.chain = nullptr;
  block.chain_length = 0;
  block.opaque = false;
  block.pinned = why;
  drain();
}

void Recipes::forget_older_writes(Block& block) {
  Write* write = block.chain->previous;
  block.chain->previous = nullptr;
  block.chain_length = 1;
  while (write != nullptr) {
    Write* const older = write->previous;
    detach(*write);
    write = older;
  }
  drain();
}

void Recipes::release_if_unused(Block& block) {
  if (block.alive || block.locks > 0) return;
  if (block.reader_count > 0) {
    drop_unread_writes(block);
  } else {
    doomed_blocks_.push_back(&block);
  }
  drain();
}

void Recipes::drop_unread_writes(Block& block) {
  if (block.version == 0 || block.work >= 0) return;
  std::uint32_t newest = 0;
  for (const Read* read = block.readers; read != nullptr; read = read->next) {
    newest = std::max(newest, read->version);
  }
  if (newest == block.version) return;
  if (owner_ != nullptr) owner_->forget(block);  // this data is of a version that nobody reads
  while (block.chain != nullptr && block.chain->version > newest) {
    Write& write = *block.chain;
    block.chain = write.previous;
    --block.chain_length;
    detach(write);
  }
  block.version = newest;
  block.opaque = false;
}

void Recipes::drain() {
  if (draining_) return;
  draining_ = true;
  while (!doomed_nodes_.empty() || !doomed_blocks_.empty()) {
    if (!doomed_nodes_.empty()) {
      Node* const node = doomed_nodes_.back();
      doomed_nodes_.pop_back();
      destroy_node(node);
    } else {
      Block* const block = doomed_blocks_.back();
      doomed_blocks_.pop_back();
      destroy_block(block);
    }
  }
  draining_ = false;
}

void Recipes::destroy_node(Node* node) {
  for (Read& read : node->reads()) {
    Block& block = *read.block;
    (read.previous != nullptr ? read.previous->next : block.readers) = read.next;
    if (read.next != nullptr) read.next->previous = read.previous;
    --block.reader_count;
    if (block.alive || block.locks > 0) continue;
    if (block.reader_count == 0) {
      doomed_blocks_.push_back(&block);
    } else {
      drop_unread_writes(block);
    }
  }
  const std::size_t size = Node::size(node->read_count, node->write_count, node->code_bytes);
  node->~Node();
  give_back(node, size);
  bytes_ -= static_cast<std::int64_t>(size);
  --node_count_;
}

void Recipes::destroy_block(Block* block) {
  if (owner_ != nullptr) owner_->forget(*block);
  for (Write* write = block->chain; write != nullptr;) {
    Write* const older = write->previous;
    detach(*write);
    write = older;
  }
  Block* const last = blocks_.back();
  blocks_[block->list_index] = last;
  last->list_index = block->list_index;
  blocks_.pop_back();
  give_back(block, sizeof(Block));
  bytes_ -= static_cast<std::int64_t>(sizeof(Block));
}

void Recipes::clear(bool (*stays)(const Block&)) {
  const auto goes = [&](const Block* block) { return stays == nullptr || !stays(*block); };
  if (owner_ != nullptr) {
    for (Block* const block : blocks_) {
      if (goes(block)) owner_->forget(*block);
    }
  }
  for (Block* const block : blocks_) {
    for (Write* write = block->chain; write != nullptr;) {
      Write* const older = write->previous;
      Node* const node = write->node();
      if (--node->attached == 0) {
        const std::size_t size = Node::size(node->read_count, node->write_count, node->code_bytes);
        node->~Node();
        give_back(node, size);
      }
      write = older;
    }
  }
  std::size_t kept = 0;
  for (Block* const block : blocks_) {
    if (goes(block)) {
      give_back(block, sizeof(Block));
      continue;
    }
    block->chain = nullptr;
    block->readers = nullptr;
    block->reader_count = 0;
    block->chain_length = 0;
    block->list_index = static_cast<std::uint32_t>(kept);
    blocks_[kept++] = block;
  }
  blocks_.resize(kept);
  bytes_ = static_cast<std::int64_t>(kept * sizeof(Block));
  node_count_ = 0;
}

void Recipes::validate(bool at_rest) const {
  const auto require = [](bool holds, const char* equation) {
    if (!holds) throw std::logic_error(std::string("recipes: ") + equation);
  };
  std::unordered_set<Node*> nodes;
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    const Block& block = *blocks_[i];
    require(block.list_index == i, "block.list_index is its place in the list");
    require(!at_rest || (block.locks == 0 && block.work < 0 && !block.marked),
            "between operators no block is locked, marked or being made");
    require(block.alive || block.reader_count > 0 || block.dying, "an unused block is gone");
    require(block.residence != Residence::Evicted || block.alive, "Evicted implies alive");
    require(block.has_data() == (block.data != nullptr) || block.bytes == 0,
            "data is there exactly in the residences that have it");
    std::uint32_t readers = 0;
    std::uint32_t newest_read = 0;
    for (Read* read = block.readers; read != nullptr; read = read->next) {
      require(read->block == &block, "a reader reads the block that lists it");
      require(read->version <= block.version, "nobody reads the future");
      require(read->next == nullptr || read->next->previous == read,
              "readers are linked both ways");
      nodes.insert(read->node());
      newest_read = std::max(newest_read, read->version);
      ++readers;
    }
    require(readers == block.reader_count, "reader_count is the number of readers");
    std::uint32_t length = 0;
    for (Write* write = block.chain; write != nullptr; write = write->previous, ++length) {
      require(write->block == &block, "a chain's writes belong to the block");
      require(write->previous == nullptr || write->previous->version < write->version,
              "versions fall along the chain");
      nodes.insert(write->node());
    }
    require(length == block.chain_length, "chain_length is the number of writes");
    require(block.alive || block.locks > 0 || block.work >= 0 || block.dying ||
                block.version == newest_read,
            "a dead block's version is the newest that somebody reads");
    require(block.chain == nullptr || block.opaque || block.chain->version == block.version,
            "the newest write made the current version");
  }
  require(static_cast<std::int64_t>(nodes.size()) == node_count_, "each node is reachable");
  for (Node* const node : nodes) {
    require(!at_rest || !node->marked, "between operators no node is marked");
    std::uint16_t attached = 0;
    for (const Write& write : node->writes()) {
      if (write.block != nullptr) ++attached;
    }
    require(attached == node->attached && attached > 0, "attached is the number of writes in use");
  }
}

}  // namespace neap::engine
