// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "memory/slabs.h"

#include "memory/arena.h"

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

namespace neap::memory {
namespace {

static_assert(Slab::kMostBytes % kPageBytes == 0);

// A class every 64 bytes up to 1 KiB (16 classes), then every 256 up to 2 KiB. At most a fifth of a
// block is unused, except in blocks below 320 bytes.
std::size_t class_of(std::int64_t bytes) noexcept {
  if (bytes <= 1024) return static_cast<std::size_t>((bytes + 63) / 64 - 1);
  return static_cast<std::size_t>(16 + (bytes - 1024 + 255) / 256 - 1);
}

}  // namespace

std::int64_t small_class_bytes(std::int64_t bytes) noexcept {
  const std::int64_t step = bytes <= 1024 ? 64 : 256;
  return (bytes + step - 1) / step * step;
}

std::int64_t Slabs::slab_bytes(std::int64_t bytes) noexcept {
  return bytes <= 512 ? kPageBytes : Slab::kMostBytes;
}

Slabs::Block Slabs::take(std::int64_t bytes) noexcept {
  Slab* slab = open_[class_of(bytes)];
  if (slab == nullptr) return {};
  std::int64_t number = slab->free;
  if (number >= 0) {
    slab->free = slab->entries[static_cast<std::size_t>(number)].next_free;
  } else {
    number = slab->touched++;
  }
  ++slab->used;
  if (slab->used == slab->blocks) unlink(slab);
  return {slab->start + number * slab->block_bytes, slab};
}

void Slabs::add(Run pages, std::int64_t bytes) {
  auto slab = std::make_unique<Slab>(pages.start, pages.bytes, bytes);
  slab->size_class = class_of(bytes);
  slab->entries = std::make_unique<BlockEntry[]>(static_cast<std::size_t>(slab->blocks));
  BlockMap::set_slab(pages.start, pages.bytes, slab.get());
  link(slab.release());
}

void Slabs::give_back(Slab* slab, char* start) noexcept {
  if (slab->used == slab->blocks) link(slab);
  const std::int32_t number = slab->number_of(start);
  slab->entries[static_cast<std::size_t>(number)].next_free = std::exchange(slab->free, number);
  --slab->used;
}

void Slabs::remove_empty(const std::function<void(Run)>& take_back) {
  for (Slab* first : open_) {
    for (Slab* slab = first; slab != nullptr;) {
      Slab* next = slab->next;
      if (slab->used == 0) {
        BlockMap::set_slab(slab->start, slab->bytes, nullptr);
        take_back({slab->start, slab->bytes});
        unlink(slab);
        delete slab;
      }
      slab = next;
    }
  }
}

void Slabs::link(Slab* slab) noexcept {
  Slab*& first = open_[slab->size_class];
  slab->previous = nullptr;
  slab->next = first;
  if (first != nullptr) first->previous = slab;
  first = slab;
}

void Slabs::unlink(Slab* slab) noexcept {
  if (slab->previous != nullptr) slab->previous->next = slab->next;
  if (slab->next != nullptr) slab->next->previous = slab->previous;
  if (open_[slab->size_class] == slab) open_[slab->size_class] = slab->next;
  slab->previous = slab->next = nullptr;
}

void Slabs::validate() const {
  const auto require = [](bool holds, const char* equation) {
    if (!holds) throw std::logic_error(std::string("slabs: ") + equation);
  };
  for (std::size_t index = 0; index < open_.size(); ++index) {
    for (const Slab* slab = open_[index]; slab != nullptr; slab = slab->next) {
      require(slab->size_class == index, "a slab is in the list of its class");
      std::int64_t free = 0;
      for (std::int32_t number = slab->free; number >= 0; ++free) {
        number = slab->entries[static_cast<std::size_t>(number)].next_free;
      }
      require(slab->used + free == slab->touched, "used and free blocks are those touched");
      require(slab->used < slab->blocks, "a full slab is in no list");
    }
  }
}

}  // namespace neap::memory
