// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/scope.h: train inside a budget.
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
// Guarantees: the bits of plain LibTorch. No code of the program runs twice. With a budget, the
// bytes that LibTorch holds never pass it. Units: bytes. Threads: a scope belongs to the thread
// that opened it, and one thread at a time can have scopes or regions; another one gets
// ScopeConflict.
#pragma once

#include <neap/engine.h>
#include <neap/memory.h>

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <optional>
#include <string>

namespace neap {

// How it is decided what is evicted when a budget is full: one of Online, Planned and Fixed.
//
// As the step goes on, without a look ahead, by h_DTR^eq of "Dynamic Tensor Rematerialization"
// (Kirisame et al., arXiv 2006.09616).
struct Online {};
// By a plan of the step. The first step of a kind runs online and is traced. Another thread makes a
// plan of the trace (planner::solve) while the program goes on. Later scopes that run the same
// operators on the same sizes follow the plan. The first operator that a plan does not foresee ends
// the plan for that scope, and the new step is traced in its turn. The 16 plans that were used last
// are kept. plan_ahead() lets the first step follow a plan too.
//
// Regions in such a scope: the plan decides what is evicted, so checkpoint() only calls its
// function. The rules of a region (custom_checkpoint(), set_checkpoint_policy()) hold: a plan never
// frees what is MustSave, and frees what is PreferSave only where no plan fits otherwise. What is
// MustRecompute is evicted when the region closes. The rest of a region with rules is decided by
// the plan; in steps without a plan it is evicted when the region closes. From the first region
// with a memory limit (keep_at_most, free_at_least) to its end the scope is online.
struct Planned {
  // A directory that keeps plans from one process to the next, so that the first steps follow plans
  // already. It is made when it does not exist. A file that other users could have written, a
  // damaged file, and one of another version are ignored, and Stats::plan_note says so. Empty:
  // none.
  std::filesystem::path cache = {};
};
// By the plan of this file and no other, as `neap plan -o` writes it. Where the file names the
// operators of its step (docs/formats.md) the plan is followed from the first step on; where the
// program runs another operator the plan ends, and Stats::plan_note says where. A file without
// operators is followed once a step has been traced. A storage that the plan frees and does not
// bring back stays until the program lets go of it, where the peak of the plan leaves room for
// that.
struct Fixed {
  std::filesystem::path plan;
};

class PlanMode {
 public:
  // NOLINTBEGIN(google-explicit-constructor): options name one of the three
  PlanMode(const Planned& planned) : cache_(planned.cache.string()) {}
  PlanMode(Online /*online*/) : online_(true) {}
  PlanMode(const Fixed& fixed) : plan_(fixed.plan.string()) {}
  // NOLINTEND(google-explicit-constructor)
  [[nodiscard]] bool online() const { return online_; }
  [[nodiscard]] const std::string& plan() const { return plan_; }    // a file's path, or empty
  [[nodiscard]] const std::string& cache() const { return cache_; }  // a directory's path, or empty

 private:
  bool online_ = false;
  std::string plan_;
  std::string cache_;
};

using Policy [[deprecated("it is neap::PlanMode now")]] = PlanMode;

struct Options {
  // The most that LibTorch may hold, in bytes, cached blocks included. Absent: no limit; then
  // nothing is evicted but the insides of checkpoint() regions.
  std::optional<Bytes> budget = {};
  PlanMode policy = Planned{};  // of no effect without a budget
  // Storages may also go to a file in this directory, and come back by a copy: whatever costs the
  // step less. Then also what nothing can make again may go: parameters, gradients, the optimizer's
  // state, results of operators that must not run twice. So a step runs in budgets that hold
  // neither of them. Absent: nothing is copied. Of no effect without a budget.
  //
  // A storage that has been away has another address. So a program that keeps an address of
  // parameters or of what operators write must pin it (neap::pin). What was there before the scope
  // and is only read, such as a batch, stays where it is. When the scope ends, everything that fits
  // comes back, but for parameters and optimizer's state that are away then: operators bring them
  // back at any time, and raw access throws.
  //
  // No bit of the step hangs on the file: each content is compared with its hash (XXH3) when it is
  // back. What cannot be read is made again; where nothing can make it, OffloadError is thrown. A
  // file that cannot be written or is full counts as no room.
  std::optional<Offload> offload = {};
  // Track each storage also without a budget, for saved_report(). Costs what a budget costs, and
  // evicts nothing.
  bool observe = false;
  // Compare what operators make again with what was given back, by a hash of the bytes. The first
  // difference throws ReplayError, with the operator that made it: it does not do the same each
  // time, or something has written in secret into what it made or reads. Results with gaps that no
  // kernel writes are not compared. Cost: each such content is read twice. In a nested scope it
  // counts until the outermost one ends.
  bool verify = false;
};

// While it is open, the operators of its thread are recorded, and storages are evicted and restored
// so that the budget holds. Cost to open: a few microseconds. Scopes nest when the inner one names
// no budget or the same one.
class NEAP_EXPORT Scope {
 public:
  // Throws: ScopeConflict when another thread has a scope, or an outer scope another budget;
  // BudgetExceeded when more is in use already than the budget allows; InvalidArgument for a budget
  // of 0 bytes or less, and for a directory of Options::offload that cannot hold a file; Error when
  // install() was not called.
  explicit Scope(const Options& options = {});
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;
  // As end(). While an exception is under way it throws nothing: what does not fit stays evicted,
  // and each access to it throws.
  ~Scope() noexcept(false);

  // Restores everything that the program still holds, then stops recording; Options::offload says
  // what stays away. Idempotent. Throws: BudgetExceeded when it does not fit; ReplayError, as
  // Options::verify; OffloadError; ScopeConflict in another thread than its own. The scope stays
  // open then, so the program can release tensors and call end() again. In a child of fork()
  // the scope has ended already.
  void end();
  // Ends the scope after a failure. What does not fit stays evicted, and each access to it throws.
  // Idempotent. In another thread than its own it does nothing.
  void abandon() noexcept;

  [[nodiscard]] bool is_open() const noexcept { return open_; }
  [[nodiscard]] Stats stats() const;

 private:
  void begin(const Options& options);
  void close(bool completed);
  void lose() noexcept;

  bool open_ = false;
  bool plans_ = false;  // the outermost one with a budget
  int exceptions_ = 0;
  Stats base_;  // when it was opened
  Stats last_;  // when it ended
};

// Waits until no plan is being made. Then what the next scope does depends on no race between its
// thread and the planner's.
NEAP_EXPORT void finish_planning();

// What LibTorch holds after a forward, for the backward of `loss`: each storage that an operator of
// the scope has made or read and that is still alive, held by the graph or by the program, by
// region, layer and operator. Its totals are the allocator's. Call it inside a Scope with a budget,
// or one with Options::observe. A scope that plans does not know regions without rules. Cost: one
// row a storage. loss: a tensor with a graph. Throws: InvalidArgument when it has none; Error when
// nothing is tracked.
NEAP_EXPORT SavedReport saved_report(const at::Tensor& loss);

}  // namespace neap
