// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include <neap/snapshot.h>

#include "snapshot/folder.h"
#include "snapshot/optimizer_state.h"
#include "snapshot/record.h"
#include "snapshot/tensors.h"

#include <ATen/Parallel.h>
#include <torch/torch.h>
#include <torch/version.h>

#include <mutex>
#include <string_view>
#include <unordered_set>
#include <utility>

namespace neap::train {
namespace {

namespace fs = std::filesystem;
using safetensors::File;
using snapshot::name_of;
using snapshot::Named;
using snapshot::Names;
using snapshot::Record;

constexpr const char* kGenerator = "generator.cpu";

at::Generator generator() { return at::globalContext().defaultGenerator(at::kCPU); }

Named weights_of(const torch::nn::Module& model) {
  Named weights;
  for (const auto& item : model.named_parameters()) {
    if (item.value().defined()) weights.emplace_back(item.key(), item.value());
  }
  for (const auto& item : model.named_buffers()) {
    if (item.value().defined()) weights.emplace_back(item.key(), item.value());
  }
  return weights;
}

Names names_of(const torch::nn::Module& model) {
  Names names;
  for (const auto& item : model.named_parameters()) {
    if (item.value().defined()) {
      names.emplace(item.value().unsafeGetTensorImpl(), item.key());
    }
  }
  return names;
}

// ---------------------------------------------------------------- whole or not

snapshot::FileRecord record_of(const safetensors::Written& written) {
  return {written.bytes, written.hash, written.tensors};
}

// Throws: Error when a file is not as the record says.
void check_files(const fs::path& folder, const Record& record) {
  for (const auto& [name, expected] : record.files) {
    const File file(folder / name);
    if (file.bytes() == expected.bytes && file.hash() == expected.hash) continue;
    throw Error((folder / name).string() +
                " is damaged: its bytes are not those that were saved; take an older snapshot");
  }
}

Record read_whole(const fs::path& folder) {
  Record record = snapshot::read(folder / snapshot::kRecordFile);
  check_files(folder, record);
  return record;
}

// ---------------------------------------------------------------- loading

// Throws: Error when the file has other tensors than the model.
void check_weights(const File& file, const Named& weights) {
  for (const auto& [name, tensor] : weights) {
    const File::Entry* const entry = file.find(name);
    if (entry == nullptr) snapshot::refuse(file.path(), "it has no " + name);
    const std::string why = snapshot::why_not(*entry, tensor);
    if (!why.empty()) snapshot::refuse(file.path(), name + ": " + why);
  }
  std::unordered_set<std::string_view> names;
  for (const auto& [name, tensor] : weights) names.insert(name);
  for (const File::Entry& entry : file.entries()) {
    if (!names.contains(entry.name)) {
      snapshot::refuse(file.path(), "it has " + entry.name + ", which the model does not have");
    }
  }
}

void check_machine(const fs::path& snapshot, const Record& record, const LoadOptions& options) {
  if (record.threads != at::get_num_threads() && !options.other_threads) {
    throw Error(snapshot.string() + " was saved with " + std::to_string(record.threads) +
                " threads, and LibTorch has " + std::to_string(at::get_num_threads()) +
                " now, which gives other bits; set " + std::to_string(record.threads) +
                " (at::set_num_threads, or --threads of the command), or allow it with "
                "LoadOptions::other_threads");
  }
  if (record.torch != TORCH_VERSION && !options.other_torch) {
    throw Error(snapshot.string() + " was saved with LibTorch " + record.torch +
                ", and this is " TORCH_VERSION
                ", which may give other bits; take that one, or allow it with "
                "LoadOptions::other_torch");
  }
}

void load_gradients(const File& file, const torch::nn::Module& model) {
  for (const auto& item : model.named_parameters()) {
    if (!item.value().defined()) continue;
    at::Tensor parameter = item.value();
    const File::Entry* const entry = file.find(name_of("gradient", item.key()));
    parameter.mutable_grad() =
        entry == nullptr ? at::Tensor() : snapshot::read_new(file, *entry).to(parameter.device());
  }
}

}  // namespace

fs::path save(const fs::path& folder, const torch::nn::Module& model,
              const torch::optim::Optimizer& optimizer, const Position& position,
              const SaveOptions& options) {
  if (position.step < 0 || options.keep < 0) {
    throw InvalidArgument("a snapshot of step " + std::to_string(position.step) + ", of which " +
                          std::to_string(options.keep) + " stay: expected 0 or more of both");
  }
  Record record;
  record.position = position;
  record.threads = at::get_num_threads();
  record.torch = TORCH_VERSION;
  Named state;
  snapshot::record_optimizer(record, state, optimizer, names_of(model));
  if (options.gradients) {
    for (const auto& item : model.named_parameters()) {
      if (!item.value().defined() || !item.value().grad().defined()) continue;
      state.emplace_back(name_of("gradient", item.key()), item.value().grad());
    }
  }
  {
    at::Generator now = generator();
    const std::lock_guard lock(now.mutex());
    state.emplace_back(kGenerator, now.get_state());
  }
  snapshot::NewSnapshot made(folder, position.step);
  record.files[snapshot::kModelFile] =
      record_of(snapshot::write(made.path() / snapshot::kModelFile, weights_of(model)));
  record.files[snapshot::kStateFile] =
      record_of(snapshot::write(made.path() / snapshot::kStateFile, state));
  snapshot::write(made.path() / snapshot::kRecordFile, record);
  read_whole(made.path());
  const fs::path name = made.commit();
  snapshot::remove_older(folder, options.keep);
  return name;
}

std::optional<fs::path> newest_snapshot(const fs::path& folder, std::vector<std::string>* damaged) {
  for (const fs::path& snapshot : snapshot::snapshots_in(folder)) {
    try {
      read_whole(snapshot);
      return snapshot;
    } catch (const Error& error) {
      if (damaged != nullptr) damaged->emplace_back(error.what());
    }
  }
  return std::nullopt;
}

Position position_of(const fs::path& snapshot) {
  return snapshot::read(snapshot / snapshot::kRecordFile).position;
}

Position load(const fs::path& snapshot, torch::nn::Module& model,
              torch::optim::Optimizer& optimizer, const LoadOptions& options) {
  const Record record = read_whole(snapshot);
  check_machine(snapshot, record, options);
  const Names names = names_of(model);
  const Named weights = weights_of(model);
  const File model_file(snapshot / snapshot::kModelFile);
  const File state_file(snapshot / snapshot::kStateFile);
  check_weights(model_file, weights);
  const File::Entry* const saved_generator = state_file.find(kGenerator);
  if (saved_generator == nullptr)
    snapshot::refuse(state_file.path(), "it has no state of the generator");
  const at::Tensor generator_state = snapshot::read_new(state_file, *saved_generator);
  snapshot::LoadedState loaded = snapshot::read_optimizer(record, state_file, optimizer, names);
  // All is checked and in memory, but for the weights, which are read in place.
  for (const auto& [name, tensor] : weights) {
    snapshot::read_into(model_file, *model_file.find(name), tensor);
  }
  std::move(loaded).put_into(optimizer);
  load_gradients(state_file, model);
  at::Generator now = generator();
  const std::lock_guard lock(now.mutex());
  now.set_state(generator_state);
  return record.position;
}

void export_weights(const torch::nn::Module& model, const fs::path& file) {
  snapshot::write(file, weights_of(model));
}

void import_weights(torch::nn::Module& model, const fs::path& path) {
  const File file(path);
  const Named weights = weights_of(model);
  check_weights(file, weights);
  for (const auto& [name, tensor] : weights) {
    snapshot::read_into(file, *file.find(name), tensor);
  }
}

}  // namespace neap::train
