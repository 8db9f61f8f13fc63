// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A library with a model that breaks the rules of neap/plugin.h. The environment variable UNSTEADY
// says which one.
#include <neap/plugin.h>

#include <torch/torch.h>

#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>

namespace {

bool is_unsteady(const char* how) {
  const char* const wanted = std::getenv("UNSTEADY");
  return wanted != nullptr && std::string(wanted) == how;
}

// The plain process of neap verify. Its parent is the same program.
bool is_plain_process() {
  std::error_code error;
  const auto parent = "/proc/" + std::to_string(getppid()) + "/exe";
  return std::filesystem::equivalent("/proc/self/exe", parent, error);
}

// Predicts a blank after each token.
struct BlanksImpl : torch::nn::Module {
  BlanksImpl() : scale(register_parameter("scale", torch::ones({1}))) {}
  // `x` is (B, T). The result is (B, T, 256), or (B, 256, T).
  at::Tensor forward(const at::Tensor& x) {
    const at::Tensor scores =
        torch::one_hot(torch::full_like(x, ' '), 256).to(torch::kFloat) * scale;
    return is_unsteady("classes last") ? scores : scores.transpose(1, 2);
  }
  at::Tensor scale;
};
TORCH_MODULE(Blanks);

struct NetImpl : torch::nn::Module {
  NetImpl() : linear(register_module("linear", torch::nn::Linear(4, 2))) {}
  at::Tensor forward(const at::Tensor& x) {
    static int calls = getpid();  // so that two processes differ too
    const std::string place = is_plain_process() ? "plain " : "inside ";
    if (is_unsteady((place + std::to_string(number_)).c_str())) return linear(x) * 2;
    if (is_unsteady("killed") && is_plain_process()) std::raise(SIGKILL);
    const at::Tensor scores = linear(is_unsteady("shapes") ? torch::cat({x, x}, 1) : x);
    if (is_unsteady("one output")) return scores.narrow(1, 0, 1);
    return is_unsteady("forward") ? scores * ++calls : scores;
  }
  torch::nn::Linear linear;

 private:
  static inline int models_ = 0;
  int number_ = ++models_;
};
TORCH_MODULE(Net);

neap::plugin::Definition unsteady() {
  if (is_unsteady("factory")) throw std::runtime_error("no definition today");
  neap::plugin::Definition definition{
      .make_model = [](const neap::plugin::Samples& samples, bool) -> neap::train::Model {
        if (is_unsteady("make_model")) throw std::runtime_error("the weights are not there");
        if (is_unsteady("no exception")) throw 1;
        if (samples.vocabulary > 0) return Blanks();
        return Net();
      },
      .samples = {.shape = {4}, .classes = 2},
  };
  if (is_unsteady("rows")) {
    definition.make_batch = [](std::int64_t rows, const neap::plugin::Samples&, std::uint64_t) {
      return neap::train::MicroBatch{torch::zeros({rows, 4}), torch::zeros({3}, torch::kLong)};
    };
  }
  if (is_unsteady("no model")) definition.make_model = nullptr;
  if (is_unsteady("no shape")) definition.samples.shape.clear();
  if (is_unsteady("no classes")) definition.samples.classes = 0;
  if (is_unsteady("extent")) definition.samples.shape = {-4};
  if (is_unsteady("defaults")) {
    definition.optimizer = "sgd";
    definition.lr = 0.5;
    definition.batch_size = 16;
    definition.loss = [](const at::Tensor& scores, const at::Tensor& labels) {
      return torch::cross_entropy_loss(scores, labels) + 100;
    };
  }
  const bool is_text = is_unsteady("classes first") || is_unsteady("classes last");
  if (is_text) definition.samples = {.shape = {8}, .classes = 256, .vocabulary = 256};
  if (is_text || is_unsteady("one output")) {
    definition.loss = [](const at::Tensor& scores, const at::Tensor&) { return scores.mean(); };
  }
  if (is_unsteady("classes last")) definition.class_dim = -1;
  if (is_unsteady("optimizer")) definition.optimizer = "lion";
  return definition;
}

}  // namespace

NEAP_MODEL(unsteady, unsteady)
