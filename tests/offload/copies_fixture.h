// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "offload/copies.h"
#include "offload/scripted_tier.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

namespace neap::test {

using Content = std::vector<char>;

// Other bytes for each seed.
inline Content content(std::int64_t bytes, unsigned seed) {
  Content made(static_cast<std::size_t>(bytes));
  std::uint32_t state = seed * 2654435761U + 1;
  for (char& byte : made) {
    state = state * 1664525U + 1013904223U;
    byte = static_cast<char>(state >> 24);
  }
  return made;
}

inline bool same_bits(const Content& one, const Content& other) {
  return one.size() == other.size() && std::memcmp(one.data(), other.data(), one.size()) == 0;
}

constexpr std::int64_t kUnit = 512;  // the scripted tier's alignment

class OffloadCopies : public testing::Test {
 protected:
  offload::Copies& open(std::int64_t limit) {
    copies_ = std::make_unique<offload::Copies>(std::make_unique<ScriptedTier>(script_), limit);
    return *copies_;
  }
  // Begins a copy of bytes that nothing changes.
  offload::Copy* begin(const Content& from) {
    return copies_->begin(from.data(), static_cast<std::int64_t>(from.size()));
  }
  // A copy that is in the tier.
  offload::Copy& written(const Content& from) {
    offload::Copy* const copy = begin(from);
    EXPECT_NE(copy, nullptr);
    EXPECT_TRUE(copies_->wait_written(*copy));
    return *copy;
  }
  // Brings the copy back into other memory; empty: it is lost.
  Content loaded(offload::Copy& copy, std::size_t bytes) {
    Content to(bytes, 'x');
    copies_->load(copy, to.data());
    if (!copies_->wait_loaded(copy)) to.clear();
    return to;
  }

  std::shared_ptr<Script> script_ = std::make_shared<Script>();
  std::unique_ptr<offload::Copies> copies_;
};

}  // namespace neap::test
