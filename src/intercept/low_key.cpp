// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "intercept/low_key.h"

#include "device/device.h"

#include <c10/core/TensorOptions.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <c10/util/Exception.h>

#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

namespace neap::intercept {
namespace {

constexpr c10::DispatchKey kKey = LowKey::kKey;

// Where an operator's schema has dtype, layout and device.
using Places = std::array<std::size_t, 3>;

std::optional<Places> places_of(const c10::FunctionSchema& schema) {
  Places places{};
  std::size_t found = 0;
  for (std::size_t i = 0; i < schema.arguments().size(); ++i) {
    const c10::Argument& argument = schema.arguments()[i];
    // Where a tensor is among the arguments, LibTorch's kernel keeps the thread's keys.
    if (argument.type()->isSubtypeOf(*c10::TensorType::get())) return std::nullopt;
    constexpr std::array<std::string_view, 3> kNames = {"dtype", "layout", "device"};
    if (found < kNames.size() && argument.name() == kNames.at(found)) places.at(found++) = i;
  }
  if (found < places.size()) return std::nullopt;
  return places;
}

// A factory's kernel on BackendSelect: as LibTorch's own, but the thread's interception stays.
class SelectBackend final : public c10::OperatorKernel {
 public:
  explicit SelectBackend(const Places& places) : places_(places) {}
  void operator()(const c10::OperatorHandle& op, c10::DispatchKeySet /*keys*/,
                  torch::jit::Stack* stack) const {
    const auto arguments = torch::jit::last(*stack, op.schema().arguments().size());
    const auto dtype = arguments[places_[0]].toOptional<c10::ScalarType>();
    const auto layout = arguments[places_[1]].toOptional<c10::Layout>();
    const auto device = arguments[places_[2]].toOptional<c10::Device>();
    c10::DispatchKeySet keys(c10::computeDispatchKey(dtype, layout, device));
    const c10::impl::LocalDispatchKeySet local = c10::impl::tls_local_dispatch_key_set();
    if (local.included_.has(kKey) && !local.excluded_.has(kKey)) keys = keys.add(kKey);
    op.redispatchBoxed(keys, stack);
  }

 private:
  Places places_;
};

// The keys of a host's tensors that are above CustomRNGKeyId.
constexpr std::array kOtherLayouts = {c10::DispatchKey::MkldnnCPU, c10::DispatchKey::SparseCPU,
                                      c10::DispatchKey::SparseCsrCPU,
                                      c10::DispatchKey::NestedTensorCPU};

// Stands in front of an operator's kernel for one of these.
class InFront final : public c10::OperatorKernel {
 public:
  InFront(c10::SafeKernelFunction before, c10::KernelFunction kernel)
      : before_(std::move(before)), kernel_(std::move(kernel)) {}
  void operator()(const c10::OperatorHandle& op, c10::DispatchKeySet keys,
                  torch::jit::Stack* stack) {
    if (keys.has(kKey)) return kernel_.callBoxed(op, keys, stack);
    before_.callBoxed(op, keys, stack);
  }

 private:
  c10::SafeKernelFunction before_;
  c10::KernelFunction kernel_;
};

// Whether a kernel for many keys would run in place of a fallback. One that only calls others is
// left there, unless the device has a kernel of its own: that one may give other bits.
bool has_other_kernel_here(const c10::OperatorHandle& op) {
  return op.hasKernelForDispatchKey(c10::DispatchKey::CompositeExplicitAutograd) ||
         op.hasKernelForDispatchKey(c10::DispatchKey::CompositeExplicitAutogradNonFunctional) ||
         (op.hasKernelForDispatchKey(c10::DispatchKey::CompositeImplicitAutograd) &&
          op.hasKernelForDispatchKey(device::tracked().key()));
}

// LibTorch warns of each kernel that takes another one's place.
struct Silent final : c10::WarningHandler {
  void process(const c10::Warning& /*warning*/) override {}
};

}  // namespace

// Notes the operators that change. The dispatcher calls it with a lock that registering takes, too.
class LowKey::Listener final : public c10::OpRegistrationListener {
 public:
  void onOperatorRegistered(const c10::OperatorHandle& op) override { note(op); }
  void onOperatorDeregistered(const c10::OperatorHandle& op) override { note(op); }
  [[nodiscard]] bool any() const { return any_.load(std::memory_order_acquire); }
  std::vector<c10::OperatorName> take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(changed_, {});
  }
  // Nothing is left to do, unless more has changed since take().
  void done() {
    const std::lock_guard lock(mutex_);
    any_.store(!changed_.empty(), std::memory_order_release);
  }

 private:
  void note(const c10::OperatorHandle& op) {
    const std::lock_guard lock(mutex_);
    changed_.push_back(op.operator_name());
    any_.store(true, std::memory_order_release);
  }
  std::mutex mutex_;
  std::atomic<bool> any_{false};
  std::vector<c10::OperatorName> changed_;
};

LowKey::LowKey(c10::KernelFunction kernel) : kernel_(std::move(kernel)) {
  auto listener = std::make_unique<Listener>();
  listener_ = listener.get();
  listening_.emplace(c10::Dispatcher::singleton().addRegistrationListener(std::move(listener)));
  stand_on_new_operators();
}

void LowKey::stand_on_new_operators() {
  if (!listener_->any()) return;
  const std::lock_guard lock(mutex_);
  Silent silent;
  const c10::WarningUtils::WarningHandlerGuard guard(&silent);
  for (const c10::OperatorName& name : listener_->take()) {
    kernels_.erase(name);
    const std::optional<c10::OperatorHandle> op = c10::Dispatcher::singleton().findSchema(name);
    if (op) stand_on(*op);
  }
  listener_->done();
}

void LowKey::stand_on(const c10::OperatorHandle& op) {
  const auto add = [&](c10::DispatchKey where, c10::KernelFunction kernel) {
    kernels_[op.operator_name()].push_back(c10::Dispatcher::singleton().registerImpl(
        op.operator_name(), where, std::move(kernel), std::nullopt, nullptr, "neap"));
  };
  if (has_other_kernel_here(op)) add(kKey, kernel_);
  if (!op.hasKernelForDispatchKey(c10::DispatchKey::CompositeImplicitAutograd)) {
    for (const c10::DispatchKey layout : kOtherLayouts) {
      if (!op.hasComputedKernelForDispatchKey(layout)) continue;
      add(layout, c10::KernelFunction::makeFromBoxedFunctor(std::make_unique<InFront>(
                      op.getComputedKernelForDispatchKey(layout), kernel_)));
    }
  }
  if (!op.hasKernelForDispatchKey(c10::DispatchKey::BackendSelect)) return;
  if (const std::optional<Places> places = places_of(op.schema())) {
    add(c10::DispatchKey::BackendSelect,
        c10::KernelFunction::makeFromBoxedFunctor(std::make_unique<SelectBackend>(*places)));
  }
}

}  // namespace neap::intercept
