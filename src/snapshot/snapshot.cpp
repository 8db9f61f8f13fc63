// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include <neap/snapshot.h>

#include "base/stable_hash.h"
#include "machine/input.h"
#include "snapshot/folder.h"
#include "snapshot/optimizer_state.h"
#include "snapshot/record.h"
#include "snapshot/tensors.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <torch/torch.h>
#include <torch/version.h>

#include <cstddef>
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

// A snapshot whose files are as they were written. They stay open, so another program may replace
// it meanwhile.
struct Whole {
  // Throws: Error when something is missing or damaged.
  explicit Whole(const fs::path& folder)
      : path(folder),
        record(snapshot::read(folder / snapshot::kRecordFile)),
        model(folder / snapshot::kModelFile),
        state(folder / snapshot::kStateFile) {
    const std::optional<std::int64_t> named = snapshot::step_of(folder);
    if (named && *named != record.position.step) {
      throw Error(folder.string() + " is damaged: it is of step " +
                  std::to_string(record.position.step) + "; take an older snapshot");
    }
    check(model, record.files.at(snapshot::kModelFile));
    check(state, record.files.at(snapshot::kStateFile));
  }

  fs::path path;
  Record record;
  File model;
  File state;

 private:
  static void check(const File& file, const snapshot::FileRecord& expected) {
    if (file.bytes() == expected.bytes && file.hash() == expected.hash) return;
    throw Error(file.path().string() +
                " is damaged: its bytes are not those that were saved; take an older snapshot");
  }
};

// ---------------------------------------------------------------- loading

// Throws: Error, with each difference, when the file has other tensors than the model.
void check_weights(const File& file, const Named& weights) {
  std::vector<std::string> wrong;
  for (const auto& [name, tensor] : weights) {
    const File::Entry* const entry = file.find(name);
    const std::string why = entry == nullptr ? "" : snapshot::why_not(*entry, tensor);
    if (entry == nullptr) wrong.push_back("it has no " + name);
    if (!why.empty()) wrong.push_back(name + ": " + why);
  }
  std::unordered_set<std::string_view> names;
  for (const auto& [name, tensor] : weights) names.insert(name);
  for (const File::Entry& entry : file.entries()) {
    if (!names.contains(entry.name)) {
      wrong.push_back("it has " + entry.name + ", which the model does not have");
    }
  }
  if (wrong.empty()) return;
  constexpr std::size_t kMostShown = 20;
  std::string what = wrong.front();
  if (wrong.size() > 1) {
    what = std::to_string(wrong.size()) + " differences";
    for (std::size_t i = 0; i < wrong.size() && i < kMostShown; ++i) what += "\n  " + wrong[i];
    if (wrong.size() > kMostShown) {
      what += "\n  and " + std::to_string(wrong.size() - kMostShown) + " more";
    }
  }
  snapshot::refuse(file.path(), what);
}

// What differs from the process that saved a snapshot.
struct Difference {
  bool LoadOptions::*allowed;
  std::string then, now;  // for people
  std::string what_to_do;
};

std::vector<Difference> differences(const Record& record) {
  std::vector<Difference> found;
  const auto threads = [](std::int64_t count) {
    return std::to_string(count) + (count == 1 ? " thread" : " threads");
  };
  if (record.threads != at::get_num_threads()) {
    const std::string count = std::to_string(record.threads);
    found.push_back({&LoadOptions::other_threads, threads(record.threads),
                     threads(at::get_num_threads()),
                     "which gives other bits; set " + count +
                         " (at::set_num_threads, or --threads of the command), or allow it with "
                         "LoadOptions::other_threads, or --allow-other-threads of the command"});
  }
  if (record.torch != TORCH_VERSION) {
    found.push_back({&LoadOptions::other_torch, "LibTorch " + record.torch,
                     "LibTorch " TORCH_VERSION,
                     "which may give other bits; take that one, or allow it with "
                     "LoadOptions::other_torch, or --allow-other-torch of the command"});
  }
  if (record.kernels != at::get_cpu_capability()) {
    found.push_back({&LoadOptions::other_kernels, "LibTorch's kernels for " + record.kernels,
                     "those for " + at::get_cpu_capability(),
                     "which give other bits; take a processor of the same kind, or allow it with "
                     "LoadOptions::other_kernels, or --allow-other-kernels of the command"});
  }
  return found;
}

void check_machine(const fs::path& snapshot, const Record& record, const LoadOptions& options) {
  for (const Difference& one : differences(record)) {
    if (options.*one.allowed) continue;
    throw Error(snapshot.string() + " was saved with " + one.then + ", and this process has " +
                one.now + ", " + one.what_to_do);
  }
}

// By parameter. Throws: Error when one does not fit.
std::vector<std::pair<at::Tensor, at::Tensor>> read_gradients(const File& file,
                                                              const torch::nn::Module& model) {
  std::vector<std::pair<at::Tensor, at::Tensor>> gradients;
  for (const auto& item : model.named_parameters()) {
    if (!item.value().defined()) continue;
    const File::Entry* const entry = file.find(name_of("gradient", item.key()));
    gradients.emplace_back(item.value(), entry == nullptr
                                             ? at::Tensor()
                                             : snapshot::read_like(file, *entry, item.value()));
  }
  return gradients;
}

// Throws: Error when it is none of this generator's states.
at::Tensor read_generator(const File& file) {
  const File::Entry* const entry = file.find(kGenerator);
  if (entry == nullptr) snapshot::refuse(file.path(), "it has no state of the generator");
  at::Tensor state = snapshot::read_new(file, *entry);
  try {
    at::Generator copy = generator().clone();
    copy.set_state(state);
  } catch (const c10::Error& wrong) {
    snapshot::refuse(file.path(), std::string(kGenerator) + ": " + wrong.what_without_backtrace());
  }
  return state;
}

// `expected`: null, or what is known of the tensors. Throws: Error when one is another now.
void copy_weights(const File& from, const snapshot::FileRecord* expected, const fs::path& file,
                  const safetensors::Metadata& texts) {
  std::vector<std::vector<std::byte>> held;
  std::vector<safetensors::Tensor> tensors;
  for (const File::Entry& entry : from.entries()) {
    std::vector<std::byte>& bytes = held.emplace_back(static_cast<std::size_t>(entry.bytes));
    from.read(entry, bytes);
    const auto is_as_saved = [&] {
      const auto saved = expected->tensors.find(entry.name);
      return saved != expected->tensors.end() &&
             saved->second == stable_hash(bytes.data(), bytes.size());
    };
    if (expected != nullptr && !is_as_saved()) {
      throw Error(from.path().string() + " is damaged: " + entry.name +
                  " has other bytes than were saved; check the disk, or take an older snapshot");
    }
    tensors.push_back(
        {.name = entry.name, .type = entry.type, .shape = entry.shape, .bytes = bytes});
  }
  safetensors::write(file, std::move(tensors), texts, OutputFile::Access::Shared);
}

// A training that goes on from an older snapshot leaves those after it behind. A damaged one is
// set aside. Throws: InvalidArgument when one is whole; Error when one cannot be read, which does
// not say that it is damaged.
void set_aside_later(const fs::path& folder, std::int64_t step) {
  for (const fs::path& one : snapshot::snapshots_in(folder)) {
    if (*snapshot::step_of(one) <= step) return;
    try {
      const Whole whole(one);
    } catch (const machine::Unreadable& why) {
      throw Error(std::string(why.what()) + "; it is of a later step than the one to save, " +
                  std::to_string(step) + ": move it away, or save into another folder");
    } catch (const Error&) {
      std::error_code error;
      fs::rename(one, one.string() + ".damaged", error);
      continue;
    }
    throw InvalidArgument(folder.string() + " has a snapshot of a later step, " +
                          one.filename().string() + ", than the one to save, " +
                          std::to_string(step) + "; move it away, or save into another folder");
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
  record.kernels = at::get_cpu_capability();
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
  set_aside_later(folder, position.step);
  record.files[snapshot::kModelFile] =
      record_of(snapshot::write(made.path() / snapshot::kModelFile, weights_of(model)));
  record.files[snapshot::kStateFile] =
      record_of(snapshot::write(made.path() / snapshot::kStateFile, state));
  snapshot::write(made.path() / snapshot::kRecordFile, record);
  const Whole read_back(made.path());
  const fs::path name = made.commit();
  made.remove_older(options.keep);
  return name;
}

std::optional<fs::path> newest_snapshot(const fs::path& folder, std::vector<std::string>* damaged) {
  for (const fs::path& one : snapshot::snapshots_in(folder, snapshot::Which::AlsoReplaced)) {
    try {
      const Whole whole(one);
      return one;
    } catch (const machine::Unreadable& why) {
      throw Error(std::string(why.what()) +
                  "; it may be whole: try again, or move it away to go on from an older one");
    } catch (const Error& error) {
      if (damaged != nullptr) damaged->emplace_back(error.what());
    }
  }
  return std::nullopt;
}

Position position_of(const fs::path& snapshot) {
  return snapshot::read(snapshot / snapshot::kRecordFile).position;
}

std::vector<std::string> other_bits(const fs::path& snapshot) {
  std::vector<std::string> sentences;
  for (const Difference& one : differences(snapshot::read(snapshot / snapshot::kRecordFile))) {
    sentences.push_back(one.then + " then, " + one.now + " now");
  }
  return sentences;
}

void check_snapshot(const fs::path& snapshot) { const Whole whole(snapshot); }

Position load(const fs::path& snapshot, torch::nn::Module& model,
              torch::optim::Optimizer& optimizer, const LoadOptions& options) {
  const Whole whole(snapshot);
  check_machine(snapshot, whole.record, options);
  const Named weights = weights_of(model);
  check_weights(whole.model, weights);
  const at::Tensor generator_state = read_generator(whole.state);
  auto gradients = read_gradients(whole.state, model);
  snapshot::LoadedState loaded =
      snapshot::read_optimizer(whole.record, whole.state, optimizer, names_of(model));
  // All is checked and in memory, but for the weights, which are read in place.
  for (const auto& [name, tensor] : weights) {
    snapshot::read_into(whole.model, *whole.model.find(name), tensor);
  }
  std::move(loaded).put_into(optimizer);
  for (auto& [parameter, gradient] : gradients) parameter.mutable_grad() = std::move(gradient);
  at::Generator now = generator();
  const std::lock_guard lock(now.mutex());
  now.set_state(generator_state);
  return whole.record.position;
}

void export_weights(const torch::nn::Module& model, const fs::path& file) {
  snapshot::write(file, weights_of(model), OutputFile::Access::Shared);
}

void export_weights(const fs::path& from, const fs::path& file,
                    const std::map<std::string, std::string>& texts) {
  std::error_code error;
  if (!fs::is_directory(from, error)) {
    copy_weights(File(from), nullptr, file, texts);
    return;
  }
  const Whole whole(from);
  copy_weights(whole.model, &whole.record.files.at(snapshot::kModelFile), file, texts);
}

std::map<std::string, std::string> texts_in(const fs::path& file) { return File(file).metadata(); }

void import_weights(torch::nn::Module& model, const fs::path& path) {
  const File file(path);
  const Named weights = weights_of(model);
  check_weights(file, weights);
  for (const auto& [name, tensor] : weights) {
    snapshot::read_into(file, *file.find(name), tensor);
  }
}

}  // namespace neap::train
