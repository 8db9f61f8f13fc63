// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Any bytes are a config file of neap train, or are refused with a UsageError that names a line.
// What was read is written, and read again as the same options.
#include "command_options.h"
#include "config_file.h"
#include "fuzz/memory_file.h"
#include "fuzz/round_trip.h"

#include <CLI/CLI.hpp>

#include <optional>
#include <string>

namespace neap::app {
namespace {

using fuzz::expect;
using fuzz::MemoryFile;

// The options that a file gives; nullopt: it was refused.
std::optional<std::string> read(const std::string& bytes) {
  const MemoryFile file(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
  TrainingOptions options;
  CLI::App command("trains", "train");
  add_train_options(command, options);
  try {
    read_config(command, file.path(), {});
  } catch (const UsageError& error) {
    expect(std::string(error.what()).find(file.path() + ": line ") == 0, "a refusal names a line");
    return std::nullopt;
  }
  expect(!names_library(options.model), "no file names a library");
  return config_text(command);
}

}  // namespace
}  // namespace neap::app

// NOLINTNEXTLINE(readability-identifier-naming): the name that libFuzzer calls.
extern "C" int LLVMFuzzerTestOneInput(const unsigned char* bytes, std::size_t count) {
  using neap::app::read;
  const auto text = read({reinterpret_cast<const char*>(bytes), count});
  if (text) neap::fuzz::expect(read(*text) == text, "what is written is read as the same options");
  return 0;
}
