// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What the user asked for: options, and the TOML file that --config names. No LibTorch here.
#pragma once

#include <neap/base.h>

#include <cstdint>
#include <optional>
#include <string>

namespace neap::app {

// Wrong use: a message, and exit code 2.
class UsageError : public Error {
 public:
  using Error::Error;
};

struct TrainingOptions {
  std::string model = "resnet";
  std::string data = "fashion-mnist";  // see data::open()
  std::string budget = "none";
  std::int64_t batch_size = 128;
  std::int64_t epochs = 1;
  std::int64_t steps = 0;  // 0: whole epochs
  double lr = 0;           // 0: the optimizer's default, see default_lr
  std::string optimizer = "adamw";
  std::int64_t accumulate = 1;
  std::int64_t seed = 1;
  std::int64_t threads = 0;  // 0: LibTorch's default
  std::string config;
  bool json = false;
  bool quiet = false;
};

enum class Command { None, Train, Verify, Doctor };

struct CommandLine {
  Command command = Command::None;
  TrainingOptions training;
  int exit_code = 0;  // when there is no command: help was shown, or the use was wrong
};

// Prints help and mistakes itself.
CommandLine parse_command_line(int argc, char** argv);

double default_lr(const std::string& optimizer);

}  // namespace neap::app
