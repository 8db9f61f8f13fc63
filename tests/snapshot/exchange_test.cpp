// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Weights go to Python and come from there: exchange_test.py runs these two tests, and reads and
// writes the files between them.
#include "snapshot/tensors.h"

#include <neap/nn.h>
#include <neap/snapshot.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cstdlib>
#include <filesystem>
#include <string>

namespace neap::train {
namespace {

const char* const kFolder = std::getenv("NEAP_EXCHANGE");

nn::ImageNetResNet resnet(std::int64_t depth) {
  torch::manual_seed(static_cast<std::uint64_t>(depth));
  nn::ImageNetResNet model(nn::ImageNetResNetOptions{.depth = depth, .classes = 10});
  model->forward(torch::randn({4, 3, 64, 64}));  // the statistics of the batch norms
  model->eval();
  return model;
}

std::filesystem::path file(const std::string& name) {
  return std::filesystem::path(kFolder) / (name + ".safetensors");
}

TEST(Exchange, to_python) {
  if (kFolder == nullptr) GTEST_SKIP() << "exchange_test.py names the folder";
  const at::NoGradGuard no_grad;
  for (const std::int64_t depth : {18, 34, 50, 101, 152}) {
    nn::ImageNetResNet model = resnet(depth);
    const std::string name = "resnet" + std::to_string(depth);
    export_weights(*model, file(name));
    const at::Tensor x = torch::randn({2, 3, 64, 64});
    snapshot::write(file(name + ".made"), {{"x", x}, {"y", model->forward(x)}});
    if (depth != 18) continue;
    const torch::optim::SGD optimizer(model->parameters(), torch::optim::SGDOptions(0.1));
    save(std::filesystem::path(kFolder) / "run", *model, optimizer, {.step = 1});
  }
}

TEST(Exchange, from_python) {
  if (kFolder == nullptr) GTEST_SKIP() << "exchange_test.py names the folder";
  const at::NoGradGuard no_grad;
  nn::ImageNetResNet model = resnet(50);
  import_weights(*model, file("from_python"));
  const safetensors::File made(file("from_python.made"));
  const at::Tensor x = snapshot::read_new(made, *made.find("x"));
  const at::Tensor y = snapshot::read_new(made, *made.find("y"));
  EXPECT_TRUE(at::equal(model->forward(x), y));
}

}  // namespace
}  // namespace neap::train
