// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// intercept/autograd_phase.h: whether this thread is inside a backward.
#pragma once

#include <c10/core/GradMode.h>
#include <c10/macros/Export.h>

// Declared here, because torch/csrc/autograd/graph_task.h includes the whole autograd engine.
namespace torch::autograd {
TORCH_API int get_current_graph_task_id();
}

namespace neap::intercept {

inline bool in_backward() { return torch::autograd::get_current_graph_task_id() != -1; }

// True in a backward without create_graph, which would turn grad mode on.
inline bool in_plain_backward() { return !c10::GradMode::is_enabled() && in_backward(); }

}  // namespace neap::intercept
