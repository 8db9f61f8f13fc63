// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "device/cpu/mersenne_twister.h"

#include <mutex>

namespace neap::device {
namespace {

at::CPUGeneratorImpl& impl_of(const at::Generator& generator) {
  return *at::check_generator<at::CPUGeneratorImpl>(generator);
}

}  // namespace

bool MersenneTwisterState::is_of(const at::Generator& generator) {
  return generator.defined() && generator.device().is_cpu() &&
         dynamic_cast<at::CPUGeneratorImpl*>(generator.unsafeGetGeneratorImpl()) != nullptr;
}

MersenneTwisterState::Snapshot MersenneTwisterState::read(const at::Generator& generator) {
  at::CPUGeneratorImpl& impl = impl_of(generator);
  const std::lock_guard lock(impl.mutex_);
  return {impl.engine(), impl.next_float_normal_sample(), impl.next_double_normal_sample()};
}

MersenneTwisterState::MersenneTwisterState(const at::Generator& generator)
    : GeneratorState(generator), saved_(read(generator)) {}

bool MersenneTwisterState::is_current() const {
  at::CPUGeneratorImpl& impl = impl_of(generator());
  const std::lock_guard lock(impl.mutex_);
  const at::mt19937_data_pod now = impl.engine().data();
  const at::mt19937_data_pod then = saved_.engine.data();
  return now.seed_ == then.seed_ && now.left_ == then.left_ && now.seeded_ == then.seeded_ &&
         now.next_ == then.next_ && now.state_ == then.state_ &&
         impl.next_float_normal_sample() == saved_.next_float &&
         impl.next_double_normal_sample() == saved_.next_double;
}

void MersenneTwisterState::restore() const {
  at::CPUGeneratorImpl& impl = impl_of(generator());
  const std::lock_guard lock(impl.mutex_);
  impl.set_engine(saved_.engine);
  impl.set_next_float_normal_sample(saved_.next_float);
  impl.set_next_double_normal_sample(saved_.next_double);
}

}  // namespace neap::device
