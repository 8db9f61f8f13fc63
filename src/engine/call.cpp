// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/call.cpp: the way of one operator through the engine. Engine::run has the steps.
// Hot: called once per operator. bench/micro.cpp measures it.
#include "engine/call.h"
#include "engine/engine.h"
#include "engine/stack_tensors.h"
#include "intercept/autograd_phase.h"
#include "intercept/storage_access.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace neap::engine {
namespace {

using intercept::OperatorTraits;

// True when a write of the whole tensor writes each byte of its storage.
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

// The clock of one operator: see TimeSample.
class Engine::OperatorTime {
 public:
  explicit OperatorTime(Engine& engine)
      : engine_(engine),
        each_(engine.sample_.times_each()),
        looks_(each_ || engine.sample_.draw()),
        entered_(looks_ ? engine.uncounted_ns() : 0) {}
  OperatorTime(const OperatorTime&) = delete;
  OperatorTime& operator=(const OperatorTime&) = delete;

  void kernel_begins(const Call& call) {
    known_ = engine_.costs_.of(call.signature);
    // An observer is told the time of each operator.
    is_short_ =
        known_.settled() && known_.ns < TimeSample::kShortNs && engine_.observer_ == nullptr;
    engine_.sample_.next(is_short_);
    if (looks_ || !is_short_) prepared_ = engine_.uncounted_ns();
  }
  // Also sets the call's time and cost.
  void kernel_ended(Call& call) {
    if (looks_ || !is_short_) ran_ = engine_.uncounted_ns();
    call.ns = std::max<std::int64_t>(0, ran_ - prepared_);
    engine_.stats_.operator_ns += (is_short_ && !each_) ? TimeSample::stands_for(call.ns) : call.ns;
    call.cost_ns = known_.settled()
                       ? known_.ns
                       : engine_.costs_.learn(call.signature, static_cast<float>(call.ns));
  }
  void operator_ended() {
    if (!looks_) return;
    const std::int64_t own =
        std::max<std::int64_t>(0, (prepared_ - entered_) + (engine_.uncounted_ns() - ran_));
    engine_.stats_.bookkeeping_ns += each_ ? own : TimeSample::stands_for(own);
  }

 private:
  Engine& engine_;
  bool each_;   // the operator counts as one, else as many
  bool looks_;  // its bookkeeping is timed
  bool is_short_ = false;
  OperatorCosts::Cost known_;
  std::int64_t entered_, prepared_ = 0, ran_ = 0;
};

void Engine::run(const OperatorTraits& traits, const c10::OperatorHandle& op,
                 c10::DispatchKeySet keys, torch::jit::Stack* stack) {
  ++stats_.operators;
  OperatorTime time(*this);
  const Busy busy(*this);
  serve_others();
  Call call(traits, stack);
  Locks locks(*this);
  scan(call);
  extend_run(call);
  bring_operands(call, locks);
  protect_overwritten(call);
  encode_call(call);
  time.kernel_begins(call);
  run_kernel(call, op, keys);
  time.kernel_ended(call);
  record_results(call);
  if (call.grad_mode) section_ = numbered_.size();
  locks.release();
  if (deaths_.load(std::memory_order_relaxed) != nullptr) process_deaths();
  if (director_ && !traits.view) evict_all_of(director_->after_operator());
  time.operator_ended();
}

// What other threads have asked for or let go of since the last operator.
void Engine::serve_others() {
  if (gate_.is_asked()) gate_.serve([this](std::int64_t bytes) { return make_room(bytes); });
  if (deaths_.load(std::memory_order_relaxed) != nullptr) process_deaths();
}

void Engine::scan(Call& call) {
  const auto arguments = call.arguments();
  const bool once = intercept::updates_once(call.traits, arguments);
  call.once = once;
  for_each_tensor(arguments, [&](const at::Tensor& tensor, std::size_t argument) {
    if (tensor.defined()) scan_tensor(call, tensor, argument);
  });
  if (call.traits.random) {
    for (const c10::IValue& value : arguments) {
      if (value.isGenerator() && !device_.can_save(value.toGenerator())) call.foreign = true;
    }
  }
  choose_references(call);
}

void Engine::scan_tensor(Call& call, const at::Tensor& tensor, std::size_t argument) {
  c10::TensorImpl& impl = *tensor.unsafeGetTensorImpl();
  const std::uint64_t bit = std::uint64_t{1} << argument;
  if (!intercept::is_plain(impl)) {
    if (intercept::is_host_number(impl)) {
      call.operands.push_back(
          {&impl, nullptr, 0, static_cast<std::uint8_t>(argument), Use::Number});
      return;
    }
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
    if (use == Use::Write) call.foreign = true;  // the operator will allocate its memory
    use = Use::None;
  } else {
    block = find(*storage);
    if (block == nullptr && use != Use::Unread && !call.traits.view && is_tracking()) {
      block = track(tensor, *storage);
      if (block == nullptr) call.foreign = true;
    }
    if (block != nullptr && block->storage != nullptr && block->storage != storage) {
      hold_storage(*block, *storage);  // the program has moved the memory to another storage
    }
  }
  call.operands.push_back({&impl, block, 0, static_cast<std::uint8_t>(argument), use});
}

// Gives each read and written block its index. A block that is written counts as written only: the
// node holds it through its chain.
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
  if (director_) return bring_directed(absent);
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
// Optimizer state, running averages and counters are written with grad mode off. They outlive the
// step, and the gradients that they are made from die. So the engine never makes them again from a
// recipe. The forward of a custom autograd function also writes with grad mode off. In a scope, a
// storage that it makes and writes can be made again on these conditions. It was made after grad
// mode went off. It depends only on parameters and on storages that can be made again, also through
// storages that were made in the same section. It is written at most a few times, since a sum of
// many batches would hold all of them. What an optimizer makes from its state, such as the root of
// an average, does not meet the conditions. Such functions also write by hand, so the bytes are
// checked before the content is lost: see Note [Blanks].
bool Engine::hangs_on_what_stays(const Call& call) const {
  return std::ranges::all_of(call.reads, [this](const Block* read) {
    if (read->pinned == PinReason::Parameter) return true;
    return (only_observing() ? read->observed_replayable() : read->replayable()) &&
           (read->scope_number < section_ || read->temporary);
  });
}

bool Engine::may_write_again(const Call& call, const Block& block) const {
  if (call.grad_mode) return true;
  constexpr std::uint32_t kMostWrites = 4;
  return block.temporary && block.scope_number != kNoNumber && block.scope_number >= section_ &&
         block.version < kMostWrites && !intercept::in_plain_backward() &&
         hangs_on_what_stays(call);
}

// Says whether the results can be made again by a replay. It does not check whether the arguments
// can be encoded.
bool Engine::may_run_again(Call& call) const {
  const OperatorTraits& traits = call.traits;
  if (!traits.replayable || traits.view || traits.empty || call.foreign) return false;
  if (call.writes.empty()) {
    if (!is_tracking()) return false;
    // Note [Gradients]
    // To make a gradient again, the engine would have to replay the backward that made it. For that
    // it would have to hold the activations that die as the backward goes on. That saves no memory.
    // So what a backward makes is pinned, and not recorded.
    call.gradient = intercept::in_plain_backward();
    if (call.gradient) return false;
  } else {
    if (call.writes.size() != 1) return false;
    const Block& block = *call.writes[0];
    const bool again = only_observing() ? block.observed_replayable() : block.replayable();
    if (!again && !(block.pinned == PinReason::Empty && call.whole)) return false;
    if (!may_write_again(call, block)) return false;
  }
  for (const Operand& operand : call.operands) {
    if (operand.block == nullptr && (operand.use == Use::Read || operand.use == Use::Write)) {
      return false;  // not tracked: outside of a region, or not LibTorch's memory
    }
  }
  return true;
}

void Engine::encode_call(Call& call) {
  if (!may_run_again(call)) return;
  // A scope that only observes has recipes for blocks of its regions only.
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
  at::Generator generator = device_.default_generator();
  for (const c10::IValue& value : arguments) {
    if (value.isGenerator()) generator = value.toGenerator();
  }
  if (!last_generator_ || last_generator_->generator() != generator ||
      !last_generator_->is_current()) {
    last_generator_ = device_.save(generator);
  }
  call.generator = last_generator_;
}

// Extends the run's hash by this operator: see RunLog and Note [Directors].
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
    storages =
        (storages ^ (operand.block != nullptr ? operand.block->scope_number : kNoNumber)) * kOdd;
  }
  call.signature = sizes;
  if (call.traits.view) return;  // not hashed, because equal steps may use different views
  const auto so_far = scopes_ > 0 ? run_log_.call(sizes ^ (storages >> 1)) : std::nullopt;
  if (!so_far) return stop_director();
  if (director_ && !director_->foresees(*so_far, &call.traits)) stop_director();
}

void Engine::run_kernel(Call& call, const c10::OperatorHandle& op, c10::DispatchKeySet keys) {
  const OperatorTraits* const outer = running_;
  running_ = &call.traits;
  try {
    // Declared first, so that it is destroyed after `kernel`, when no other thread can evict.
    std::optional<Watch> watch;
    if (observer_ != nullptr) watch.emplace(*this, call);
    const Gate::Kernel kernel(gate_);
    intercept::redispatch(op, keys, call.stack);
  } catch (...) {
    running_ = outer;
    stop_director();
    failed(call);
    throw;
  }
  running_ = outer;
}

}  // namespace neap::engine
