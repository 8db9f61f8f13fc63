// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/plugin.h: a model of your own in the command.
//
//   neap::plugin::Definition net() {
//     return {.make_model = [](const neap::plugin::Samples& samples, bool) { return Net(samples.classes); },
//             .samples = {.shape = {3, 32, 32}, .classes = 10}};
//   }
//   NEAP_MODEL(net, net)
//
// Built as a library, `add_library(net MODULE net.cpp)` with `target_link_libraries(net PRIVATE neap::neap)`, it is named by its
// path: `neap train --model ./libnet.so --data cifar10:DIR`. verify, analyze, bench and max-batch take it too.
//
// The command refuses a library that was built with another version of neap or LibTorch than its own, before it runs any
// of its code: objects of one are no objects of the other.
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

// What a model reads and tells apart.
struct Samples {
  std::vector<std::int64_t> shape = {};  // of one, without the batch: (C, H, W), or (T,) of tokens
  std::int64_t classes = 0;              // labels are in [0, classes)
  std::int64_t vocabulary = 0;           // x is tokens in [0, vocabulary), int64; 0: x is float
};

struct Definition {
  // The model for such samples, of --data or --input, else `samples` below. Weights come from LibTorch's default
  // generator, which is seeded before. `use_checkpoint`, for neap bench: the same model from the same random numbers, with
  // checkpoints in its forward. InvalidArgument, for samples that it cannot read, is shown as wrong use of the command.
  std::function<train::Model(const Samples& samples, bool use_checkpoint)> make_model = {};
  train::Criterion loss = train::cross_entropy;
  // Where the scores of the classes stand in the output, for the accuracy that neap train tells.
  std::int64_t class_dim = 1;
  // What neap train learns from where no --data is named, and the others measure with: x (rows, shape...) and y (rows, ...), a
  // function of its arguments; asked only for samples that make_model took. Empty: train needs --data, and the others take
  // noise, with labels (rows,) below `classes`, for tokens (rows, T).
  std::function<train::MicroBatch(std::int64_t rows, const Samples& samples, std::uint64_t seed)>
      make_batch = {};

  // Defaults, which the command line beats.
  Samples samples = {};
  std::int64_t batch_size = 0;  // of train and verify; 0: the command's
  std::string optimizer = {};   // sgd (momentum 0.9), adam or adamw; empty: the command's
  double lr = 0;                // of that optimizer; 0: the command's
};

namespace detail {

struct Entry {
  const char* name;
  Definition (*define)();
};

// Before the versions in neap_plugin_built_with, so that they are found in a file that is not loaded.
#define NEAP_PLUGIN_MARK "neap plugin, built with neap "

}  // namespace detail
}  // namespace neap::plugin

// Once in a library. name: an identifier, shown in messages. factory: a function without arguments that returns a
// Definition; called once.
#define NEAP_MODEL(name, factory)                                                               \
  extern "C" __attribute__((visibility("default"), used)) const char neap_plugin_built_with[] = \
      NEAP_PLUGIN_MARK NEAP_VERSION " and LibTorch " TORCH_VERSION;                             \
  extern "C" __attribute__((visibility("default"), used))                                       \
  const ::neap::plugin::detail::Entry neap_plugin_entry{#name, factory};
