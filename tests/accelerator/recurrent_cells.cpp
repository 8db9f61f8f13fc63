// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The fused cells of LSTM and GRU. LibTorch asks every device but the CPU for them, and has none
// for the CPU that the emulated accelerator could borrow. They are made of other operators here.
#include <torch/library.h>
#include <torch/torch.h>

#include <optional>
#include <tuple>
#include <vector>

namespace neap::test {
namespace {

using Bias = std::optional<at::Tensor>;

at::Tensor with_bias(const at::Tensor& gates, const Bias& bias) {
  return bias && bias->defined() ? gates + *bias : gates;
}
at::Tensor slope_of_sigmoid(const at::Tensor& y) { return y * (1 - y); }
at::Tensor slope_of_tanh(const at::Tensor& y) { return 1 - y * y; }
at::Tensor bias_gradient(const at::Tensor& gates, bool has_bias) {
  return has_bias ? gates.sum(0) : at::Tensor();
}

// Gates: (B, 4 H), in the order input, forget, cell, output. The workspace holds what they become.
std::tuple<at::Tensor, at::Tensor, at::Tensor> lstm_cell(const at::Tensor& input_gates,
                                                         const at::Tensor& hidden_gates,
                                                         const at::Tensor& cell,
                                                         const Bias& input_bias,
                                                         const Bias& hidden_bias) {
  const at::Tensor sum = with_bias(input_gates, input_bias) + with_bias(hidden_gates, hidden_bias);
  const std::vector<at::Tensor> gates = sum.chunk(4, 1);
  const at::Tensor in = gates[0].sigmoid(), forget = gates[1].sigmoid(), next = gates[2].tanh(),
                   out = gates[3].sigmoid();
  const at::Tensor new_cell = forget * cell + in * next;
  return {out * new_cell.tanh(), new_cell, at::cat({in, forget, next, out}, 1)};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> lstm_cell_backward(
    const Bias& of_hidden, const Bias& of_cell, const at::Tensor& cell, const at::Tensor& new_cell,
    const at::Tensor& workspace, bool has_bias) {
  const std::vector<at::Tensor> gates = workspace.chunk(4, 1);
  const at::Tensor& in = gates[0];
  const at::Tensor& forget = gates[1];
  const at::Tensor& next = gates[2];
  const at::Tensor& out = gates[3];
  const at::Tensor bent = new_cell.tanh();
  const at::Tensor hidden =
      of_hidden && of_hidden->defined() ? *of_hidden : at::zeros_like(new_cell);
  at::Tensor total = hidden * out * slope_of_tanh(bent);
  if (of_cell && of_cell->defined()) total = total + *of_cell;
  const at::Tensor of_gates =
      at::cat({total * next * slope_of_sigmoid(in), total * cell * slope_of_sigmoid(forget),
               total * in * slope_of_tanh(next), hidden * bent * slope_of_sigmoid(out)},
              1);
  return {of_gates, total * forget, bias_gradient(of_gates, has_bias)};
}

// Gates: (B, 3 H), in the order reset, update, new. Workspace: (B, 5 H).
std::tuple<at::Tensor, at::Tensor> gru_cell(const at::Tensor& input_gates,
                                            const at::Tensor& hidden_gates,
                                            const at::Tensor& hidden, const Bias& input_bias,
                                            const Bias& hidden_bias) {
  const std::vector<at::Tensor> in = with_bias(input_gates, input_bias).chunk(3, 1);
  const std::vector<at::Tensor> own = with_bias(hidden_gates, hidden_bias).chunk(3, 1);
  const at::Tensor reset = (in[0] + own[0]).sigmoid(), update = (in[1] + own[1]).sigmoid();
  const at::Tensor next = (in[2] + reset * own[2]).tanh();
  return {next + update * (hidden - next), at::cat({reset, update, next, hidden, own[2]}, 1)};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor> gru_cell_backward(
    const at::Tensor& gradient, const at::Tensor& workspace, bool has_bias) {
  const std::vector<at::Tensor> saved = workspace.chunk(5, 1);
  const at::Tensor& reset = saved[0];
  const at::Tensor& update = saved[1];
  const at::Tensor& next = saved[2];
  const at::Tensor of_update = gradient * (saved[3] - next) * slope_of_sigmoid(update);
  const at::Tensor of_next = gradient * (1 - update) * slope_of_tanh(next);
  const at::Tensor of_reset = of_next * saved[4] * slope_of_sigmoid(reset);
  const at::Tensor of_input = at::cat({of_reset, of_update, of_next}, 1);
  const at::Tensor of_hidden = at::cat({of_reset, of_update, of_next * reset}, 1);
  return {of_input, of_hidden, gradient * update, bias_gradient(of_input, has_bias),
          bias_gradient(of_hidden, has_bias)};
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("_thnn_fused_lstm_cell", &lstm_cell);
  m.impl("_thnn_fused_lstm_cell_backward_impl", &lstm_cell_backward);
  m.impl("_thnn_fused_gru_cell", &gru_cell);
  m.impl("_thnn_fused_gru_cell_backward", &gru_cell_backward);
}

}  // namespace
}  // namespace neap::test
