// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Must not compile. tests/install/installed.cmake counts the errors, one for each function, and
// looks for their sentences.
#include <neap/all.h>
#include <torch/torch.h>

at::Tensor a_list(torch::nn::ModuleList& list, const at::Tensor& x) {
  return neap::checkpoint(list, x);
}

at::Tensor two_tensors(torch::nn::Linear& layer, const at::Tensor& x) {
  return neap::checkpoint(layer, x, x);
}

at::Tensor a_number(const at::Tensor& x) { return neap::checkpoint(3, x); }

at::Tensor no_layers(neap::CheckpointedResNet& model, const at::Tensor& x) {
  neap::AdaptiveCheckpointing adaptive;
  return adaptive.forward_with_adaptive_checkpoint(model, x);
}

void one_step(neap::MemoryEfficientTrainer& trainer, neap::train::Pass& pass) {
  trainer.train_step(pass);
}

neap::CheckpointedModelImpl a_flag_as_segment_size() { return {10, true}; }
