// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/snapshot.h: saves a training to disk, and goes on from there with the same bits.
//
//   neap::train::Position position;
//   if (const auto found = neap::train::newest_snapshot("run")) {
//     position = neap::train::load(*found, *model, optimizer);
//     loader.restore(*position.loader);
//   }
//   neap::train::Trainer trainer(loss, optimizer, {.steps_done = position.step});
//   ...
//   neap::train::save("run", *model, optimizer, {.step = step, .loader = loader.state()});
//
// A snapshot is a folder, run/step-0000000200, with three files. model.safetensors has parameters
// and buffers by the module's own names, so PyTorch's load_state_dict takes them. state.safetensors
// has the optimizer's state, the default generator of the CPU, and gradients where they are asked
// for. snapshot.json has the rest, and is written last: a folder without it is no snapshot. Each
// file is written aside, synced and renamed, and only this user may read it. XXH3 of each file and
// each tensor is in snapshot.json.
//
// Guarantees: a training that goes on from a snapshot has the bits of one that did not stop, if its
// program makes the same steps. That holds under another budget, policy or plan. A snapshot is
// loaded whole, or nothing has changed.
// Call these functions outside of scopes: they read and write tensors past the dispatcher.
// Threads: one at a time for each folder, model and optimizer. A second program that saves into the
// same folder at the same time is refused.
#pragma once

#include <neap/base.h>
#include <neap/data.h>
#include <neap/position.h>

#include <torch/nn/module.h>
#include <torch/optim/optimizer.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace neap::train {

struct SaveOptions {
  // Snapshots that stay in the folder: the newest. 0: all.
  std::int64_t keep = 3;
  // Gradients too, for a training that stops between the micro-batches of a step.
  bool gradients = false;
};

struct LoadOptions {
  // Go on with another number of threads, another LibTorch, or kernels for another processor. Then
  // bits may differ. The command has them as --allow-other-threads and so on.
  bool other_threads = false;
  bool other_torch = false;
  bool other_kernels = false;
};

// Writes a snapshot into `folder`, which is made when it is missing, and reads it back. Returns the
// snapshot's folder. A snapshot of the same step is replaced.
// Supports the state of SGD, Adam, AdamW, RMSprop and Adagrad.
// Throws: InvalidArgument for a step or `keep` below 0, another optimizer, or a tensor that is not
// dense or whose type safetensors does not have, or when the folder has a whole snapshot of a later
// step (a damaged one is renamed to step-N.damaged); Error, with the path and the reason, when it
// cannot be written. Then the snapshots from before are still there.
// Cost: the bytes of parameters, buffers and state, written once and read once. A tensor that is
// not contiguous is copied, in LibTorch's memory.
NEAP_EXPORT std::filesystem::path save(const std::filesystem::path& folder,
                                       const torch::nn::Module& model,
                                       const torch::optim::Optimizer& optimizer,
                                       const Position& position, const SaveOptions& options = {});

// The newest snapshot in `folder` that is whole; nullopt when there is none. It reads each file
// that it looks at. `damaged` gets a sentence for each newer one that is not whole.
// Throws: Error when the folder is there and cannot be read, or when the system does not let a
// snapshot be read, which may be whole.
NEAP_EXPORT std::optional<std::filesystem::path> newest_snapshot(
    const std::filesystem::path& folder, std::vector<std::string>* damaged = nullptr);

// The position of a snapshot, without its tensors. Throws: Error when snapshot.json is missing or
// damaged.
NEAP_EXPORT Position position_of(const std::filesystem::path& snapshot);

// Throws: Error when a file of the snapshot is missing or damaged. It reads each file.
NEAP_EXPORT void check_snapshot(const std::filesystem::path& snapshot);

// What LoadOptions must allow for this process to load a snapshot, a text for each, as "1 thread
// then, 2 threads now"; empty: nothing. Throws: as position_of().
NEAP_EXPORT std::vector<std::string> other_bits(const std::filesystem::path& snapshot);

// Puts a snapshot into a model and an optimizer that are made as the saved ones were: parameters
// and buffers, the optimizer's state and options, the generator, gradients.
// Throws: Error when a file is missing or damaged, when the model has other tensors (with those
// that differ, 20 at most), when the optimizer is of another kind or has other groups, or where
// LoadOptions forbid it. Nothing has changed then, unless the disk fails while the weights are
// read, which are checked before.
NEAP_EXPORT Position load(const std::filesystem::path& snapshot, torch::nn::Module& model,
                          torch::optim::Optimizer& optimizer, const LoadOptions& options = {});

// Parameters and buffers alone, by the module's own names, as a safetensors file: for inference, or
// for PyTorch, whose `safetensors.torch.load_file` and `load_state_dict` take it.
// import_weights() also takes a file from there. Throws: as save() and load().
NEAP_EXPORT void export_weights(const torch::nn::Module& model, const std::filesystem::path& file);
NEAP_EXPORT void import_weights(torch::nn::Module& model, const std::filesystem::path& file);
// The same file from a snapshot, whose checksums are compared, or from such a file, without the
// model. `texts`: beside the tensors, for programs that read them. Cost: holds the weights.
NEAP_EXPORT void export_weights(const std::filesystem::path& from,
                                const std::filesystem::path& file,
                                const std::map<std::string, std::string>& texts = {});
// The texts beside the tensors of a safetensors file. Throws: Error, as import_weights().
NEAP_EXPORT std::map<std::string, std::string> texts_in(const std::filesystem::path& file);

}  // namespace neap::train
