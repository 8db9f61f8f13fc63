// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// How data are cut, split, scaled and changed: --context, --split, --normalize, --augment. No
// LibTorch here.
#pragma once

#include "command_line.h"

#include <neap/pictures.h>

#include <CLI/CLI.hpp>

#include <optional>
#include <string>

namespace neap::app {

// Adds --split, --normalize and --context.
void add_data_options(CLI::App& command, TrainingOptions& options);
// Adds --context alone.
void add_context_option(CLI::App& command, TrainingOptions& options);
// Adds --augment.
void add_augment_option(CLI::App& command, TrainingOptions& options);

// A scale as people write it: training, or MEAN:DEVIATION with one number or one a channel.
struct WantedScale {
  bool of_training = false;
  std::optional<data::ChannelScale> scale;  // nullopt with of_training, and for an empty text
};

// All three: nullopt when the text is wrong. An empty text is none of it.
std::optional<std::optional<double>> parse_split(const std::string& text);  // percent
std::optional<WantedScale> parse_scale(const std::string& text);
std::optional<data::Augmentation> parse_augmentation(const std::string& text);

// One text for each meaning, with all digits, that the functions above read again.
std::string text_of_split(std::optional<double> percent);
std::string text_of_scale(const std::optional<data::ChannelScale>& scale);
std::string text_of_augmentation(const data::Augmentation& augmentation);

}  // namespace neap::app
