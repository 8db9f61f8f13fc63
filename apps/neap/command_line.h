// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What the user asked for: options, and the TOML file that --config names. No LibTorch here.
#pragma once

#include <neap/base.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace neap::app {

// Wrong use: a message, and exit code 2.
class UsageError : public Error {
 public:
  using Error::Error;
};

// What all commands that train share.
struct RunOptions {
  std::string model = "resnet";
  std::string optimizer = "adamw";
  double lr = 0;  // 0: the optimizer's default, see default_lr
  std::string budget = "none";
  std::int64_t seed = 1;
  std::int64_t threads = 0;  // 0: LibTorch's default
  bool json = false;
};

struct TrainingOptions : RunOptions {
  std::string data = "fashion-mnist";  // see data::open()
  std::int64_t batch_size = 128;
  std::int64_t epochs = 1;
  std::int64_t steps = 0;  // 0: whole epochs
  std::int64_t accumulate = 1;
  std::string config;
  bool quiet = false;
};

// Of analyze, bench and max-batch.
struct MeasuringOptions : RunOptions {
  std::vector<std::int64_t> input;  // of a sample; empty: the model's own
  std::vector<std::int64_t> batch_sizes = {8, 16, 32};
  std::int64_t repetitions = 5;
  std::vector<std::string> budgets = {"50%", "30%"};
  std::string margin = "0%";
  std::optional<double> time_limit_seconds;
  std::string csv, svg;  // files; empty: none
};

enum class Command { None, Train, Verify, Analyze, Bench, MaxBatch, Doctor };

struct CommandLine {
  Command command = Command::None;
  TrainingOptions training;
  MeasuringOptions measuring;
  int exit_code = 0;  // when there is no command: help was shown, or the use was wrong

  [[nodiscard]] std::int64_t threads() const {
    return command == Command::Train || command == Command::Verify ? training.threads
                                                                   : measuring.threads;
  }
};

// Prints help and mistakes itself.
CommandLine parse_command_line(int argc, char** argv);

double default_lr(const std::string& optimizer);

}  // namespace neap::app
