// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "intercept/dispatch.h"

#include "intercept/low_key.h"

#include <neap/intercept.h>

#include <array>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

namespace neap::intercept {
namespace {

// Fake is above the factories and the views, so a fallback sees both. CustomRNGKeyId is lower and
// needs more: see low_key.h. LibTorch may take Fake for itself one day. In LibTorch 2.11 and 2.12
// Fake is above the modes of Python, which hide from it what they call.
constexpr bool kSeesModes = c10::DispatchKey::Fake < c10::DispatchKey::Python;
constexpr std::array kCandidates = kSeesModes ? std::array{c10::DispatchKey::Fake, LowKey::kKey}
                                              : std::array{LowKey::kKey, c10::DispatchKey::Fake};

thread_local Handler* thread_handler = nullptr;

void fallback(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack) {
  if (thread_handler != nullptr) {
    thread_handler->call(op, keys, stack);
  } else {
    redispatch(op, keys, stack);
  }
}

struct Registration {
  std::optional<c10::RegistrationHandleRAII> fallback;
  std::unique_ptr<LowKey> low_key;  // null: on Fake
  c10::DispatchKey key = c10::DispatchKey::Undefined;
  c10::DispatchKeySet below;
  c10::DispatchKeySet replay_excluded;
  std::string refusals;
};

// Leaked on purpose: operators may run in other threads while the process ends.
Registration& registration() {
  static auto* const instance = new Registration;
  return *instance;
}

void take_key() {
  Registration& mine = registration();
  for (const c10::DispatchKey key : kCandidates) {
    try {
      // The dispatcher throws when the key already has a fallback.
      mine.fallback.emplace(c10::Dispatcher::singleton().registerFallback(
          key, c10::KernelFunction::makeFromBoxedFunction<&fallback>(), "neap"));
      mine.key = key;
      mine.below = c10::DispatchKeySet(c10::DispatchKeySet::FULL_AFTER, key);
      if (key == LowKey::kKey) {
        mine.below =
            c10::DispatchKeySet(c10::DispatchKeySet::FULL_AFTER, c10::DispatchKey::BackendSelect)
                .remove(key);
        mine.low_key =
            std::make_unique<LowKey>(c10::KernelFunction::makeFromBoxedFunction<&fallback>());
      }
      // What is above the factories too, and the modes of Python wherever they are: a replay is no
      // operator of the program, which such a mode would see.
      mine.replay_excluded =
          c10::autograd_dispatch_keyset_with_ADInplaceOrView | c10::autocast_dispatch_keyset |
          (c10::DispatchKeySet(c10::DispatchKeySet::FULL) -
           c10::DispatchKeySet(c10::DispatchKeySet::FULL_AFTER, c10::DispatchKey::Fake)) |
          c10::DispatchKeySet(c10::DispatchKey::Python) | c10::DispatchKeySet(key);
      return;
    } catch (const c10::Error& error) {
      mine.refusals +=
          std::string("\n  ") + c10::toString(key) + ": " + error.what_without_backtrace();
    }
  }
}

}  // namespace

void ensure_registered() {
  static std::once_flag once;
  std::call_once(once, take_key);
  if (registration().key == c10::DispatchKey::Undefined) {
    throw Error("neap cannot see operators: each dispatch key that it could use is taken" +
                registration().refusals +
                "\n  use a LibTorch between 2.11 and 2.15, without another library that registers "
                "a fallback on these keys");
  }
  if (registration().low_key) registration().low_key->stand_on_new_operators();
}

c10::DispatchKey key() { return registration().key; }

void set_handler(Handler* handler) noexcept { thread_handler = handler; }

void include(bool on) noexcept { c10::impl::tls_set_dispatch_key_included(registration().key, on); }

void redispatch(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack) {
  const Registration& mine = registration();
  const c10::impl::ExcludeDispatchKeyGuard guard{c10::DispatchKeySet(mine.key)};
  op.redispatchBoxed(keys & mine.below, stack);
}

void decompose(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack) {
  op.redispatchBoxed(keys & registration().below, stack);
}

BelowAll::BelowAll() : guard_(registration().replay_excluded) {}

}  // namespace neap::intercept

namespace neap {

std::string interception_key() {
  intercept::ensure_registered();
  return c10::toString(intercept::key());
}

}  // namespace neap
