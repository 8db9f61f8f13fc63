// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The emulated accelerator's random numbers: a seed, and an offset that rises with each kernel that
// draws.
#pragma once

#include "accelerator/accelerator.h"

#include <ATen/EmptyTensor.h>
#include <ATen/core/Generator.h>
#include <c10/core/GeneratorImpl.h>
#include <c10/core/TensorImpl.h>

#include <cstdint>
#include <cstring>

namespace neap::test {

struct Generator final : c10::GeneratorImpl {
  Generator() : GeneratorImpl(accelerator(), c10::DispatchKeySet(c10::DispatchKey::PrivateUse1)) {}

  void set_current_seed(std::uint64_t seed) override {
    seed_ = seed;
    offset_ = 0;
  }
  void set_offset(std::uint64_t offset) override { offset_ = offset; }
  std::uint64_t get_offset() const override { return offset_; }
  std::uint64_t current_seed() const override { return seed_; }
  std::uint64_t seed() override { return seed_; }
  void set_state(const c10::TensorImpl& state) override {
    const auto* const words = static_cast<const std::uint64_t*>(state.data());
    seed_ = words[0];
    offset_ = words[1];
  }
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override {
    at::Tensor state = at::detail::empty_cpu({16}, at::kByte);
    const std::uint64_t words[] = {seed_, offset_};
    std::memcpy(state.mutable_data_ptr(), words, sizeof words);
    return state.getIntrusivePtr();
  }
  // The seed of the next kernel that draws.
  std::uint64_t next() { return seed_ * 0x9E3779B97F4A7C15ULL + offset_++; }

 private:
  Generator* clone_impl() const override {
    auto* const clone = new Generator;
    clone->seed_ = seed_;
    clone->offset_ = offset_;
    return clone;
  }

  std::uint64_t seed_ = 0, offset_ = 0;
};

// The generator that kernels draw from when none is named.
at::Generator& default_generator();
inline Generator& impl_of(const at::Generator& generator) {
  return *static_cast<Generator*>(generator.unsafeGetGeneratorImpl());
}

}  // namespace neap::test
