// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "memory/run_nodes.h"

#include <new>

namespace neap::memory {

RunNodes::~RunNodes() {
  while (chunks_ != nullptr) {
    Link* const next = chunks_->next;
    ::operator delete(chunks_);
    chunks_ = next;
  }
}

void RunNodes::add_chunk() {
  auto* const chunk = static_cast<std::byte*>(::operator new(kNodeBytes*(kChunkNodes + 1)));
  chunks_ = new (chunk) Link{chunks_};
  for (std::size_t i = 1; i <= kChunkNodes; ++i) {
    free_ = new (chunk + i * kNodeBytes) Link{free_};
  }
  free_nodes_ += kChunkNodes;
}

void* RunNodes::do_allocate(std::size_t bytes, std::size_t alignment) {
  if (bytes > kNodeBytes || alignment > alignof(std::max_align_t)) throw std::bad_alloc();
  reserve(1);
  Link* const node = free_;
  free_ = node->next;
  --free_nodes_;
  return node;
}

void RunNodes::do_deallocate(void* node, std::size_t /*bytes*/, std::size_t /*alignment*/) {
  free_ = new (node) Link{free_};
  ++free_nodes_;
}

}  // namespace neap::memory
