// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "intercept/failed_backward.h"

#include "device/device.h"
#include "intercept/autograd_phase.h"

#include <torch/csrc/autograd/engine.h>
#include <torch/csrc/autograd/function.h>

#include <memory>
#include <type_traits>

namespace neap::intercept {
namespace {

using torch::autograd::Edge;
using torch::autograd::Node;
using torch::autograd::variable_list;

struct Nothing final : Node {
  explicit Nothing(const at::Tensor& gradient) { add_input_metadata(gradient); }
  variable_list apply(variable_list&& /*gradients*/) override { return {}; }
};

// Nodes are held by std::shared_ptr in LibTorch 2.11, and by c10::intrusive_ptr in 2.15.
template <class Pointer>
Pointer make_node(const at::Tensor& gradient) {
  if constexpr (std::is_same_v<Pointer, std::shared_ptr<Node>>) {
    return std::make_shared<Nothing>(gradient);
  } else {
    return Pointer(c10::make_intrusive<Nothing>(gradient));
  }
}

}  // namespace

void drop_failed_backward() {
  if (in_backward()) return;
  // LibTorch reads sizes and type of a root's gradient; the gradient needs no storage. On the host,
  // so that the backward runs in this thread.
  const at::Tensor gradient = at::detail::make_tensor<c10::TensorImpl>(
      c10::DispatchKeySet(device::cpu().key()), caffe2::TypeMeta::Make<float>(),
      device::cpu().where());
  torch::autograd::Engine::get_default_engine().execute(
      {Edge(make_node<decltype(Edge::function)>(gradient), 0)}, {gradient}, /*keep_graph=*/false,
      /*create_graph=*/false, /*accumulate_grad=*/true);
}

}  // namespace neap::intercept
