// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/call.cpp: one operator on its way through the engine. Engine::call lists the steps.
// Hot: once per operator. Guarded by bench/micro.cpp.
#include "engine/call.h"
#include "engine/engine.h"
#include "intercept/autograd_phase.h"
#include "intercept/storage_access.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace neap::engine {
namespace {

using intercept::OperatorTraits;

// Writing the tensor writes each byte of its storage.
bool covers_storage(const c10::TensorImpl& tensor) {
  return tensor.is_non_overlapping_and_dense() &&
         static_cast<std::size_t>(tensor.numel()) * tensor.itemsize() ==
             tensor.unsafe_storage().nbytes();
}

}  // namespace

Engine::Watch::Watch(Engine& engine, Call& call)
    : engine_(engine), call_(call), outer_(std::exchange(engine.watch_, this)) {
  const memory::Usage before = memory::Pool::instance().open(gauge_);
  call_.allocations = before.allocations;
  call_.live = call_.peak = before.live + shift();
}

Engine::Watch::~Watch() {
  end();
  engine_.watch_ = outer_;
}

void Engine::Watch::end() {
  memory::Pool::instance().close(gauge_);
  call_.peak = std::max(call_.peak, gauge_.live + shift());
}

Engine::Reclaiming::Reclaiming(Engine& engine) noexcept : engine_(engine) {
  for (Watch* watch = engine_.watch_; watch != nullptr; watch = watch->outer_) watch->end();
}

Engine::Reclaiming::~Reclaiming() {
  for (Watch* watch = engine_.watch_; watch != nullptr; watch = watch->outer_) {
    memory::Pool::instance().open(watch->gauge_);
  }
}

void Engine::call(const c10::OperatorHandle& op, c10::DispatchKeySet keys,
                  torch::jit::Stack* stack) {
  const OperatorTraits& traits = intercept::traits_of(op);
  if (traits.decompose) return intercept::decompose(op, keys, stack);
  if (!owner_here()) return intercept::redispatch(op, keys, stack);
  if (interrupted_.load(std::memory_order_relaxed) && scopes_ > 0) {
    interrupted_.store(false);
    throw Interrupted();
  }
  try {
    run(traits, op, keys, stack);
  } catch (...) {
    failed_ = true;
    throw;
  }
  if (scopes_ == 0 && evicted_ == 0) detach_if_idle();
}

void Engine::run(const OperatorTraits& traits, const c10::OperatorHandle& op,
                 c10::DispatchKeySet keys, torch::jit::Stack* stack) {
  ++stats_.operators;
  const bool each = sample_.times_each();
  const bool looks = each || sample_.draw();
  const std::int64_t entered = looks ? uncounted_ns() : 0;
  const Busy busy(*this);
  if (request_.load(std::memory_order_relaxed) > 0) serve_requests();
  if (deaths_.load(std::memory_order_relaxed) != nullptr) process_deaths();

  Call call(traits, stack);
  Locks locks(*this);
  scan(call);
  extend_run(call);
  bring_operands(call, locks);
  protect_overwritten(call);
  encode_call(call);
  const OperatorCosts::Cost known = costs_.of(call.signature);
  // An observer is told the time of each.
  const bool is_short = known.settled() && known.ns < TimeSample::kShortNs && observer_ == nullptr;
  const bool timed = looks || !is_short;
  sample_.next(is_short);
  const std::int64_t prepared = timed ? uncounted_ns() : 0;
  run_kernel(call, op, keys);
  const std::int64_t ran = timed ? uncounted_ns() : 0;
  call.ns = std::max<std::int64_t>(0, ran - prepared);
  stats_.operator_ns += (is_short && !each) ? TimeSample::stands_for(call.ns) : call.ns;
  call.cost_ns =
      known.settled() ? known.ns : costs_.learn(call.signature, static_cast<float>(call.ns));
  record_results(call);
  if (call.grad_mode) section_ = numbered_.size();
  locks.release();
  if (deaths_.load(std::memory_order_relaxed) != nullptr) process_deaths();
  if (plan_.follows() && !traits.view) free_planned(plan_.after_operator());
  if (!looks) return;
  const std::int64_t own = std::max<std::int64_t>(0, (prepared - entered) + (uncounted_ns() - ran));
  stats_.bookkeeping_ns += each ? own : TimeSample::stands_for(own);
}

void Engine::scan(Call& call) {
  const auto arguments = call.arguments();
  const bool once = intercept::updates_once(call.traits, arguments);
  call.once = once;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const c10::IValue& value = arguments[i];
    if (value.isTensor()) {
      if (value.toTensor().defined()) scan_tensor(call, value.toTensor(), i);
    } else if (value.isTensorList() || value.isOptionalTensorList()) {
      for (const c10::IValue& element : value.toListRef()) {
        if (element.isTensor() && element.toTensor().defined()) {
          scan_tensor(call, element.toTensor(), i);
        }
      }
    } else if (value.isGenerator() && call.traits.random) {
      if (!intercept::GeneratorState::is_supported(value.toGenerator())) call.foreign = true;
    }
  }
  choose_references(call);
}

void Engine::scan_tensor(Call& call, const at::Tensor& tensor, std::size_t argument) {
  c10::TensorImpl& impl = *tensor.unsafeGetTensorImpl();
  const std::uint64_t bit = std::uint64_t{1} << argument;
  if (!intercept::is_plain(impl)) {
    call.foreign = true;
    call.keeps_operands = call.keeps_operands || (call.traits.writes & bit) != 0;
    return;
  }
  c10::StorageImpl* const storage = impl.unsafe_storage().unsafeGetStorageImpl();
  if (storage == nullptr) {
    call.foreign = true;
    return;
  }
  call.storages.push_back(storage);
  Use use = Use::Read;
  if (call.once && (call.traits.once & bit) != 0) {
    use = Use::Once;
  } else if ((call.traits.writes & bit) != 0) {
    use = Use::Write;
  } else if ((call.traits.unread & bit) != 0) {
    use = Use::Unread;
  }
  Block* block = nullptr;
  if (storage->nbytes() == 0) {
    if (use == Use::Write) call.foreign = true;  // its memory is yet to come
    use = Use::None;
  } else {
    block = find(*storage);
    if (block == nullptr && use != Use::Unread && !call.traits.view && following()) {
      block = follow(tensor, *storage);
      if (block == nullptr) call.foreign = true;
    }
    if (block != nullptr && block->storage != nullptr && block->storage != storage) {
      hold_storage(*block, *storage);  // the program moved the memory to another storage
    }
  }
  call.operands.push_back({&impl, block, 0, static_cast<std::uint8_t>(argument), use});
}

// Numbers reads and writes. A block that is written counts as written only: its node holds it through its chain.
void Engine::choose_references(Call& call) {
  const auto add = [](auto& blocks, Block* block) {
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      if (blocks[i] == block) return static_cast<std::uint16_t>(i);
    }
    blocks.push_back(block);
    return static_cast<std::uint16_t>(blocks.size() - 1);
  };
  for (Operand& operand : call.operands) {
    if (operand.block == nullptr) continue;
    if (operand.use == Use::Write) operand.reference = add(call.writes, operand.block);
    if (operand.use == Use::Once) add(call.once_writes, operand.block);
  }
  bool overlap = false;
  const Operand* written = nullptr;
  for (Operand& operand : call.operands) {
    if (operand.block == nullptr) continue;
    if (operand.use == Use::Write) written = &operand;
    if (operand.use != Use::Read) continue;
    for (std::size_t i = 0; i < call.writes.size(); ++i) {
      if (call.writes[i] != operand.block) continue;
      operand.use = Use::Write;
      operand.reference = static_cast<std::uint16_t>(i);
      overlap = true;
    }
    if (operand.use == Use::Read) operand.reference = add(call.reads, operand.block);
  }
  call.whole = call.traits.overwrites && call.writes.size() == 1 && !overlap &&
               written != nullptr && covers_storage(*written->tensor);
}

void Engine::bring_operands(Call& call, Locks& locks) {
  if (call.traits.view) return;
  c10::SmallVector<Block*, 8> absent;
  for (const Operand& operand : call.operands) {
    if (operand.block == nullptr) continue;
    locks.add(*operand.block);
    if (operand.use == Use::Unread) continue;
    operand.block->last_use = clock_;
    if (operand.block->residence == Residence::Evicted) absent.push_back(operand.block);
  }
  if (plan_.follows()) return bring_planned(absent);
  if (!absent.empty()) materialize(absent);
}

void Engine::protect_overwritten(Call& call) {
  const auto protect = [this](Block& block) {
    check_blank(block);
    if (!block.replayable() && block.reader_count > 0) protect_readers(block);
  };
  for (Block* const block : call.writes) protect(*block);
  for (Block* const block : call.once_writes) protect(*block);
}

// Note [Writes with grad mode off]
// An optimizer's state is made from gradients that die, and outlives the step: never rebuilt from a recipe. The same holds for
// running averages and counters, and all are written with grad mode off. So is what the forward of a custom function makes and
// writes, and that can be made again in a scope: it was made since grad mode went off, it hangs, also through others that were
// made since then, only on parameters and on what can be made again, and it is written a few times at most (a sum of many
// batches would hold them all). What an optimizer makes from its state, as the root of an average, is none of that. Such
// functions write by hand too, so the bytes are looked at before it goes: see Note [Blanks].
bool Engine::hangs_on_what_stays(const Call& call) const {
  return std::ranges::all_of(call.reads, [this](const Block* read) {
    if (read->given == Given::Parameter) return true;
    return (only_observing() ? read->observed_replayable() : read->replayable()) &&
           (read->number < section_ || read->temporary);
  });
}

bool Engine::may_write_again(const Call& call, const Block& block) const {
  if (call.grad_mode) return true;
  constexpr std::uint32_t kMostWrites = 4;
  return block.temporary && block.number != kNoNumber && block.number >= section_ &&
         block.version < kMostWrites && !intercept::in_plain_backward() &&
         hangs_on_what_stays(call);
}

// The rules of what can be made again, but for arguments that cannot be encoded.
bool Engine::may_run_again(Call& call) const {
  const OperatorTraits& traits = call.traits;
  if (!traits.replayable || traits.view || traits.empty || call.foreign) return false;
  if (call.writes.empty()) {
    if (!following()) return false;
    // Note [Gradients]
    // To bring a gradient back would take the backward that made it, and all it read: the activations that die as the backward
    // goes on. No budget is saved by that, so what a backward makes is given, and the recorder has no work there.
    call.gradient = intercept::in_plain_backward();
    if (call.gradient) return false;
  } else {
    if (call.writes.size() != 1) return false;
    const Block& block = *call.writes[0];
    const bool again = only_observing() ? block.observed_replayable() : block.replayable();
    if (!again && !(block.given == Given::Empty && call.whole)) return false;
    if (!may_write_again(call, block)) return false;
  }
  for (const Operand& operand : call.operands) {
    if (operand.block == nullptr && (operand.use == Use::Read || operand.use == Use::Write)) {
      return false;  // not followed: outside of a region, or not LibTorch's memory
    }
  }
  return true;
}

void Engine::encode_call(Call& call) {
  if (!may_run_again(call)) return;
  // Blocks of a scope that only observes have no recipes, but for those of regions in it.
  const bool unrecorded =
      only_observing() && (call.writes.empty() || call.writes[0]->chain == nullptr);
  if (unrecorded && observer_ == nullptr) {
    call.replayable = true;
    return;
  }
  code_.clear();
  const auto arguments = call.arguments();
  if (!encode({arguments.data(), arguments.size()}, {call.operands.data(), call.operands.size()},
              code_)) {
    return;
  }
  call.replayable = true;
  if (unrecorded) return;
  call.encoded = true;
  call.state = states_.current(!call.traits.pointwise);
  if (!call.traits.random) return;
  at::Generator generator = at::detail::getDefaultCPUGenerator();
  for (const c10::IValue& value : arguments) {
    if (value.isGenerator()) generator = value.toGenerator();
  }
  if (!last_generator_ || last_generator_->generator != generator ||
      !last_generator_->is_current()) {
    last_generator_ = intercept::GeneratorState::save(generator);
  }
  call.generator = last_generator_;
}

// See RunLog and Note [Plans in the engine].
void Engine::extend_run(Call& call) {
  constexpr std::uint64_t kOdd = 0x9E3779B97F4A7C15ULL;
  std::uint64_t sizes = call.traits.name_hash;
  std::uint64_t storages = 0;
  for (const Operand& operand : call.operands) {
    sizes =
        (sizes ^ static_cast<std::uint64_t>(c10::typeMetaToScalarType(operand.tensor->dtype()))) *
        kOdd;
    for (const std::int64_t size : operand.tensor->sizes()) {
      sizes = (sizes ^ static_cast<std::uint64_t>(size)) * kOdd;
    }
    storages = (storages ^ (operand.block != nullptr ? operand.block->number : kNoNumber)) * kOdd;
  }
  call.signature = sizes;
  if (call.traits.view) return;  // a program may take other ways to the same operators
  const auto so_far = scopes_ > 0 ? run_log_.call(sizes ^ (storages >> 1)) : std::nullopt;
  if (!so_far) {
    plan_.stop();
    return;
  }
  if (plan_.follows() && !plan_.call(*so_far)) {
    ++stats_.plan_misses;
    not_foreseen_ = &call.traits;
  }
}

void Engine::run_kernel(Call& call, const c10::OperatorHandle& op, c10::DispatchKeySet keys) {
  const OperatorTraits* const outer = running_;
  running_ = &call.traits;
  try {
    std::optional<Watch> watch;  // outlives the phase in which other threads evict
    if (observer_ != nullptr) watch.emplace(*this, call);
    const KernelPhase phase(*this);
    intercept::redispatch(op, keys, call.stack);
  } catch (...) {
    running_ = outer;
    plan_.stop();
    failed(call);
    throw;
  }
  running_ = outer;
}

}  // namespace neap::engine
