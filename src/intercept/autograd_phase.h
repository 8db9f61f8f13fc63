// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// intercept/autograd_phase.h: where in a step the thread is.
#pragma once

#include <c10/core/GradMode.h>
#include <c10/macros/Export.h>

// The header that declares it (torch/csrc/autograd/graph_task.h) brings the whole autograd engine along.
namespace torch::autograd {
TORCH_API int get_current_graph_task_id();
}

namespace neap::intercept {

inline bool in_backward() { return torch::autograd::get_current_graph_task_id() != -1; }

// In a backward that keeps no graph of itself. (With create_graph, grad mode is on.)
inline bool in_plain_backward() { return !c10::GradMode::is_enabled() && in_backward(); }

}  // namespace neap::intercept
