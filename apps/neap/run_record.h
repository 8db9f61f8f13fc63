// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// run.jsonl in the folder of neap train --out: what is in effect, a line for each step and each
// look at the test set, and the summary. neap report draws it. The lines are those of --json. No
// LibTorch here.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace neap::app {

class RunRecord {
 public:
  RunRecord() = default;  // of nothing
  // Keeps the lines of the steps up to `done`, which the training goes on from. A training without
  // a step leaves the file as it was. `folder`: empty for none. `in_memory`: for lines().
  RunRecord(const std::filesystem::path& folder, nlohmann::ordered_json start, std::int64_t done,
            bool in_memory);
  // Both return why the line could not be written, the first time; empty: it could. `line`: of a
  // step or an evaluation.
  std::string add(const nlohmann::json& line);
  std::string add_summary(const nlohmann::json& line);
  // All lines, also where the file could not be written; empty without `in_memory`, or before the
  // first one.
  [[nodiscard]] const std::string& lines() const { return lines_; }

 private:
  [[nodiscard]] std::vector<std::string> kept() const;
  std::string begin();
  std::string write(const nlohmann::json& line);
  void remember(const std::string& line);

  std::filesystem::path path_;  // empty: none
  nlohmann::ordered_json start_;
  std::int64_t done_ = 0;
  bool in_memory_ = false;
  bool began_ = false;
  std::ofstream file_;
  std::string lines_;
};

}  // namespace neap::app
