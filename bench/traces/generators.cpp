// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "generators.h"

#include "families.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

namespace neap::bench {
namespace {

using Record = Value (*)(Layers& layers, std::int64_t operators);

constexpr std::int64_t kFewest = 100;

constexpr std::array<std::string_view, 8> kFamilies = {
    "chain", "residual", "unet", "dense", "recurrent", "transformer", "random", "unrolled"};
constexpr std::array<Record, kFamilies.size()> kRecords = {
    record_chain,     record_residual,    record_unet,   record_dense,
    record_recurrent, record_transformer, record_random, record_unrolled};

Optimizer optimizer_of(std::string_view family) {
  if (family == "recurrent" || family == "transformer") {
    return {.name = "aten::_fused_adamw_", .states = 2};
  }
  return {};
}

std::string joined_families() {
  std::string text;
  for (const std::string_view family : kFamilies) {
    text += text.empty() ? "" : ", ";
    text += family;
  }
  return text;
}

}  // namespace

std::span<const std::string_view> families() { return kFamilies; }

graph::Trace make_trace(std::string_view family, std::int64_t operators, std::uint64_t seed) {
  const auto* const found = std::find(kFamilies.begin(), kFamilies.end(), family);
  if (found == kFamilies.end()) {
    throw InvalidArgument("trace: no family \"" + std::string(family) + "\"; choose one of " +
                          joined_families());
  }
  if (operators < kFewest) {
    throw InvalidArgument("trace: a step of " + std::string(family) + " has no fewer than " +
                          std::to_string(kFewest) + " operators, and " + std::to_string(operators) +
                          " were asked for");
  }
  Layers layers(seed);
  Optimizer optimizer = optimizer_of(family);
  optimizer.gradients_stay = layers.random().chance(50);
  const Record record = kRecords[static_cast<std::size_t>(found - kFamilies.begin())];
  const Value loss = record(layers, operators);
  return std::move(layers.step())
      .finish(
          loss, optimizer,
          std::string(family) + " " + std::to_string(operators) + " seed " + std::to_string(seed));
}

}  // namespace neap::bench
