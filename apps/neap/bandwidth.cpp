// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "bandwidth.h"

#include "command_line.h"

#include <string_view>

namespace neap::app {
namespace {

std::int64_t bytes_per_s(std::string_view text) {
  constexpr std::string_view kUnit = "/s";
  try {
    if (text.ends_with(kUnit)) {
      const std::int64_t bytes = Bytes::parse(text.substr(0, text.size() - kUnit.size())).count();
      if (bytes > 0) return bytes;
    }
  } catch (const InvalidArgument&) {  // said below
  }
  throw UsageError("--bandwidth: '" + std::string(text) +
                   "' is no bandwidth; write bytes a second above 0, as 3GB/s or 512MiB/s, or two "
                   "of them for out and in, as 2GB/s,3GB/s");
}

}  // namespace

void set_bandwidth(const std::string& text, graph::Trace& trace) {
  const std::string_view all = text;
  const std::size_t comma = all.find(',');
  trace.out_bytes_per_s = bytes_per_s(all.substr(0, comma));
  trace.in_bytes_per_s =
      comma == std::string_view::npos ? trace.out_bytes_per_s : bytes_per_s(all.substr(comma + 1));
}

}  // namespace neap::app
