// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "intercept/generator_state.h"

#include <cstring>
#include <mutex>

namespace neap::intercept {
namespace {

at::CPUGeneratorImpl& cpu(const at::Generator& generator) {
  return *at::check_generator<at::CPUGeneratorImpl>(generator);
}

}  // namespace

bool GeneratorState::is_supported(const at::Generator& generator) {
  return generator.defined() && generator.device().is_cpu() &&
         dynamic_cast<at::CPUGeneratorImpl*>(generator.unsafeGetGeneratorImpl()) != nullptr;
}

std::shared_ptr<const GeneratorState> GeneratorState::save(const at::Generator& generator) {
  at::CPUGeneratorImpl& impl = cpu(generator);
  const std::lock_guard lock(impl.mutex_);
  return std::make_shared<const GeneratorState>(GeneratorState{
      generator, impl.engine(), impl.next_float_normal_sample(), impl.next_double_normal_sample()});
}

bool GeneratorState::is_current() const {
  at::CPUGeneratorImpl& impl = cpu(generator);
  const std::lock_guard lock(impl.mutex_);
  const at::mt19937_data_pod now = impl.engine().data();
  const at::mt19937_data_pod then = engine.data();
  return now.seed_ == then.seed_ && now.left_ == then.left_ && now.seeded_ == then.seeded_ &&
         now.next_ == then.next_ && now.state_ == then.state_ &&
         impl.next_float_normal_sample() == next_float &&
         impl.next_double_normal_sample() == next_double;
}

void GeneratorState::restore() const {
  at::CPUGeneratorImpl& impl = cpu(generator);
  const std::lock_guard lock(impl.mutex_);
  impl.set_engine(engine);
  impl.set_next_float_normal_sample(next_float);
  impl.set_next_double_normal_sample(next_double);
}

GeneratorStateGuard::GeneratorStateGuard(const GeneratorState* state) {
  if (state == nullptr) return;
  before_ = GeneratorState::save(state->generator);
  state->restore();
}

GeneratorStateGuard::~GeneratorStateGuard() {
  if (before_) before_->restore();
}

}  // namespace neap::intercept
