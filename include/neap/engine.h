// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/engine.h: how a program talks to the engine: pins, interruption, and the counts of a scope.
//
//   const neap::Pinned pinned(weights);  // the storage stays where it is while `pinned` lives
//   float* raw = pinned.tensor().data_ptr<float>();
//
// Threads: call pin() and unpin(), and use Pinned, in the thread of the scope.
#pragma once

#include <neap/base.h>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace neap {

// Where a scope may copy storages to that do not fit, beside making them again: see
// Options::offload.
struct Offload {
  // The file there has no name, mode 0600, and is gone when the process ends, however it ends.
  // Empty for a device whose memory is not the host's: then copies are in memory of the host.
  std::filesystem::path directory;
  // The most bytes of the file. Absent: what the file system gives.
  std::optional<Bytes> limit = {};
};

// What happens to a result that is alive when the region that made it closes. A region is the
// inside of checkpoint(), custom_checkpoint() or keep_results().
enum class CheckpointPolicy : std::uint8_t {
  MustSave,         // stays in memory, and no budget evicts it
  PreferSave,       // stays in memory until the budget of a Scope needs its bytes
  PreferRecompute,  // is evicted, unless the region's memory limit has room for it
  MustRecompute,    // is evicted
};

// Counts of one Scope, from the moment it was opened.
// Operators of less than 20 us that follow another such operator are sampled: one in 16 of them,
// drawn at random, is timed and counted as 16. The same holds for neap's own time at these
// operators. All other operators, replays, and evictions that an allocation asks for are timed each
// time.
struct Stats {
  std::int64_t peak_bytes = 0;      // largest reserved bytes while it was open
  std::int64_t budget_bytes = 0;    // 0 without a budget
  std::int64_t operators = 0;       // operators of the program, without replays
  std::int64_t replays = 0;         // replayed operators
  std::int64_t evictions = 0;       // storages that were evicted
  std::int64_t evicted_bytes = 0;   // their bytes
  std::int64_t pinned_bytes = 0;    // tracked storages that cannot be evicted, now or when it ended
  std::int64_t recorder_bytes = 0;  // largest memory of recipes and records
  std::int64_t replay_ns = 0;       // time inside replayed operators
  std::int64_t operator_ns = 0;     // time inside the program's operators
  std::int64_t bookkeeping_ns = 0;  // time in neap: choosing, evicting, preparing replays
  // About copies, see Options::offload.
  std::int64_t offloads = 0;            // contents that were copied out
  std::int64_t offloaded_bytes = 0;     // their bytes
  std::int64_t loads = 0;               // copies that came back
  std::int64_t loaded_bytes = 0;        // their bytes
  std::int64_t offload_wait_ns = 0;     // time in which the step waited for copies
  std::int64_t offload_peak_bytes = 0;  // largest number of bytes in the tier
  // About plans, see Options::policy.
  std::int64_t plan_hits = 0;          // 1 when all operators ran by a plan
  std::int64_t plan_misses = 0;        // 1 when the step left its plan
  std::int64_t planned_operators = 0;  // operators that ran by a plan
  std::int64_t unplanned_bytes = 0;    // evicted because more was needed than the plan had foreseen
  // The peak of the plan that was followed, to be compared with peak_bytes.
  std::int64_t predicted_peak_bytes = 0;
  std::int64_t predicted_ns = 0;  // its time, to be compared with operator_ns + replay_ns
  std::int64_t planning_ns = 0;   // time to make it, in another thread
  // For people: why a step that was traced has no plan, and which files were ignored.
  std::string plan_note = {};
  // For people: which rules of CheckpointOptions matched nothing in a region, and the nearest names
  // in it. One rule per line.
  std::string rule_note = {};
};

// Thrown when two scopes, or a scope and a region, cannot be open together.
class NEAP_EXPORT ScopeConflict : public Error {
 public:
  explicit ScopeConflict(const std::string& text);
  ~ScopeConflict() override;
};

// Thrown by the next operator after neap::interrupt() was called.
class NEAP_EXPORT Interrupted : public Error {
 public:
  Interrupted();
  ~Interrupted() override;
};

// Thrown when a replay did not do the same as the recorded run. The message names the operator.
class NEAP_EXPORT ReplayError : public Error {
 public:
  explicit ReplayError(const std::string& text);
  ~ReplayError() override;
};

// Thrown when the program has written by hand into a watched storage, and what had been made from
// the old bytes is evicted: see watch().
class NEAP_EXPORT HandWritten : public Error {
 public:
  explicit HandWritten(const std::string& storage);  // as people know it
  ~HandWritten() override;
};

// Thrown when a content that a scope has copied to a file cannot be read back, or is not what was
// written, and no recipe can make it again: see Options::offload. The message names the storage,
// the directory and the system's error. The step is not complete; what was lost stays lost.
class NEAP_EXPORT OffloadError : public Error {
 public:
  OffloadError(const std::string& storage, const std::string& why);  // as people know it
  ~OffloadError() override;
};

// Restores the storage of `tensor` if it is evicted, and keeps it in memory until unpin() or its
// death. Use it for raw pointers that the program holds across operators. Two pins need two unpins.
// Returns `tensor`. Throws: BudgetExceeded when it does not fit.
NEAP_EXPORT at::Tensor pin(const at::Tensor& tensor);
NEAP_EXPORT void unpin(const at::Tensor& tensor);

// Keeps the storage that the tensor has now in memory while it lives, at most until its scope
// closes. Outside of a scope, and in another thread than the scope's, it pins nothing.
class NEAP_EXPORT Pinned {
 public:
  explicit Pinned(at::Tensor tensor);  // throws as pin()
  Pinned(Pinned&& other) noexcept;
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;
  Pinned& operator=(Pinned&&) = delete;
  ~Pinned();
  [[nodiscard]] const at::Tensor& tensor() const { return tensor_; }

 private:
  at::Tensor tensor_;
  at::Storage storage_;
  std::uint64_t ticket_;  // 0: nothing is pinned
};

// Call it before the address of a tensor's storage is used to read or write by hand while operators
// run too: a pointer that is kept, an array of another library. Until the scope closes, the storage
// stays in memory. What was made from it, or is made from it later, stays in memory too: after a
// write by hand it could not be made again. Outside of a scope it does nothing. Throws:
// BudgetExceeded when it does not fit; ScopeConflict in another thread than the scope's, for a
// storage that may be evicted.
NEAP_EXPORT void expose(const at::Tensor& tensor);
// As expose(), for who only may write. A storage that was there before the scope, such as a
// parameter, is watched instead, so that what is made from it can still be evicted. Its bytes are
// hashed when an operator or a replay reads them. After a write by hand, what had been made from
// the old bytes stays in memory. Where it is evicted already, the operator that needs it throws
// HandWritten.
NEAP_EXPORT void watch(const at::Tensor& tensor);
// Says that from now on the program has the address of a storage only after expose(), watch() or
// pin(), also between two operators. Then other threads may evict while the scope's thread is in
// the program's code. Otherwise they wait for its next operator, at most two seconds. Threads: call
// it while no scope is open.
NEAP_EXPORT void declare_addresses_exposed();

// Makes the next operator inside a Scope throw Interrupted instead of running. Use it in a handler
// of Ctrl-C, or to stop a step from another thread. Safe in a signal handler. A request stays until
// an operator throws.
NEAP_EXPORT void interrupt() noexcept;

}  // namespace neap
