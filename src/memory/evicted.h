// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// memory/evicted.h: the memory of storages that are evicted.
//
// With the environment variable NEAP_GUARD_EVICTED, the pages of an evicted storage fault at each
// access for a while. So a program that kept the address of a storage ends at the very access,
// instead of reading what lies there now. Storages of less than a page share theirs with others and
// are not guarded. Costs some microseconds an eviction, and nothing is cached.
#pragma once

namespace neap::memory {

// As release(), for the data of a storage that the program still holds.
void release_evicted(void* data) noexcept;

}  // namespace neap::memory
