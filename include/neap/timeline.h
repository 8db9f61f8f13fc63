// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/timeline.h: what a step holds over time, at its peak, and by layer. For reports. Does not
// depend on LibTorch.
//
//   const neap::graph::Timeline line = neap::graph::timeline(trace, plan);
//   const neap::graph::Moment& peak = line.moments[line.peak];
//   std::cout << neap::Bytes(peak.total()) << " after " << peak.ns << " ns\n";
//
// Units: bytes, ns. Threads: every type here is a value; there is no shared state.
#pragma once

#include <neap/graph.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace neap::graph {

enum class Category : std::uint8_t {
  Parameters,   // and buffers
  Gradients,    // what the backward makes and the optimizer reads
  Optimizer,    // its state
  Inputs,       // and constants
  Activations,  // what the forward makes and the backward finds
  Temporaries,  // what else operators make
  Workspace     // what one operator needs while it runs
};
inline constexpr std::size_t kCategories = 7;
// "parameters", as the names above.
NEAP_EXPORT const char* name_of(Category category);
// "forward", as in the file of a trace.
NEAP_EXPORT const char* name_of(Phase phase);

// The operators of the step, by their number. They lie in the trace.
NEAP_EXPORT std::vector<const Operator*> operators_of(const Trace& trace);

// What each storage of the step is for. Throws: as run_plainly().
NEAP_EXPORT std::map<StorageId, Category> categories_of(const Trace& trace);

// While a step of the plan runs, or before the next run or rerun, when it holds most.
struct Moment {
  std::int64_t step = -1;  // of the plan, counted from 0; -1: before the first; its size: the end
  std::int64_t ns = 0;     // when the step of the plan begins, from the start
  bool rerun = false;
  std::array<std::int64_t, kCategories> bytes = {};
  // "cached": what the allocator keeps for reuse beside them. Measured when the step was traced, so
  // it is known of the plain step alone; nullopt: it is not known.
  std::optional<std::int64_t> cached = {};
  [[nodiscard]] NEAP_EXPORT std::int64_t total() const;  // of `bytes`
};

// A storage that is there at the peak.
struct Holder {
  StorageId storage = -1;  // -1: the workspace of the operator that runs
  std::int64_t bytes = 0;
  Category category = Category::Temporaries;
  std::string layer;  // of the operator that makes it, or first uses it; empty: not known
  std::string maker;  // the operator's name; empty: given
  std::string why;    // it is there: "aten::mul in the backward reads it"
};

struct Timeline {
  // The first is before the plan's first step, the last after its last; between them one for each
  // run and rerun, in order.
  std::vector<Moment> moments;
  std::size_t peak = 0;             // the moment of the largest total; of several, the first
  std::vector<Holder> at_the_peak;  // the largest first
};

// Follows the plan. The total of the peak is that of simulate(). Cost: linear.
// Throws: as simulate().
NEAP_EXPORT Timeline timeline(const Trace& trace, const Plan& plan);

// The modules that a layer is in, itself included, the outermost first: encoder, encoder.0. Empty
// for an empty name.
NEAP_EXPORT std::vector<std::string> modules_of(const std::string& layer);

// A module: all operators whose layer is `name`, or begins with it and a dot.
struct LayerUse {
  std::string name;
  std::int64_t parameters = 0;   // bytes of those that its operators are the first to read
  std::int64_t activations = 0;  // bytes that it makes in the forward and the backward finds
  // Of them, what checkpoint() around it would free: bytes that no other module's forward reads,
  // and that can be made again.
  std::int64_t freed_by_checkpoint = 0;
  std::int64_t forward_ns = 0;  // what checkpoint() around it would take again
  std::int64_t backward_ns = 0;
};

// All modules with a name, each after those that it is in, in the order of their first operator.
// Throws: as run_plainly().
NEAP_EXPORT std::vector<LayerUse> layers_of(const Trace& trace);

}  // namespace neap::graph
