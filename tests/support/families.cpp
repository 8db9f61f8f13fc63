// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The families: from a plain MLP to models whose graph depends on the data, and steps that write in
// place, run a graph twice or have two optimizers.
#include "support/families.h"

#include <neap/nn.h>

#include <ATen/autocast_mode.h>
#include <torch/torch.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace neap::test {
namespace {

namespace F = torch::nn::functional;

std::shared_ptr<torch::optim::Optimizer> sgd(const std::vector<at::Tensor>& parameters) {
  return std::make_shared<torch::optim::SGD>(parameters,
                                             torch::optim::SGDOptions(0.01).momentum(0.9));
}
std::shared_ptr<torch::optim::Optimizer> adam(const std::vector<at::Tensor>& parameters) {
  return std::make_shared<torch::optim::Adam>(parameters, torch::optim::AdamOptions(1e-3));
}

// A step with one loss: zero_grad, the backward of `loss`, and the optimizer's step.
Job simple_job(std::shared_ptr<torch::nn::Module> model,
               const std::shared_ptr<torch::optim::Optimizer>& optimizer,
               std::function<at::Tensor()> loss) {
  Job job;
  job.model = std::move(model);
  job.optimizers = {optimizer};
  job.step = [optimizer, loss = std::move(loss)] {
    optimizer->zero_grad();
    const at::Tensor value = loss();
    value.backward();
    optimizer->step();
    return value.item<double>();
  };
  return job;
}

// A model that registers its modules, and has no forward().
struct Parts : torch::nn::Module {
  template <class Module>
  Module add(const Module& module) {
    return register_module("part" + std::to_string(children().size()), module);
  }
};

torch::nn::Conv2d conv(std::int64_t in, std::int64_t out, std::int64_t kernel = 3) {
  return torch::nn::Conv2d(
      torch::nn::Conv2dOptions(in, out, kernel).padding(kernel / 2).bias(false));
}

Job mlp() {
  nn::MLP model(nn::MLPOptions{.in = 128, .width = 128, .out = 128, .layers = 12});
  const at::Tensor x = torch::randn({640, 128}), y = torch::randn({640, 128});
  return simple_job(model.ptr(), sgd(model->parameters()),
                    [=]() mutable { return torch::mse_loss(model->forward(x), y); });
}

Job resnet() {
  nn::ResNet model(nn::ResNetOptions{.channels = 16, .blocks = 8});
  const at::Tensor x = torch::randn({4, 3, 16, 16}), y = torch::randint(10, {4});
  return simple_job(model.ptr(), sgd(model->parameters()),
                    [=]() mutable { return torch::cross_entropy_loss(model->forward(x), y); });
}

Job dense_net() {
  const auto model = std::make_shared<Parts>();
  std::vector<torch::nn::Sequential> layers;
  constexpr std::int64_t kGrowth = 8;
  std::int64_t channels = 8;
  for (int i = 0; i < 10; ++i, channels += kGrowth) {
    layers.push_back(model->add(torch::nn::Sequential(torch::nn::BatchNorm2d(channels),
                                                      torch::nn::ReLU(), conv(channels, kGrowth))));
  }
  auto head = model->add(torch::nn::Linear(channels, 10));
  const at::Tensor x = torch::randn({4, 8, 16, 16}), y = torch::randint(10, {4});
  return simple_job(model, sgd(model->parameters()), [=]() mutable {
    std::vector<at::Tensor> all = {x};
    for (auto& layer : layers) all.push_back(layer->forward(torch::cat(all, 1)));
    return torch::cross_entropy_loss(head->forward(torch::cat(all, 1).mean({2, 3})), y);
  });
}

Job unet() {
  nn::UNet model(nn::UNetOptions{.widths = {8, 16, 32}});
  const at::Tensor x = torch::randn({2, 3, 32, 32}), y = torch::randint(4, {2, 32, 32});
  return simple_job(model.ptr(), sgd(model->parameters()),
                    [=]() mutable { return torch::cross_entropy_loss(model->forward(x), y); });
}

Job transformer() {
  nn::GPT model(nn::GPTOptions{
      .vocabulary = 64, .context = 64, .width = 64, .heads = 4, .layers = 4, .dropout = 0.1});
  const at::Tensor x = torch::randint(64, {4, 64}), y = torch::randint(64, {4 * 64});
  return simple_job(
      model.ptr(),
      std::make_shared<torch::optim::AdamW>(model->parameters(), torch::optim::AdamWOptions(1e-3)),
      [=]() mutable {
        return torch::cross_entropy_loss(model->forward(x).view({-1, 64}), y);
      });
}

Job recurrent() {
  const auto model = std::make_shared<Parts>();
  auto lstm = model->add(torch::nn::LSTM(torch::nn::LSTMOptions(32, 32).num_layers(2)));
  auto gru = model->add(torch::nn::GRU(torch::nn::GRUOptions(32, 32)));
  auto head = model->add(torch::nn::Linear(32, 8));
  const at::Tensor x = torch::randn({48, 32, 32}), y = torch::randn({48, 32, 8});
  return simple_job(model, adam(model->parameters()), [=]() mutable {
    const at::Tensor middle = std::get<0>(lstm->forward(x));
    return torch::mse_loss(head->forward(std::get<0>(gru->forward(middle))), y);
  });
}

// The generator's step overwrites weights that the discriminator's graph has read. Both optimizers
// make their state inside the scope.
Job gan() {
  const auto model = std::make_shared<Parts>();
  torch::nn::Sequential generator, discriminator;
  for (int i = 0; i < 8; ++i) {
    generator->push_back(torch::nn::Linear(64, 64));
    generator->push_back(torch::nn::LeakyReLU());
    discriminator->push_back(torch::nn::Linear(64, 64));
    discriminator->push_back(torch::nn::LeakyReLU());
  }
  discriminator->push_back(torch::nn::Linear(64, 1));
  model->add(generator);
  model->add(discriminator);
  Job job;
  job.model = model;
  const auto first = adam(generator->parameters()), second = adam(discriminator->parameters());
  job.optimizers = {first, second};
  const at::Tensor real = torch::randn({256, 64});
  job.step = [=]() mutable {
    const at::Tensor ones = torch::ones({256, 1}), zeros = torch::zeros({256, 1});
    const auto loss = [](const at::Tensor& x, const at::Tensor& y) {
      return F::binary_cross_entropy_with_logits(x, y);
    };
    const at::Tensor fake = generator->forward(torch::randn({256, 64}));
    second->zero_grad();
    const at::Tensor of_second = loss(discriminator->forward(real), ones) +
                                 loss(discriminator->forward(fake.detach()), zeros);
    of_second.backward();
    second->step();
    first->zero_grad();
    const at::Tensor of_first = loss(discriminator->forward(fake), ones);
    of_first.backward();
    first->step();
    return of_first.item<double>() + of_second.item<double>();
  };
  return job;
}

Job gradient_penalty() {
  nn::MLP model(nn::MLPOptions{.in = 48, .width = 48, .out = 48, .layers = 12});
  const at::Tensor data = torch::randn({384, 48});
  return simple_job(model.ptr(), sgd(model->parameters()), [=]() mutable {
    const at::Tensor x = data.clone().requires_grad_();
    const at::Tensor score = model->forward(x).pow(2).mean();
    const at::Tensor gradient =
        torch::autograd::grad({score}, {x}, {}, /*retain_graph=*/true, /*create_graph=*/true)[0];
    return score + (gradient.norm(2, 1) - 1).pow(2).mean();
  });
}

Job accumulation() {
  nn::MLP model(nn::MLPOptions{.in = 64, .width = 64, .out = 64, .layers = 14});
  const at::Tensor x = torch::randn({1024, 64});
  Job job;
  job.model = model.ptr();
  const auto optimizer = adam(model->parameters());
  job.optimizers = {optimizer};
  job.step = [=]() mutable {
    optimizer->zero_grad();
    double total = 0;
    for (const at::Tensor& part : x.chunk(2)) {
      const at::Tensor loss = torch::dropout(model->forward(part), 0.2, true).pow(2).mean();
      loss.backward({}, /*retain_graph=*/true);
      (loss * 0.5).backward();  // a second time through the same graph
      total += loss.item<double>();
    }
    optimizer->step();
    return total;
  };
  return job;
}

Job in_place() {
  const auto model = std::make_shared<Parts>();
  std::vector<torch::nn::Conv2d> layers;
  std::vector<torch::nn::BatchNorm2d> norms;
  for (int i = 0; i < 8; ++i) {
    layers.push_back(model->add(conv(12, 12)));
    norms.push_back(model->add(torch::nn::BatchNorm2d(12)));
  }
  const at::Tensor data = torch::randn({4, 12, 16, 16});
  return simple_job(model, sgd(model->parameters()), [=]() mutable {
    at::Tensor x = data.clone();
    for (std::size_t i = 0; i < layers.size(); ++i) {
      at::Tensor y = norms[i]->forward(layers[i]->forward(x));
      y = torch::elu(y);            // it saves its input, so its output may be overwritten
      y.narrow(1, 0, 4).mul_(0.5);  // through a view
      y.select(1, 5).add_(0.25);
      F::dropout(y, F::DropoutFuncOptions().p(0.1).inplace(true));
      y += x;  // the residual, in place
      x = y;
    }
    at::Tensor buffer = torch::empty_like(x);
    buffer.copy_(x).mul_(0.1);
    return buffer.pow(2).mean();
  });
}

// What torch.autocast does in Python.
class Autocast {
 public:
  Autocast() {
    at::autocast::set_autocast_enabled(place(), true);
    at::autocast::set_autocast_dtype(place(), at::kBFloat16);
    at::autocast::increment_nesting();
  }
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;
  ~Autocast() {
    if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(place(), false);
  }
};

Job autocast() {
  nn::ResNet model(nn::ResNetOptions{.channels = 16, .blocks = 6});
  const at::Tensor x = torch::randn({4, 3, 16, 16}), y = torch::randint(10, {4});
  return simple_job(model.ptr(), adam(model->parameters()), [=]() mutable {
    const Autocast in_bfloat16;
    return torch::cross_entropy_loss(model->forward(x), y);
  });
}

// The tree of each step has another form, so no two graphs are alike.
Job tree_net() {
  const auto model = std::make_shared<Parts>();
  auto combine = model->add(torch::nn::Linear(128, 64));
  auto leaf = model->add(torch::nn::Linear(64, 64));
  const auto calls = std::make_shared<unsigned>(0);
  const at::Tensor words = torch::randn({48, 128, 64});
  return simple_job(model, adam(model->parameters()), [=]() mutable {
    const unsigned form = (*calls)++;
    std::vector<at::Tensor> nodes;
    for (unsigned i = 0; i < 40 + form % 5; ++i) {
      nodes.push_back(torch::tanh(leaf->forward(words[static_cast<std::int64_t>(i)])));
    }
    for (unsigned i = 0; nodes.size() > 1; ++i) {
      const std::size_t at = (i * 7 + form) % (nodes.size() - 1);
      nodes[at] = torch::tanh(combine->forward(torch::cat({nodes[at], nodes[at + 1]}, 1)));
      nodes.erase(nodes.begin() + static_cast<std::ptrdiff_t>(at) + 1);
    }
    return nodes[0].pow(2).mean();
  });
}

Job embedding() {
  const auto model = std::make_shared<Parts>();
  auto words = model->add(torch::nn::Embedding(200, 64));
  auto mix = model->add(torch::nn::Linear(64, 64));
  const at::Tensor tokens = torch::randint(200, {8, 32}), order = torch::randperm(256);
  const at::Tensor targets = torch::randint(64, {256, 16});
  return simple_job(model, adam(model->parameters()), [=]() mutable {
    at::Tensor x = words->forward(tokens).view({256, 64});
    for (int i = 0; i < 5; ++i) {
      at::Tensor y = torch::gelu(mix->forward(x)).index_select(0, order);
      const at::Tensor few = y.gather(1, targets);
      y = y.scatter(1, targets, few * 0.5);
      y = y.index_put({order.narrow(0, 0, 64)}, x.narrow(0, 64, 64).tanh());
      x = y + y.masked_fill(y.gt(0.5), 0.1);
    }
    return x.pow(2).mean();
  });
}

// y = sin(x) * exp(-x^2 / 8), with a backward of its own. It saves one tensor.
struct Wavelet : torch::autograd::Function<Wavelet> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x) {
    context->save_for_backward({x});
    return x.sin() * (x * x * -0.125).exp();
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const at::Tensor x = context->get_saved_variables()[0];
    const at::Tensor bell = (x * x * -0.125).exp();
    return {gradients[0] * bell * (x.cos() - x.sin() * x * 0.25)};
  }
};

Job own_function() {
  const auto parts = std::make_shared<Parts>();
  std::vector<torch::nn::Linear> layers;
  for (int i = 0; i < 14; ++i) layers.push_back(parts->add(torch::nn::Linear(64, 64)));
  const at::Tensor data = torch::randn({512, 64});
  return simple_job(parts, sgd(parts->parameters()), [=]() mutable {
    at::Tensor x = data;
    for (auto& layer : layers) x = Wavelet::apply(layer->forward(x));
    return x.pow(2).mean();
  });
}

Job experts() {
  const auto model = std::make_shared<Parts>();
  std::vector<torch::nn::Linear> gates;
  std::vector<std::vector<torch::nn::Sequential>> layers(3);
  for (auto& layer : layers) {
    gates.push_back(model->add(torch::nn::Linear(48, 4)));
    for (int i = 0; i < 4; ++i) {
      layer.push_back(model->add(torch::nn::Sequential(torch::nn::Linear(48, 96), torch::nn::SiLU(),
                                                       torch::nn::Linear(96, 48))));
    }
  }
  const at::Tensor data = torch::randn({512, 48});
  return simple_job(model, adam(model->parameters()), [=]() mutable {
    at::Tensor x = data;
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const at::Tensor weights = gates[i]->forward(x).softmax(1);
      const at::Tensor chosen = weights.argmax(1);
      at::Tensor y = torch::zeros_like(x);
      for (std::size_t expert = 0; expert < layers[i].size(); ++expert) {
        const auto number = static_cast<std::int64_t>(expert);
        const at::Tensor rows = chosen.eq(number).nonzero().flatten();  // the data tell how many
        const at::Tensor share = weights.index_select(0, rows).narrow(1, number, 1);
        y = y.index_copy(0, rows, layers[i][expert]->forward(x.index_select(0, rows)) * share);
      }
      x = torch::layer_norm(x + y, {48});
    }
    return x.pow(3).mean();
  });
}

}  // namespace

c10::DeviceType& place() {
  static c10::DeviceType type = c10::DeviceType::CPU;
  return type;
}

const std::vector<Family>& families() {
  static const std::vector<Family> all{
      {"mlp", mlp, true},
      {"resnet", resnet, true},
      {"dense_net", dense_net},
      {"unet", unet},
      {"transformer", transformer, true},
      {"recurrent", recurrent},
      {"gan", gan},
      {"gradient_penalty", gradient_penalty},
      {"accumulation", accumulation},
      {"in_place", in_place},
      {"autocast", autocast},
      {"tree_net", tree_net},
      {"embedding", embedding},
      {"own_function", own_function},
      {"experts", experts},
  };
  return all;
}

}  // namespace neap::test
