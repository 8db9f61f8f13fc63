// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/checkpoint.h: train inside a budget, or mark the regions whose inside is made again.
//
//   neap::install();
//   neap::Options options;
//   options.budget = neap::Bytes::parse("1.5 GiB");
//   {
//     neap::Scope scope(options);
//     auto loss = loss_of(model->forward(x), y);
//     loss.backward();
//     optimizer.step();
//   }
//
// Guarantees: the bits of plain LibTorch; no code of the program runs twice; with a budget, the bytes
// that LibTorch holds never pass it. Units: bytes. Threads: a scope belongs to the thread that opened it, and one
// thread at a time can have scopes or regions; another one gets ScopeConflict.
#pragma once

#include <neap/call.h>
#include <neap/engine.h>
#include <neap/graph.h>
#include <neap/memory.h>

#include <ATen/core/Tensor.h>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace neap {

namespace engine {
class Selector;
}

// Who decides what goes when a budget is full: one of these three.
//
// h_DTR^eq of "Dynamic Tensor Rematerialization" (Kirisame et al., arXiv 2006.09616): as the step goes on, and without a look ahead.
struct Online {};
// A step runs on line and is traced, another thread makes a plan of it (planner::solve) while the program goes on, and later scopes
// that do the same calls of the same sizes follow the plan. The first call that a plan has not foreseen ends it for that scope,
// and the new sequence is traced in its turn. What goes is the plan's to say, so checkpoint() only calls its function in such a
// scope. What the rules of a region save (custom_checkpoint(), tag()) no plan frees: MustSave never, PreferSave where that leaves a
// plan; MustRecompute goes when the region closes; the rest of such a region is the plan's to say, and goes when the region closes
// in steps that follow no plan. From the first region with a limit (keep_at_most, free_at_least) the scope
// stays on line. The last plans used are kept, up to 16. plan_ahead() lets the first step follow one too.
struct Planned {
  // A directory in which plans are kept from one process to the next, so that the first steps follow plans already; made when
  // it is not there. Files that others could have written, damaged ones and those of other versions are ignored, and
  // Stats::plan_note says so. Empty: none.
  std::filesystem::path cache = {};
};
// This plan file and no other, as `neap plan -o` writes it. Where it foresees the step's operators (docs/formats.md) it is followed from
// the first step on, as far as they are the program's: Stats::plan_note says where they are not. Another one is followed once a step
// has been traced; what it frees and does not bring back stays then until the program lets go of it, where its peak leaves room for it.
struct Fixed {
  std::filesystem::path plan;
};

class Policy {
 public:
  // NOLINTBEGIN(google-explicit-constructor): options name one of the three
  Policy(const Planned& planned) : cache_(planned.cache.string()) {}
  Policy(Online /*online*/) : online_(true) {}
  Policy(const Fixed& fixed) : plan_(fixed.plan.string()) {}
  // NOLINTEND(google-explicit-constructor)
  [[nodiscard]] bool online() const { return online_; }
  [[nodiscard]] const std::string& plan() const { return plan_; }    // a file's path, or empty
  [[nodiscard]] const std::string& cache() const { return cache_; }  // a directory's path, or empty

 private:
  bool online_ = false;
  std::string plan_;
  std::string cache_;
};

struct Options {
  // The most that LibTorch may hold, in bytes, cached blocks included. Absent: no limit; nothing is evicted
  // but the insides of checkpoint() regions.
  std::optional<Bytes> budget = {};
  Policy policy = Planned{};  // of no effect without a budget
  // Follow each storage also without a budget, for saved_report(). Costs what a budget costs, and evicts nothing.
  bool observe = false;
};

// While it is open, the thread's operators are recorded, and storages are evicted and replayed so that the
// budget holds. Cost to open: a few microseconds. Scopes nest when the inner one names no budget or the same.
class NEAP_EXPORT Scope {
 public:
  // Throws: ScopeConflict (another thread has a scope, or another budget is set); BudgetExceeded when more
  // is in use already than the budget allows; Error when install() was not called.
  explicit Scope(const Options& options = {});
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;
  // As end(). When an exception is under way nothing is thrown, and what does not fit stays evicted: each
  // access to it throws.
  ~Scope() noexcept(false);

  // Brings everything back that the program still holds, then stops recording. Idempotent.
  // Throws: BudgetExceeded when it does not fit; the scope stays open then, so the program can release
  // tensors and call it again.
  void end();

  [[nodiscard]] Stats stats() const;

 private:
  void close(bool completed);

  bool open_ = false;
  bool plans_ = false;  // the outermost one with a budget
  int exceptions_ = 0;
  Stats base_;  // when it was opened
  Stats last_;  // when it ended
};

// Waits until no plan is being made: then what the next scope does hangs on no race between its thread and the planner's.
NEAP_EXPORT void finish_planning();

// What LibTorch holds after a forward, for the backward of `loss`: each storage that an operator of the scope has made or read
// and that is still alive, held by the graph or by the program, by region, layer and operator. Its totals are the
// allocator's. Call it inside a Scope with a budget, or one with Options::observe. In a scope that plans, regions without rules
// are not known. Cost: one row a storage.
// loss: a tensor with a graph. Throws: InvalidArgument when it has none; Error when nothing is followed.
NEAP_EXPORT SavedReport saved_report(const at::Tensor& loss);

// What the caller knows of a tensor that a trace will meet.
struct KnownTensor {
  at::Tensor tensor;
  graph::StorageKind kind = graph::StorageKind::Constant;
};

// Runs step() once, as plain LibTorch would, and remembers what it did. A scope that is opened later, with a budget and the policy
// Planned, plans this step before its first operator, so it need not bring it to its end on line first: the smallest budget of
// a first step is that of a plan then. Give it the step that the scope will hold, once for each kind of step: the first one of a
// training makes the optimizer's state, so it is another kind than those after it. step() changes the model: give it one of its
// own. Regions are not known here, so a step with rules (custom_checkpoint()) goes on line the first time.
// Memory: what the plain step takes; some 400 bytes an operator for the last 4 kinds, until a planned scope does something else.
// Time: the step, and the search for a plan when the scope opens.
// Throws: what step() throws; ScopeConflict when a scope is open.
NEAP_EXPORT void plan_ahead(const std::function<void()>& step);

struct TraceOptions {
  // Without these: what requires grad or an optimizer writes is a parameter, what it alone uses its state, the rest constant.
  std::vector<KnownTensor> known = {};
  std::string label = {};  // of the trace, for people
};

// Runs step() once, as plain LibTorch would, and returns what it did: each operator with its time and the bytes that it needed
// while it ran, each storage from where it was made to where it was let go of. checkpoint() and its kin only call their
// functions meanwhile. `keep` is what the program holds at the end. An operator is replayable when a scope with a budget would
// run it again for its results. What no operator of the step touches is in it as constants that nobody reads, so that the peak
// of graph::run_plainly() is the allocator's. LibTorch's memory from before install() counts as 0 bytes.
// Run a step before: the first one makes the optimizer's state.
// Throws: what step() throws; ScopeConflict when a scope with a budget is open.
NEAP_EXPORT graph::Trace trace(const std::function<void()>& step, const TraceOptions& options = {});

// The same of so many steps in turn: an operator's time is the median, its workspace the largest.
// Throws: also InvalidArgument for fewer than one; Error, with the first operator that differs, for steps that are not the same:
// one that grows, or depends on the data, has no plan.
NEAP_EXPORT graph::Trace trace_steps(const std::function<void()>& step,
                                     const TraceOptions& options = {}, std::int64_t steps = 3);

// Which results of a region stay when it closes. A rule holds for the operators and layers that its two patterns match
// (`*` any text, `?` any character): `aten::mm`, `aten::*convolution*`; `encoder.*.linear1`, by the names of neap::name().
// Operators have the names that are seen below autograd, with their namespace and without overload: a linear layer is an
// `aten::addmm`. A rule that matched nothing in a region is named in Stats::rule_note.
struct CheckpointRule {
  std::string op = "*";
  std::string layer = "*";
  CheckpointPolicy policy = CheckpointPolicy::PreferSave;
  bool optional = false;  // it may match nothing, and nobody is told
};

// A result that an operator inside the region has just made.
struct CheckpointCandidate {
  std::string_view op;     // aten::mm
  std::string_view layer;  // empty: not known
  at::IntArrayRef sizes;
  std::int64_t bytes = 0;    // of its storage
  std::int64_t cost_ns = 0;  // of the operator
};

// Who decides, first to last: tag(), keep(), the first rule that matches, `policy`; then the options of the region around, as
// long as there is one; then the memory limit; and what nobody has said anything about goes. A rule says what must
// not run again: when the result itself is not alive (nobody saved it for the backward), what was made from it and is
// alive stays in its place. So no choice of rules takes more memory than no checkpoint at all.
struct NEAP_EXPORT CheckpointOptions {
  std::string name = {};  // for saved_report(); empty: checkpoint N
  std::vector<CheckpointRule> rules = {};
  // Asked where no rule matches, once for each result; it must not run operators. Nullopt: it does not say.
  std::function<std::optional<CheckpointPolicy>(const CheckpointCandidate&)> policy = {};
  // The memory limit, one of the two: what may stay of what is not decided, or what of it must go at least. What
  // stays is chosen so that the recompute time that it saves, times the importance of its layer, is the largest (0/1
  // knapsack).
  std::optional<Bytes> keep_at_most = {};
  std::optional<Bytes> free_at_least = {};
  // Pattern of layers and weight, the first that matches; 1 for the rest, 0 never stays.
  std::vector<std::pair<std::string, double>> importance = {};

  // Matrix products, convolutions and attention stay, as in PyTorch's selective checkpointing.
  static CheckpointOptions save_compute();
};

namespace detail {

class Selection;

// A region whose inside is evicted when it closes, or, a keeping one, stays. Used through checkpoint() and keep().
class NEAP_EXPORT Region {
 public:
  enum class Kind { Evicts, Keeps };
  explicit Region(Kind kind = Kind::Evicts);
  // Throws: InvalidArgument for a memory limit below 0, both of them, a weight that is negative or no number, or a pattern that
  // cannot match anything.
  explicit Region(const CheckpointOptions& options);
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;
  ~Region();  // abandons: nothing is evicted
  void keep(const at::Tensor& output);
  void close();

 private:
  void open(engine::Selector* selector, bool evicts, const std::string& name);

  std::unique_ptr<Selection> selection_;
  bool open_ = false;
};

inline void keep_tensors(Region& region, const at::Tensor& value) { region.keep(value); }
template <class T>
requires requires(const T& value) {
  std::begin(value);
  std::end(value);
}
void keep_tensors(Region& region, const T& values);
template <class... Ts>
void keep_tensors(Region& region, const std::tuple<Ts...>& values);
template <class A, class B>
void keep_tensors(Region& region, const std::pair<A, B>& values);
template <class T>
void keep_tensors(Region& region, const std::optional<T>& value);
template <class T>
requires(!std::convertible_to<const T&, const at::Tensor&> && !requires(const T& value) {
  std::begin(value);
}) void keep_tensors(Region& /*region*/, const T& /*value*/) {}

template <class T>
requires requires(const T& value) {
  std::begin(value);
  std::end(value);
}
void keep_tensors(Region& region, const T& values) {
  if constexpr (!std::is_arithmetic_v<std::remove_cvref_t<decltype(*std::begin(values))>> &&
                !std::is_same_v<std::remove_cvref_t<decltype(*std::begin(values))>, T>) {
    for (const auto& value : values) keep_tensors(region, value);
  }
}
template <class... Ts>
void keep_tensors(Region& region, const std::tuple<Ts...>& values) {
  std::apply([&](const Ts&... value) { (keep_tensors(region, value), ...); }, values);
}
template <class A, class B>
void keep_tensors(Region& region, const std::pair<A, B>& values) {
  keep_tensors(region, values.first);
  keep_tensors(region, values.second);
}
template <class T>
void keep_tensors(Region& region, const std::optional<T>& value) {
  if (value) keep_tensors(region, *value);
}

template <class F, class... Args>
decltype(auto) run_in(Region& region, F&& fn, Args&&... args) {
  // Qualified: the arguments' namespaces may have a call() of their own.
  if constexpr (std::is_void_v<decltype(detail::call(std::forward<F>(fn),
                                                     std::forward<Args>(args)...))>) {
    detail::call(std::forward<F>(fn), std::forward<Args>(args)...);
    region.close();
  } else {
    decltype(auto) result = detail::call(std::forward<F>(fn), std::forward<Args>(args)...);
    keep_tensors(region, result);
    region.close();
    return result;
  }
}

}  // namespace detail

// Runs fn(args...) and returns what it returns. fn: a function or a lambda, or, as in Python, a module: its holder, itself, a
// pointer to it, a torch::nn::Sequential, a torch::nn::AnyModule, an element of a torch::nn::ModuleList (see neap/call.h). What
// fn made inside and autograd saved is evicted, and
// brought back by replaying operators when the backward asks for it; each operator at most once a backward, unless a
// budget evicts it again. fn itself runs once. Tensors in the result, also inside containers, tuples, pairs and
// optionals, stay resident; a tensor inside a class of the program comes back when an operator reads it. In inference mode
// it only calls fn: nothing is saved there. So it does in a scope with a budget and plans, where the budget alone says how much
// stays: see Planned.
// Cost: a few microseconds and one record an operator.
// Throws: what fn throws; ScopeConflict when another thread has a scope or a region open; InvalidArgument for an element of a
// ModuleList whose forward() cannot be called without its type.
template <class F, class... Args>
decltype(auto) checkpoint(F&& fn, Args&&... args) {
  detail::Region region;
  return detail::run_in(region, std::forward<F>(fn), std::forward<Args>(args)...);
}

// As checkpoint(), with a choice of what stays.
//
//   neap::name(model);
//   neap::CheckpointOptions options{.rules = {{.op = "aten::*mm"}, {.layer = "blocks.*.norm?"}}};
//   y = neap::custom_checkpoint(options, [&](torch::Tensor in) { return model->forward(in); }, x);
//
// Without options it is checkpoint().
// Throws: as checkpoint(); InvalidArgument for options that cannot be meant, and for a pattern that no operator, or no layer that
// neap::name() was told, can match.
template <class F, class... Args>
decltype(auto) custom_checkpoint(const CheckpointOptions& options, F&& fn, Args&&... args) {
  detail::Region region(options);
  return detail::run_in(region, std::forward<F>(fn), std::forward<Args>(args)...);
}
template <class F, class... Args>
requires(!std::convertible_to<F, const CheckpointOptions&>) decltype(auto)
    custom_checkpoint(F&& fn, Args&&... args) {
  return checkpoint(std::forward<F>(fn), std::forward<Args>(args)...);
}

// Inside a checkpoint(): runs fn() and returns what it returns; what fn makes stays when the region closes, and the rest
// around it is replayed, from there on. Outside of one it only calls fn. As a rule of PreferSave for all operators.
//
//   y = neap::checkpoint([&](torch::Tensor in) {
//     auto q = neap::keep([&] { return attention->forward(in); });
//     return feed_forward->forward(q);
//   }, x);
template <class F>
std::invoke_result_t<F> keep(F&& fn) {
  detail::Region region(detail::Region::Kind::Keeps);
  return std::invoke(std::forward<F>(fn));
}

// Splits a torch::nn::Sequential (or a ModuleList, or any sized range of what checkpoint() takes) into `segments` runs of
// layers whose sizes differ by one at most, longer ones first, and checkpoints each but the last, whose inside the
// backward needs at once.
// Throws: InvalidArgument when segments is not in [1, number of layers].
template <class Sequential>
at::Tensor checkpoint_sequential(Sequential& sequential, std::int64_t segments, at::Tensor x,
                                 const CheckpointOptions& options = {});

namespace detail {
// [begin, end) of segment `index`; sizes differ by one at most.
NEAP_EXPORT std::pair<std::int64_t, std::int64_t> segment_bounds(std::int64_t layers,
                                                                 std::int64_t segments,
                                                                 std::int64_t index);

// Runs the layers in segments, each up to the layer before its end, and checkpoints each but the last.
// REQUIRES: ends rise, and the last is the number of layers.
template <class Layers>
at::Tensor run_segments(Layers& layers, const std::vector<std::int64_t>& ends, at::Tensor x,
                        const CheckpointOptions& options = {}) {
  std::int64_t begin = 0;
  for (const std::int64_t end : ends) {
    const auto run = [&](at::Tensor value) {
      for (auto it = std::next(layers.begin(), begin); it != std::next(layers.begin(), end); ++it) {
        value = detail::call(*it, value);
      }
      return value;
    };
    x = end != ends.back() ? custom_checkpoint(options, run, x) : run(x);
    begin = end;
  }
  return x;
}
}  // namespace detail

template <class Sequential>
at::Tensor checkpoint_sequential(Sequential& sequential, std::int64_t segments, at::Tensor x,
                                 const CheckpointOptions& options) {
  auto& layers = detail::pointee(sequential);
  const auto count = static_cast<std::int64_t>(layers.size());
  std::vector<std::int64_t> ends;
  for (std::int64_t segment = 0; segment < segments || segment == 0; ++segment) {
    ends.push_back(detail::segment_bounds(count, segments, segment).second);
  }
  return detail::run_segments(layers, ends, std::move(x), options);
}

}  // namespace neap
