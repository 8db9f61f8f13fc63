// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// memory/run_nodes.h: memory for the nodes of PageRuns, which is there before it is needed.
//
// A tensor gives its memory back in a deleter, which must not throw, and a free run takes nodes. So
// the allocator makes room for them when it hands the memory out, where it may throw.
// Threads: not thread-safe; the caller holds the allocator's lock.
#pragma once

#include <cstddef>
#include <memory_resource>

namespace neap::memory {

class RunNodes final : public std::pmr::memory_resource {
 public:
  RunNodes() = default;
  RunNodes(const RunNodes&) = delete;
  RunNodes& operator=(const RunNodes&) = delete;
  ~RunNodes() override;

  // From here on, so many nodes are granted. Throws: std::bad_alloc. Cost: none while there are
  // enough.
  void reserve(std::size_t nodes) {
    while (free_nodes_ < nodes) add_chunk();
  }

  // Granted without asking the system.
  [[nodiscard]] std::size_t free_nodes() const noexcept { return free_nodes_; }

 private:
  static constexpr std::size_t kNodeBytes = 64;
  static constexpr std::size_t kChunkNodes = 63;  // beside the chunk's own link

  struct Link {
    Link* next;
  };
  void add_chunk();
  void* do_allocate(std::size_t bytes, std::size_t alignment) override;
  void do_deallocate(void* node, std::size_t bytes, std::size_t alignment) override;
  [[nodiscard]] bool do_is_equal(const memory_resource& other) const noexcept override {
    return this == &other;
  }

  Link* free_ = nullptr;
  std::size_t free_nodes_ = 0;
  Link* chunks_ = nullptr;
};

}  // namespace neap::memory
