// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Calls of an operator, and the bytes of what they return, write and differentiate.
#include "operators/operator_calls.h"

#include "intercept/storage_access.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <sstream>
#include <string>

namespace neap::test::operators {

bool is_dense(const at::Tensor& tensor) {
  return tensor.layout() == at::kStrided && !tensor.is_quantized() && !tensor.is_meta() &&
         !tensor.is_nested() && !tensor._is_zerotensor();
}

ByteLists content(const Tensors& tensors) {
  Tensors dense;
  for (const at::Tensor& tensor : tensors) {
    dense.push_back(is_dense(tensor)          ? tensor
                    : tensor.is_meta()        ? at::empty({0})
                    : tensor.is_quantized()   ? tensor.int_repr()
                    : tensor._is_zerotensor() ? tensor.clone()
                                              : tensor.to_dense());
  }
  return test::bytes_of(dense);
}

std::string text_of(const Values& values) {
  std::ostringstream text;
  for (const c10::IValue& value : values) {
    if (!value.isTensor() && !value.isTensorList()) text << value << ' ';
  }
  return text.str();
}

ByteLists generator_state() {
  return test::bytes_of({at::detail::getDefaultCPUGenerator().get_state()});
}

bool is_evicted(const at::Tensor& tensor) {
  if (!is_dense(tensor) || !tensor.has_storage()) return false;
  c10::StorageImpl& storage = *tensor.storage().unsafeGetStorageImpl();
  return storage.nbytes() > 0 && intercept::data_ptr_of(storage).get() == nullptr;
}

Tensors CallResult::outputs(const c10::FunctionSchema& schema) const {
  Tensors tensors;
  for_each_tensor(returned, [&](const at::Tensor& tensor) { tensors.push_back(tensor); });
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const c10::AliasInfo* const alias = schema.arguments()[i].alias_info();
    if (alias == nullptr || !alias->isWrite()) continue;
    for_each_tensor({arguments[i]}, [&](const at::Tensor& tensor) {
      const bool known = std::ranges::any_of(
          tensors, [&](const at::Tensor& other) { return other.is_same(tensor); });
      if (!known) tensors.push_back(tensor);
    });
  }
  return tensors;
}

Tensors CallResult::argument_tensors() const {
  Tensors tensors;
  for_each_tensor(arguments, [&](const at::Tensor& tensor) { tensors.push_back(tensor); });
  return tensors;
}

CallResult call(const Case& c) {
  CallResult result;
  result.arguments = with_tensors(c.leaves, [](const at::Tensor& leaf) { return leaf.clone(); });
  torch::jit::Stack stack(result.arguments.begin(), result.arguments.end());
  torch::manual_seed(1);
  c.op.callBoxed(&stack);
  result.returned = {stack.begin(), stack.end()};
  return result;
}

at::Tensor loss_of(const Tensors& outputs) {
  at::Tensor loss;
  for (const at::Tensor& output : outputs) {
    if (!output.requires_grad() || output.numel() == 0 || !is_dense(output)) continue;
    const at::Tensor real = output.is_complex() ? at::view_as_real(output.resolve_conj()) : output;
    const at::Tensor part = (real * real.detach().cos()).sum();
    loss = loss.defined() ? loss + part : part;
  }
  return loss;
}

namespace {

Tensors leaves_of(const Case& c) {
  Tensors leaves;
  for_each_tensor(c.leaves, [&](const at::Tensor& leaf) {
    if (leaf.requires_grad()) leaves.push_back(leaf);
  });
  return leaves;
}

}  // namespace

Tensors take_gradients(const Case& c) {
  Tensors gradients;
  for (at::Tensor& leaf : leaves_of(c)) {
    gradients.push_back(leaf.grad().defined() ? leaf.grad().clone() : at::empty({0}));
    leaf.mutable_grad().reset();
  }
  return gradients;
}

void fill_free_memory(int byte) {
  Tensors blocks;
  for (std::int64_t size = 64; size <= 65536; size *= 2) {
    for (int i = 0; i < 6; ++i) blocks.push_back(at::empty({size}, at::kByte).fill_(byte));
  }
}

at::Tensor repeated(const at::Tensor& output) {
  const at::NoGradGuard no_grad;
  const at::Tensor piece = output.dim() == 0 ? output.view({1}) : output;
  return at::cat(Tensors(1 + kSmallest / piece.nbytes(), piece));
}

}  // namespace neap::test::operators
