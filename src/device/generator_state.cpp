// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "device/generator_state.h"

#include "device/device.h"

namespace neap::device {

GeneratorStateGuard::GeneratorStateGuard(const GeneratorState* state) {
  if (state == nullptr) return;
  before_ = tracked().save(state->generator());
  state->restore();
}

GeneratorStateGuard::~GeneratorStateGuard() {
  if (before_) before_->restore();
}

}  // namespace neap::device
