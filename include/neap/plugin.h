// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/plugin.h: how to use your own model in the command.
//
//   neap::plugin::Definition net() {
//     return {.make_model = [](const neap::plugin::Samples& samples, bool) {
//               return Net(samples.classes);
//             },
//             .samples = {.shape = {3, 32, 32}, .classes = 10}};
//   }
//   NEAP_MODEL(net, net)
//
// Build it as a library, with `add_library(net MODULE net.cpp)` and `target_link_libraries(net
// PRIVATE neap::neap)`, and name its path: `neap train --model ./libnet.so --data cifar10:DIR`.
// verify, analyze, bench and max-batch take it too.
//
// The command refuses a library that was built with another version of neap or LibTorch, before it
// runs any of its code, because the two would disagree on the layout of objects.
#pragma once

#include <neap/base.h>
#include <neap/train.h>
#include <neap/version.h>

#include <torch/version.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace neap::plugin {

// What a model reads and distinguishes.
struct Samples {
  std::vector<std::int64_t> shape = {};  // of one, without the batch: (C, H, W), or (T,) of tokens
  std::int64_t classes = 0;              // labels are in [0, classes)
  std::int64_t vocabulary = 0;           // x is int64 tokens in [0, vocabulary); 0: x is float
};

struct Definition {
  // Makes the model for the samples of --data or --input, or else for `samples` below. Weights come
  // from LibTorch's default generator, which is seeded before.
  // `use_checkpoint`, for neap bench: the same model from the same random numbers, with checkpoints
  // in its forward.
  // An InvalidArgument, for samples that it cannot read, is reported as wrong use of the command.
  std::function<train::Model(const Samples& samples, bool use_checkpoint)> make_model = {};
  train::Criterion loss = train::cross_entropy;
  // Of neap train's looks at the test set; empty: `loss`.
  train::Criterion test_loss = {};
  // The dimension of the output with the scores of the classes, for the accuracy in neap train.
  std::int64_t class_dim = 1;
  // The training data of neap train without --data, and the data of the measuring commands: x
  // (rows, shape...) and y (rows, ...). A function of its arguments, called only for samples that
  // make_model accepted. Empty: train needs --data, and the others use noise with labels (rows,),
  // for tokens (rows, T), below `classes`.
  std::function<train::MicroBatch(std::int64_t rows, const Samples& samples, std::uint64_t seed)>
      make_batch = {};

  // Defaults; the command line overrides them.
  Samples samples = {};
  std::int64_t batch_size = 0;  // of train and verify; 0: the command's default
  std::string optimizer = {};   // sgd (momentum 0.9), adam or adamw; empty: the command's default
  double lr = 0;                // of that optimizer; 0: the command's default
};

namespace detail {

struct Entry {
  const char* name;
  Definition (*define)();
};

// Precedes the versions in neap_plugin_built_with, so that they can be found without loading the
// file.
#define NEAP_PLUGIN_MARK "neap plugin, built with neap "

}  // namespace detail
}  // namespace neap::plugin

// Use it once in a library. name: an identifier, shown in messages. factory: a function without
// arguments that returns a Definition; it is called once.
#define NEAP_MODEL(name, factory)                                                               \
  extern "C" __attribute__((visibility("default"), used)) const char neap_plugin_built_with[] = \
      NEAP_PLUGIN_MARK NEAP_VERSION " and LibTorch " TORCH_VERSION;                             \
  extern "C" __attribute__((visibility("default"), used))                                       \
  const ::neap::plugin::detail::Entry neap_plugin_entry{#name, factory};
