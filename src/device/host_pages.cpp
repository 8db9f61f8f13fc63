// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "device/host_pages.h"

#include <neap/base.h>

#include <sys/mman.h>

#include <utility>

namespace neap::device {
namespace {

std::size_t whole_pages(std::size_t bytes) { return (bytes + 4095) & ~std::size_t{4095}; }

// Null: the system gives none.
void* map(std::size_t bytes) {
  void* const memory =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return memory == MAP_FAILED ? nullptr : memory;
}

}  // namespace

HostPages::~HostPages() {
  if (spare_ != nullptr) ::munmap(spare_, kSpareBytes);
}

void* HostPages::do_allocate(std::size_t bytes, std::size_t /*alignment*/) {
  if (spare_ == nullptr) spare_ = map(kSpareBytes);
  const std::size_t size = whole_pages(bytes);
  void* memory = spare_ == nullptr ? nullptr : map(size);
  if (memory == nullptr && spare_ != nullptr && size <= kSpareBytes) {
    memory = std::exchange(spare_, nullptr);
    if (size < kSpareBytes) ::munmap(static_cast<char*>(memory) + size, kSpareBytes - size);
  }
  if (memory == nullptr) {
    throw Error("the system gives no more memory for neap's own records: " +
                Bytes(static_cast<std::int64_t>(size)).text() +
                " more are needed; end other programs, or raise its limits (ulimit -v)");
  }
  return memory;
}

void HostPages::do_deallocate(void* memory, std::size_t bytes, std::size_t /*alignment*/) {
  ::munmap(memory, whole_pages(bytes));
}

}  // namespace neap::device
