// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "run_record.h"

#include <neap/base.h>
#include <neap/machine.h>

#include <cerrno>
#include <utility>
#include <vector>

namespace neap::app {
namespace {

using Json = nlohmann::ordered_json;

// The lines of an older part of the training. A line that a kill has cut short is none.
std::vector<std::string> lines_up_to(const std::filesystem::path& path, std::int64_t done) {
  std::vector<std::string> kept;
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    const Json object = Json::parse(line, nullptr, false);
    if (!object.is_object()) continue;
    const auto event = object.find("event"), step = object.find("step");
    if (event == object.end()) continue;
    const bool is_kept_step = *event == "step" && step != object.end() &&
                              step->is_number_integer() && step->get<std::int64_t>() <= done;
    if (*event == "run" || is_kept_step) kept.push_back(line);
  }
  return kept;
}

}  // namespace

RunRecord::RunRecord(const std::filesystem::path& folder, const Json& start, std::int64_t done)
    : path_(folder / "run.jsonl") {
  std::vector<std::string> kept;
  if (done > 0) kept = lines_up_to(path_, done);
  OutputFile whole(path_, OutputFile::Access::Private);
  for (const std::string& line : kept) whole.append(line + '\n');
  whole.append(start.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n');
  whole.finish();
  file_.open(path_, std::ios::app);
}

std::string RunRecord::write(const std::string& line) {
  if (path_.empty()) return {};
  errno = 0;
  file_ << line << '\n' << std::flush;
  if (file_) return {};
  const std::string path = std::exchange(path_, {}).string();
  return path + " is written no further: " + machine::why_not_written(errno == 0 ? EIO : errno);
}

}  // namespace neap::app
