// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// One operator in plain LibTorch, with its backward.
#include "operators/plain_run.h"

#include "operators/operator_calls.h"
#include "support/bytes.h"

#include <torch/torch.h>

#include <optional>
#include <string>

namespace neap::test::operators {

Plain run_plain(const Case& c, int byte) {
  fill_free_memory(byte);
  Plain plain;
  plain.before = content([&] {
    Tensors tensors;
    for_each_tensor(c.leaves, [&](const at::Tensor& leaf) { tensors.push_back(leaf); });
    return tensors;
  }());
  const CallResult result = call(c);
  plain.generator = generator_state();
  const Tensors outputs = result.outputs(c.op.schema());
  plain.outputs = content(outputs);
  plain.after = content(result.argument_tensors());
  plain.text = text_of(result.returned);
  try {
    const at::Tensor loss = loss_of(outputs);
    if (loss.defined()) {
      loss.backward();
      plain.differentiable = true;
    }
  } catch (const c10::Error& error) {
    plain.why_not = error.what_without_backtrace();
  }
  plain.gradients = content(take_gradients(c));
  return plain;
}

std::optional<std::string> first_difference(const Plain& a, const Plain& b) {
  if (const auto where = test::first_difference(a.outputs, b.outputs)) return "output " + *where;
  if (const auto where = test::first_difference(a.after, b.after)) return "argument " + *where;
  if (const auto where = test::first_difference(a.gradients, b.gradients)) {
    return "gradient " + *where;
  }
  if (a.text != b.text) return "returned " + a.text + "and " + b.text;
  return std::nullopt;
}

}  // namespace neap::test::operators
