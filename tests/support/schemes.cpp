// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Ways to train that may surprise an engine below autograd: noise that no tensor tells, the
// program's own checkpoint function, gradients that are kept and used later, an optimizer that runs
// the model many times in a step.
#include "support/families.h"

#include <neap/neap.h>

#include <functional>
#include <utility>

namespace neap::test {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Layers : torch::nn::Module {
  Layers(std::int64_t count, std::int64_t width) {
    for (std::int64_t i = 0; i < count; ++i) {
      layers.push_back(
          register_module("layer" + std::to_string(i), torch::nn::Linear(width, width)));
    }
  }
  std::vector<torch::nn::Linear> layers;
};

Job job_of(const std::shared_ptr<Layers>& model, std::function<at::Tensor()> loss) {
  Job job;
  job.model = model;
  const auto optimizer = std::make_shared<torch::optim::SGD>(
      model->parameters(), torch::optim::SGDOptions(0.01).momentum(0.9));
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

// Returns h with something added or removed that no tensor of the program tells.
using Noise = std::function<at::Tensor(const at::Tensor& h)>;

Job noisy(const Noise& noise) {
  const auto model = std::make_shared<Layers>(12, 64);
  const at::Tensor data = torch::randn({512, 64});
  return job_of(model, [=] {
    at::Tensor x = data;
    for (torch::nn::Linear& layer : model->layers) {
      x = torch::tanh(torch::sin(noise(layer->forward(x))));
    }
    return x.pow(2).mean();
  });
}

// A checkpoint written by the program: no graph in the forward, then a second forward with its own
// backward inside the backward.
struct OwnCheckpoint : torch::autograd::Function<OwnCheckpoint> {
  using Body = std::function<at::Tensor(const at::Tensor& x, const at::Tensor& weight)>;
  struct Held : torch::CustomClassHolder {
    Body body;
    at::Tensor generator;
  };
  static at::Generator generator() { return at::globalContext().defaultGenerator(at::kCPU); }

  static variable_list forward(AutogradContext* context, const at::Tensor& x,
                               const at::Tensor& weight, const Body& body) {
    const at::NoGradGuard no_grad;
    auto held = c10::make_intrusive<Held>();
    held->body = body;
    held->generator = generator().get_state();
    context->saved_data["held"] = at::IValue::make_capsule(held);
    const at::Tensor y = body(x, weight);
    context->save_for_backward({x, weight});
    return {y};
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const auto held =
        c10::static_intrusive_pointer_cast<Held>(context->saved_data["held"].toCapsule());
    at::Generator random = generator();
    const at::Tensor now = random.get_state();
    random.set_state(held->generator);
    const at::Tensor x = saved[0].detach().requires_grad_();
    const at::Tensor weight = saved[1].detach().requires_grad_();
    const at::AutoGradMode grad_mode(true);
    variable_list results =
        torch::autograd::grad({held->body(x, weight)}, {x, weight}, {gradients[0]});
    random.set_state(now);
    results.emplace_back();
    return results;
  }
};

Job own_checkpoint() {
  const auto model = std::make_shared<Layers>(6, 128);
  const at::Tensor data = torch::randn({200, 128}).requires_grad_();
  return job_of(model, [=] {
    at::Tensor x = data.clone();
    for (torch::nn::Linear& layer : model->layers) {
      x = OwnCheckpoint::apply(
          x, layer->weight, [](const at::Tensor& in, const at::Tensor& weight) {
            at::Tensor h = torch::gelu(torch::dropout(in.mm(weight), 0.2, true));
            h.add_(in);
            return h.tanh().sin();
          })[0];
    }
    return x.pow(2).mean();
  });
}

// Chunks are embedded without a graph, and the loss gives gradients of the embeddings. Then each
// chunk is embedded again with a graph, from the random state of the first time.
Job gradient_cache() {
  const auto model = std::make_shared<Layers>(3, 64);
  const at::Tensor left = torch::randn({256, 64});
  const at::Tensor right = left + torch::randn({256, 64}) * 0.1;
  Job job;
  job.model = model;
  const auto optimizer = std::make_shared<torch::optim::AdamW>(model->parameters());
  job.optimizers = {optimizer};
  job.step = [=] {
    const auto embed = [&](at::Tensor x) {
      for (torch::nn::Linear& layer : model->layers) {
        x = torch::dropout(torch::gelu(layer->forward(x)), 0.2, true);
      }
      return x / x.norm(2, 1, true).clamp_min(1e-6);
    };
    at::Generator random = at::globalContext().defaultGenerator(at::kCPU);
    std::vector<at::Tensor> chunks, states, embedded;
    for (const at::Tensor& half : {left, right}) {
      for (const at::Tensor& chunk : half.split(64)) chunks.push_back(chunk);
    }
    {
      const at::NoGradGuard no_grad;
      for (const at::Tensor& chunk : chunks) {
        states.push_back(random.get_state());
        embedded.push_back(embed(chunk));
      }
    }
    for (at::Tensor& one : embedded) one.requires_grad_();
    const std::vector<at::Tensor> a(embedded.begin(), embedded.begin() + 4);
    const std::vector<at::Tensor> b(embedded.begin() + 4, embedded.end());
    const at::Tensor scores = torch::cat(a).mm(torch::cat(b).t()) * 20;
    const at::Tensor loss = torch::cross_entropy_loss(scores, torch::arange(256));
    optimizer->zero_grad();
    const variable_list gradients = torch::autograd::grad({loss}, embedded);
    const at::Tensor done = random.get_state();
    for (std::size_t i = 0; i < chunks.size(); ++i) {
      random.set_state(states[i]);
      (embed(chunks[i]) * gradients[i]).sum().backward();
    }
    random.set_state(done);
    optimizer->step();
    return loss.item<double>();
  };
  return job;
}

// A step with several forwards and backwards, gradients of gradients, and histories of flat
// gradients that stay.
Job quasi_newton() {
  const auto model = std::make_shared<Layers>(5, 48);
  Job job;
  job.model = model;
  const auto optimizer = std::make_shared<torch::optim::LBFGS>(
      model->parameters(),
      torch::optim::LBFGSOptions(0.5).max_iter(5).history_size(4).line_search_fn("strong_wolfe"));
  // JobState does not know the state of L-BFGS, so only parameters and gradients are compared.
  job.optimizers = {std::make_shared<torch::optim::SGD>(model->parameters(), 0.1)};
  const at::Tensor points = torch::rand({400, 48});
  job.step = [=] {
    return optimizer
        ->step([&] {
          optimizer->zero_grad();
          const at::Tensor in = points.clone().requires_grad_();
          at::Tensor u = in;
          for (torch::nn::Linear& layer : model->layers) u = torch::tanh(layer->forward(u));
          const at::Tensor slope = torch::autograd::grad({u.sum()}, {in}, {}, true, true)[0];
          const at::Tensor loss = (slope.pow(2).sum(1) - 1).pow(2).mean() + u.pow(2).mean();
          loss.backward();
          return loss;
        })
        .item<double>();
  };
  return job;
}

}  // namespace

const std::vector<Family>& schemes() {
  const auto sizes = [](const at::Tensor& h) { return h.sizes(); };
  static const std::vector<Family> all{
      {"normal_noise",
       [=] {
         return noisy([=](const at::Tensor& h) { return h + at::normal(0.0, 0.1, sizes(h)); });
       }},
      {"randn_noise",
       [=] { return noisy([=](const at::Tensor& h) { return h + torch::randn(sizes(h)); }); }},
      {"randn_like_noise",
       [] { return noisy([](const at::Tensor& h) { return h + torch::randn_like(h) * 0.1; }); }},
      {"full",
       [=] { return noisy([=](const at::Tensor& h) { return h + torch::full(sizes(h), 0.1); }); }},
      {"empty_and_fill",
       [=] {
         return noisy([=](const at::Tensor& h) { return h + torch::empty(sizes(h)).fill_(0.1); });
       }},
      {"bernoulli_mask",
       [=] {
         return noisy(
             [=](const at::Tensor& h) { return h * torch::bernoulli(torch::full(sizes(h), 0.8)); });
       }},
      {"own_checkpoint", own_checkpoint},
      {"gradient_cache", gradient_cache},
      {"quasi_newton", quasi_newton},
  };
  return all;
}

}  // namespace neap::test
