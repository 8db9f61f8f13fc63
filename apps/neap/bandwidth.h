// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// How fast copies go to a tier and come back, as people write it. No LibTorch here.
#pragma once

#include <neap/graph.h>

#include <string>

namespace neap::app {

// Parses `3GB/s`, or `2GB/s,3GB/s` for out and in, into the trace's head. Throws: UsageError.
void set_bandwidth(const std::string& text, graph::Trace& trace);

}  // namespace neap::app
