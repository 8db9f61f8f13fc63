// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// intercept/channel_block.h: which kernels oneDNN has for convolutions, asked of the oneDNN that runs.
#pragma once

#include <cstdint>

namespace neap::intercept {

// How many channels oneDNN's convolutions of float keep side by side: 16 with AVX-512, 8 with AVX2. It is what the processor,
// ONEDNN_MAX_CPU_ISA and LibTorch's build of oneDNN say together. 0: LibTorch has no oneDNN, it is switched off, or it orders
// channels otherwise. Cost: the first call brings 64 numbers into oneDNN's order. Any thread.
std::int64_t channel_block();

}  // namespace neap::intercept
