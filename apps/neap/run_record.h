// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// run.jsonl in the folder of neap train --out: what is in effect, a line for each step, and the
// summary. neap report draws it. The lines are those of --json. No LibTorch here.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

namespace neap::app {

class RunRecord {
 public:
  RunRecord() = default;  // writes nothing
  // Keeps the lines of the steps up to `done`, which the training goes on from.
  // Throws: Error when the file cannot be written.
  RunRecord(const std::filesystem::path& folder, const nlohmann::ordered_json& start,
            std::int64_t done);
  // Returns why the line could not be written, the first time; empty: it could.
  template <class Json>
  std::string add(const Json& line) {
    return write(line.dump(-1, ' ', false, Json::error_handler_t::replace));
  }

 private:
  std::string write(const std::string& line);

  std::filesystem::path path_;
  std::ofstream file_;
};

}  // namespace neap::app
