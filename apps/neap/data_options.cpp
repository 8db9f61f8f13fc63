// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "data_options.h"

#include "output.h"
#include "values.h"

#include <charconv>
#include <cmath>
#include <cstdint>
#include <string_view>
#include <vector>

namespace neap::app {
namespace {

constexpr std::int64_t kMostCrop = 1024;
constexpr std::int64_t kMostContext = 1'000'000;
constexpr std::string_view kTraining = "training";

// The parts between the separators; an empty text has one, which is empty.
std::vector<std::string_view> parts_of(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const std::size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

template <class Number>
std::optional<Number> number_of(std::string_view text) {
  Number value{};
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || stop != text.data() + text.size()) return std::nullopt;
  return value;
}

// Empty: one of them is none.
std::vector<double> numbers_of(std::string_view text) {
  std::vector<double> numbers;
  for (const std::string_view part : parts_of(text, ',')) {
    const std::optional<double> number = number_of<double>(part);
    if (!number || !std::isfinite(*number)) return {};
    numbers.push_back(*number);
  }
  return numbers;
}

std::string list_of(const std::vector<double>& numbers) {
  std::string list;
  for (const double number : numbers) list += (list.empty() ? "" : ",") + exact(number);
  return list;
}

// Checks a text that is not empty.
template <class Parse>
CLI::Validator read_by(Parse parse, const std::string& expected) {
  return {[=](std::string& text) -> std::string {
            if (!text.empty() && parse(text)) return {};
            return "'" + text + "'; expected " + expected;
          },
          ""};
}

}  // namespace

std::optional<std::optional<double>> parse_split(const std::string& text) {
  if (text.empty()) return std::optional<double>();
  const std::optional<double> percent = parse_percent(text);
  if (!percent || !(*percent > 0 && *percent < 100)) return std::nullopt;
  return percent;
}

std::optional<WantedScale> parse_scale(const std::string& text) {
  if (text.empty()) return WantedScale();
  if (text == kTraining) return WantedScale{.of_training = true, .scale = {}};
  const std::vector<std::string_view> parts = parts_of(text, ':');
  if (parts.size() != 2) return std::nullopt;
  data::ChannelScale scale{.mean = numbers_of(parts[0]), .deviation = numbers_of(parts[1])};
  if (scale.mean.empty() || scale.mean.size() != scale.deviation.size()) return std::nullopt;
  for (const double deviation : scale.deviation) {
    if (!(deviation > 0)) return std::nullopt;
  }
  return WantedScale{.of_training = false, .scale = std::move(scale)};
}

std::optional<data::Augmentation> parse_augmentation(const std::string& text) {
  data::Augmentation augmentation;
  if (text.empty()) return augmentation;
  for (const std::string_view part : parts_of(text, ',')) {
    constexpr std::string_view kCrop = "crop:";
    if (part == "flip" && !augmentation.flip) {
      augmentation.flip = true;
      continue;
    }
    if (!part.starts_with(kCrop) || augmentation.crop != 0) return std::nullopt;
    const std::optional<std::int64_t> crop = number_of<std::int64_t>(part.substr(kCrop.size()));
    if (!crop || *crop < 1 || *crop > kMostCrop) return std::nullopt;
    augmentation.crop = *crop;
  }
  return augmentation;
}

std::string text_of_split(std::optional<double> percent) {
  return percent ? exact(*percent) + "%" : "";
}

std::string text_of_scale(const std::optional<data::ChannelScale>& scale) {
  return scale ? list_of(scale->mean) + ":" + list_of(scale->deviation) : "";
}

std::string text_of_augmentation(const data::Augmentation& augmentation) {
  std::string text;
  if (augmentation.crop > 0) text = "crop:" + std::to_string(augmentation.crop);
  if (augmentation.flip) text += text.empty() ? "flip" : ",flip";
  return text;
}

void add_data_options(CLI::App& command, TrainingOptions& options) {
  add_context_option(command, options);
  command
      .add_option("--split", options.split,
                  "the part of each class, or the last part of a text, that becomes the test set "
                  "where the data have none, as 20%; when left out, a tenth")
      ->type_name("SHARE")
      ->check(read_by(parse_split, "a share above 0% and below 100%, as 20%"));
  command
      .add_option("--normalize", options.normalize,
                  "pictures get mean 0 and deviation 1 in each channel of the training set "
                  "(training), or these numbers, where pixels count from 0 to 1: "
                  "0.485,0.456,0.406:0.229,0.224,0.225, or one of both for all channels. When "
                  "left out, PNG and JPEG get -1 to 1, IDX, CIFAR and arrays of uint8 are "
                  "normalized by the training set, and other numbers stay as they are")
      ->type_name("training|MEAN:DEVIATION")
      ->check(read_by(parse_scale,
                      "training, or as many means as deviations above 0, as 0.5:0.25 or "
                      "0.5,0.4,0.3:0.2,0.2,0.2"));
}

void add_context_option(CLI::App& command, TrainingOptions& options) {
  command
      .add_option("--context", options.context,
                  "tokens of a sample, for gpt and other models that read a text: the bytes of its "
                  "windows; when left out, 256")
      ->check(whole_number(1, kMostContext));
}

void add_augment_option(CLI::App& command, TrainingOptions& options) {
  command
      .add_option("--augment", options.augment,
                  "change the pictures of the training at random, by the seed, the epoch and the "
                  "picture's number: crop:4 moves them by up to 4 rows and columns, flip turns "
                  "each second one left to right; crop:4,flip does both")
      ->type_name("LIST")
      ->check(
          read_by(parse_augmentation, "crop:PIXELS from 1 to 1024, flip, or both with a comma"));
}

}  // namespace neap::app
