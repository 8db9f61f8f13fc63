// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// intercept/channel_block.h: which convolution kernels oneDNN uses, found by a probe of the oneDNN
// that LibTorch runs.
#pragma once

#include <cstdint>

namespace neap::intercept {

// How many channels oneDNN's float convolutions store side by side: 16 with AVX-512, 8 with AVX2.
// The processor, ONEDNN_MAX_CPU_ISA and LibTorch's build of oneDNN decide it.
// 0: LibTorch has no oneDNN, it is switched off, or it uses another layout.
// Cost: the first call reorders a weight of 64 numbers. Any thread.
std::int64_t channel_block();

}  // namespace neap::intercept
