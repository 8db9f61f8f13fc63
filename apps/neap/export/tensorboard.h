// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A training as a file of scalars for TensorBoard. No LibTorch here.
#pragma once

#include "page/run_sections.h"

#include <string>

namespace neap::app {

struct ScalarFile {
  std::string name;  // events.out.tfevents.SECONDS.neap; the same for the same training
  std::string bytes;
};

// A scalar for each number of each step and of each evaluation. The time of a step is when its part
// of the training began plus what the steps since then took, so pauses between steps are left out;
// that of an evaluation is the time of the step before it. Lines that do not say when they began
// are counted from 1970 on.
ScalarFile scalars_of(const TrainingRun& run);

}  // namespace neap::app
