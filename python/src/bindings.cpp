// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The functions of neap that Python calls through ctypes. A function that may fail returns 0, or
// the number of the error's class; neap_error_text() and neap_error_figures() say more. A tensor is
// the address of its TensorImpl, Tensor._cdata in Python. ctypes lets go of Python's lock during
// each call. Python's declarations are in torch_neap/_library.py.
#include "guarded.h"

#include "engine/engine.h"
#include "intercept/storage_access.h"
#include "memory/refusal.h"
#include "policy/ready_engine.h"

#include <neap/machine.h>
#include <neap/neap.h>
#include <neap/version.h>

#include <c10/util/Exception.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace {

// The classes of errors, in the order of torch_neap/_errors.py.
enum class Class : int {
  None,
  Error,
  InvalidArgument,
  ScopeConflict,
  Interrupted,
  ReplayError,
  HandWritten,
  OffloadError,
  OutOfMemory,
  BudgetExceeded,
};

struct Failure {
  Class its_class = Class::None;
  std::string text;
  std::array<std::int64_t, 4> figures{};  // need, in use, budget, smallest feasible; bytes
};
thread_local Failure last_failure;

int note(Class its_class, std::string_view text) {
  last_failure = {.its_class = its_class, .text = std::string(text)};
  return static_cast<int>(its_class);
}

}  // namespace

int neap::python::note_current() noexcept {
  try {
    throw;
  } catch (const neap::BudgetExceeded& error) {
    // Those who look for a smaller batch, such as accelerate and Lightning, know the error by these
    // words.
    note(Class::BudgetExceeded,
         std::string(error.what()) +
             "\n  as PyTorch says it: DefaultCPUAllocator: can't allocate memory");
    last_failure.figures = {error.need.count(), error.in_use.count(), error.budget.count(),
                            error.smallest_feasible.count()};
    return static_cast<int>(Class::BudgetExceeded);
  } catch (const neap::OutOfMemory& error) {
    return note(Class::OutOfMemory, error.what());
  } catch (const neap::HandWritten& error) {
    return note(Class::HandWritten, error.what());
  } catch (const neap::OffloadError& error) {
    return note(Class::OffloadError, error.what());
  } catch (const neap::ReplayError& error) {
    return note(Class::ReplayError, error.what());
  } catch (const neap::Interrupted& error) {
    return note(Class::Interrupted, error.what());
  } catch (const neap::ScopeConflict& error) {
    return note(Class::ScopeConflict, error.what());
  } catch (const neap::InvalidArgument& error) {
    return note(Class::InvalidArgument, error.what());
  } catch (const c10::Error& error) {
    return note(Class::Error, error.what_without_backtrace());
  } catch (const std::exception& error) {
    return note(Class::Error, error.what());
  } catch (...) {
    return note(Class::Error, "an exception that is no std::exception");
  }
}

const char* neap::python::lasting(std::string text) {
  thread_local std::string kept;
  kept = std::move(text);
  return kept.c_str();
}

namespace {

using neap::python::guarded;
using neap::python::lasting;
using neap::python::note_current;

bool is_own_error() noexcept {
  try {
    throw;
  } catch (const neap::Error&) {
    return true;
  } catch (...) {
    return false;
  }
}

// An operator of the program fails. PyTorch's binding of the operator knows LibTorch's exceptions
// only, so a budget that is exceeded leaves as its out-of-memory, which is torch.OutOfMemoryError
// in Python. Kernels never see that: some take another algorithm when memory is short.
void leave_operator() {
  if (!is_own_error() || note_current() != static_cast<int>(Class::BudgetExceeded)) throw;
  throw c10::OutOfMemoryError({__func__, __FILE__, __LINE__}, last_failure.text);
}

at::Tensor tensor_of(void* impl) {
  auto* const tensor = static_cast<c10::TensorImpl*>(impl);
  c10::raw::intrusive_ptr::incref(tensor);
  return at::Tensor(c10::intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl>::reclaim(tensor));
}

// A tensor without elements in the storage.
at::Tensor tensor_in(void* impl) {
  auto* const storage = static_cast<c10::StorageImpl*>(impl);
  c10::raw::intrusive_ptr::incref(storage);
  return at::detail::make_tensor<c10::TensorImpl>(
      c10::Storage(c10::intrusive_ptr<c10::StorageImpl>::reclaim(storage)),
      c10::DispatchKeySet(c10::DispatchKey::CPU), c10::scalarTypeToTypeMeta(c10::kByte));
}

constexpr std::array kCounts{
    &neap::Stats::peak_bytes,      &neap::Stats::budget_bytes,
    &neap::Stats::operators,       &neap::Stats::replays,
    &neap::Stats::evictions,       &neap::Stats::evicted_bytes,
    &neap::Stats::pinned_bytes,    &neap::Stats::recorder_bytes,
    &neap::Stats::replay_ns,       &neap::Stats::operator_ns,
    &neap::Stats::bookkeeping_ns,  &neap::Stats::plan_hits,
    &neap::Stats::plan_misses,     &neap::Stats::planned_operators,
    &neap::Stats::unplanned_bytes, &neap::Stats::predicted_peak_bytes,
    &neap::Stats::predicted_ns,    &neap::Stats::planning_ns,
    &neap::Stats::offloads,        &neap::Stats::offloaded_bytes,
    &neap::Stats::loads,           &neap::Stats::loaded_bytes,
    &neap::Stats::offload_wait_ns, &neap::Stats::offload_peak_bytes,
};

neap::Scope& scope_of(void* scope) { return *static_cast<neap::Scope*>(scope); }
neap::detail::Region& region_of(void* region) {
  return *static_cast<neap::detail::Region*>(region);
}

}  // namespace

// ---- Errors ----

NEAP_PYTHON const char* neap_error_text() { return last_failure.text.c_str(); }
NEAP_PYTHON int neap_error_class() { return static_cast<int>(last_failure.its_class); }
NEAP_PYTHON void neap_error_figures(std::int64_t* four) {
  std::memcpy(four, last_failure.figures.data(), sizeof(last_failure.figures));
}
NEAP_PYTHON void neap_error_clear() { last_failure = {}; }
// An allocation that no operator makes is refused by PyTorch's RuntimeError. Notes the refusal in
// this thread that `text` begins with, if there is one.
NEAP_PYTHON int neap_error_note_refusal(const char* text) {
  const std::exception_ptr refusal = neap::memory::last_refusal();
  if (!refusal) return 0;
  try {
    std::rethrow_exception(refusal);
  } catch (const std::exception& error) {
    return std::string_view(text).starts_with(error.what()) ? note_current() : 0;
  }
}

// ---- The process ----

NEAP_PYTHON int neap_install() {
  return guarded([] {
    neap::install();
    neap::declare_addresses_exposed();
    neap::policy::ready_engine().set_error_translator(&leave_operator);
  });
}
NEAP_PYTHON void neap_interrupt() { neap::interrupt(); }
NEAP_PYTHON int neap_declare_replayable(const char* name) {
  return guarded([&] { neap::declare_replayable(name); });
}
NEAP_PYTHON int neap_finish_planning() {
  return guarded([] { neap::finish_planning(); });
}
NEAP_PYTHON const char* neap_version() { return NEAP_VERSION; }

// ---- Memory ----

NEAP_PYTHON int neap_parse_bytes(const char* text, std::int64_t* bytes) {
  return guarded([&] { *bytes = neap::Bytes::parse(text).count(); });
}
NEAP_PYTHON const char* neap_bytes_text(std::int64_t bytes) {
  return lasting(neap::Bytes(bytes).text());
}
// requested, live, cached, reserved, peak, peak_reserved, unseen, allocations
NEAP_PYTHON void neap_memory_usage(std::int64_t* eight) {
  const neap::memory::Usage usage = neap::memory::usage();
  const std::array figures{usage.requested, usage.live,          usage.cached, usage.reserved,
                           usage.peak,      usage.peak_reserved, usage.unseen, usage.allocations};
  std::memcpy(eight, figures.data(), sizeof(figures));
}
NEAP_PYTHON void neap_memory_reset_peak() { neap::memory::reset_peak(); }
NEAP_PYTHON std::int64_t neap_memory_trim() { return neap::memory::trim().count(); }
NEAP_PYTHON std::int64_t neap_memory_left() { return neap::machine::memory().left(); }

// ---- Scopes ----

// budget: bytes; -1: none. plan: a file, or empty. cache, offload: a directory, or empty.
// offload_limit: bytes; -1: none.
NEAP_PYTHON int neap_scope_open(std::int64_t budget, int online, const char* plan,
                                const char* cache, const char* offload, std::int64_t offload_limit,
                                int observe, int verify, void** scope) {
  return guarded([&] {
    neap::Options options;
    if (budget != -1) options.budget = neap::Bytes(budget);
    if (online != 0) {
      options.policy = neap::Online{};
    } else if (*plan != '\0') {
      options.policy = neap::Fixed{plan};
    } else {
      options.policy = neap::Planned{cache};
    }
    if (*offload != '\0') {
      options.offload = {.directory = offload};
      if (offload_limit != -1) options.offload->limit = neap::Bytes(offload_limit);
    }
    options.observe = observe != 0;
    options.verify = verify != 0;
    *scope = new neap::Scope(options);
  });
}
// The scope is closed afterwards, also when this fails.
NEAP_PYTHON int neap_scope_end(void* scope) {
  const int failed = guarded([&] { scope_of(scope).end(); });
  if (failed != 0) scope_of(scope).abandon();
  return failed;
}
NEAP_PYTHON void neap_scope_abandon(void* scope) { scope_of(scope).abandon(); }
// Any thread may call it. A scope that is open is abandoned in its own thread; in another one it
// stays open until the process ends.
NEAP_PYTHON void neap_scope_free(void* scope) {
  scope_of(scope).abandon();
  if (scope_of(scope).is_open()) return;
  delete &scope_of(scope);
}
NEAP_PYTHON int neap_scope_count_of_counts() { return static_cast<int>(kCounts.size()); }
NEAP_PYTHON int neap_scope_stats(void* scope, std::int64_t* counts) {
  return guarded([&] {
    const neap::Stats stats = scope_of(scope).stats();
    for (std::size_t i = 0; i < kCounts.size(); ++i) counts[i] = stats.*kCounts[i];
  });
}
NEAP_PYTHON const char* neap_scope_plan_note(void* scope) {
  return lasting(scope_of(scope).stats().plan_note);
}
NEAP_PYTHON const char* neap_scope_rule_note(void* scope) {
  return lasting(scope_of(scope).stats().rule_note);
}

// ---- Regions ----

NEAP_PYTHON int neap_region_open(void** region) {
  return guarded([&] { *region = new neap::detail::Region(); });
}
NEAP_PYTHON void neap_region_keep(void* region, void* tensor) {
  region_of(region).keep(tensor_of(tensor));
}
// The region is gone afterwards, also when this fails.
NEAP_PYTHON int neap_region_close(void* region) {
  const int failed = guarded([&] { region_of(region).close(); });
  delete &region_of(region);
  return failed;
}
NEAP_PYTHON void neap_region_abandon(void* region) { delete &region_of(region); }
// policy: 0 must save, 1 prefer save, 2 prefer recompute, 3 must recompute
NEAP_PYTHON int neap_set_checkpoint_policy(void* tensor, int policy) {
  return guarded([&] {
    neap::set_checkpoint_policy(tensor_of(tensor), static_cast<neap::CheckpointPolicy>(policy));
  });
}

// ---- Addresses ----

NEAP_PYTHON int neap_pin(void* tensor) {
  return guarded([&] { neap::pin(tensor_of(tensor)); });
}
NEAP_PYTHON int neap_unpin(void* tensor) {
  return guarded([&] { neap::unpin(tensor_of(tensor)); });
}
NEAP_PYTHON int neap_expose(void* tensor) {
  return guarded([&] { neap::expose(tensor_of(tensor)); });
}
NEAP_PYTHON int neap_watch(void* tensor) {
  return guarded([&] { neap::watch(tensor_of(tensor)); });
}
// The address of a StorageImpl, UntypedStorage._cdata in Python.
NEAP_PYTHON int neap_watch_storage(void* storage) {
  return guarded([&] { neap::watch(tensor_in(storage)); });
}
NEAP_PYTHON int neap_pin_storage(void* storage) {
  return guarded([&] { neap::pin(tensor_in(storage)); });
}
NEAP_PYTHON int neap_unpin_storage(void* storage) {
  return guarded([&] { neap::unpin(tensor_in(storage)); });
}
// 1 when the storage of the tensor is evicted; 0 for a tensor without one too.
NEAP_PYTHON int neap_is_evicted(void* tensor) {
  const auto* const impl = static_cast<const c10::TensorImpl*>(tensor);
  if (!impl->has_storage()) return 0;
  const c10::DataPtr& data =
      neap::intercept::data_ptr_of(*impl->unsafe_storage().unsafeGetStorageImpl());
  return data.get() == nullptr && data.get_context() != nullptr;  // its record
}
// 1 while some thread has a scope or a region. Then addresses matter.
NEAP_PYTHON int neap_has_owner() { return neap::policy::ready_engine().has_owner() ? 1 : 0; }
NEAP_PYTHON int neap_scope_is_open(void* scope) { return scope_of(scope).is_open() ? 1 : 0; }

// ---- What a scope knows ----

NEAP_PYTHON int neap_saved_report(void* loss, const char** text) {
  return guarded([&] { *text = lasting(neap::saved_report(tensor_of(loss)).text()); });
}
