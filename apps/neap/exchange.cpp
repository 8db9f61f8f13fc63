// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap export and neap import: weights for other programs, and from them.
#include "command_options.h"
#include "commands.h"
#include "notes.h"
#include "run_folder.h"
#include "weights.h"

#include <neap/snapshot.h>
#include <neap/version.h>

#include <filesystem>
#include <map>
#include <string>

namespace neap::app {
namespace {

// What a program that uses the weights must know. The folder of a library concerns nobody else.
std::map<std::string, std::string> texts_of(const FoundWeights& weights) {
  // "pt" is what Python's safetensors writes for PyTorch's tensors.
  std::map<std::string, std::string> texts{{"format", "pt"}, {"neap", NEAP_VERSION}};
  const auto take = [&](const char* name) {
    const auto note = weights.notes.find(name);
    if (note != weights.notes.end()) texts.insert(*note);
  };
  for (const NamedSize& size : kSizes) take(size.name);
  for (const char* const name : {"bf16", "normalize", kClasses, kColumns}) take(name);
  const auto model = weights.notes.find("model");
  if (model != weights.notes.end()) {
    texts["model"] = std::filesystem::path(model->second).filename().string();
  }
  if (weights.snapshot) {
    texts["step"] = std::to_string(train::position_of(*weights.snapshot).step);
  }
  return texts;
}

}  // namespace

int export_weights(const ExportOptions& options, Output& output) {
  if (!options.out.ends_with(".safetensors")) {
    throw UsageError("-o " + options.out +
                     ": the weights become a safetensors file; give it a name that says so, as "
                     "weights.safetensors");
  }
  const FoundWeights found = find_weights(options.from, options.best);
  for (const std::string& one : found.damaged) say(one);
  check_files_differ({{"WHERE", found.file.string()}, {"-o", options.out}});
  refuse_run_file(options.out);
  train::export_weights(found.snapshot.value_or(found.file), options.out, texts_of(found));
  output.line("wrote " + options.out + ": the weights of " +
              (found.snapshot ? *found.snapshot : found.file).string());
  return 0;
}

int import_weights(const TrainingOptions& options, Output& output) {
  const FoundWeights found = find_weights(options.weights);
  TrainingOptions prepared = as_trained(options, found);
  prepared.steps = 1;  // none is made
  const TrainingSource source(prepared, find_model(prepared));
  const Job job = source.task().make_job();
  train::import_weights(job.model.module(), found.file);
  const RunFolder folder(prepared, source);
  const std::filesystem::path snapshot = folder.save_imported(job, found);
  output.line("wrote " + snapshot.string() + ": neap train --resume begins with these weights");
  return 0;
}

}  // namespace neap::app
