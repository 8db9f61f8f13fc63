// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "device/host_pages.h"

#include <neap/base.h>

#include <sys/mman.h>

#include <cstdint>

namespace neap::device {
namespace {

std::size_t whole_pages(std::size_t bytes) { return (bytes + 4095) & ~std::size_t{4095}; }

// Null: the system gives none.
void* map(std::size_t bytes) {
  void* const memory =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return memory == MAP_FAILED ? nullptr : memory;
}

[[noreturn]] void refuse(std::size_t bytes) {
  throw Error("the system gives no more memory for neap's own records: " +
              Bytes(static_cast<std::int64_t>(bytes)).text() +
              " more are needed; end other programs, or raise its limits (ulimit -v)");
}

}  // namespace

HostPages::~HostPages() {
  while (spares_ > 0) ::munmap(spare_[--spares_], kSpareBytes);
}

void HostPages::prepare() {
  for (; spares_ < kSpares; ++spares_) {
    spare_[spares_] = map(kSpareBytes);
    if (spare_[spares_] == nullptr) refuse(kSpareBytes);
  }
}

void* HostPages::do_allocate(std::size_t bytes, std::size_t /*alignment*/) {
  const std::size_t size = whole_pages(bytes);
  if (void* const memory = map(size)) return memory;
  if (spares_ == 0 || size > kSpareBytes) refuse(size);
  char* const memory = static_cast<char*>(spare_[--spares_]);
  if (size < kSpareBytes) ::munmap(memory + size, kSpareBytes - size);
  return memory;
}

void HostPages::do_deallocate(void* memory, std::size_t bytes, std::size_t /*alignment*/) {
  ::munmap(memory, whole_pages(bytes));
}

}  // namespace neap::device
