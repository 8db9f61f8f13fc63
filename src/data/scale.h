// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// data/scale.h: between scales of pixels that count from 0 to 1, and those that are stored as bytes.
#pragma once

#include <neap/data.h>

#include <cstdint>

namespace neap::data {

// For pixels that count from 0 to 255, one number a channel.
// Throws: InvalidArgument when the scale has other numbers than it needs.
Normalization for_bytes(const ChannelScale& scale, std::int64_t channels);
ChannelScale of_bytes(const Normalization& normalization);

}  // namespace neap::data
