// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "device/host_pages.h"

#include <sys/mman.h>

#include <new>

namespace neap::device {
namespace {

std::size_t whole_pages(std::size_t bytes) { return (bytes + 4095) & ~std::size_t{4095}; }

}  // namespace

void* HostPages::do_allocate(std::size_t bytes, std::size_t /*alignment*/) {
  void* const memory = ::mmap(nullptr, whole_pages(bytes), PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  return memory;
}

void HostPages::do_deallocate(void* memory, std::size_t bytes, std::size_t /*alignment*/) {
  ::munmap(memory, whole_pages(bytes));
}

}  // namespace neap::device
