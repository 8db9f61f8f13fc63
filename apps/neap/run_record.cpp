// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "run_record.h"

#include <neap/base.h>
#include <neap/machine.h>

#include <cerrno>
#include <system_error>
#include <utility>
#include <vector>

namespace neap::app {
namespace {

using Json = nlohmann::ordered_json;

// The lines of an older part of the training. A line that a kill has cut short is none.
// Throws: Error when there is such a file, and it cannot be read.
std::vector<std::string> lines_up_to(const std::filesystem::path& path, std::int64_t done) {
  std::vector<std::string> kept;
  const auto refuse = [&] {
    throw Error(path.string() + " cannot be read, so no line is added to it; check the disk");
  };
  std::ifstream file(path);
  std::error_code error;
  if (!file && (std::filesystem::exists(path, error) || error)) refuse();
  std::string line;
  while (std::getline(file, line)) {
    const Json object = Json::parse(line, nullptr, false);
    if (!object.is_object()) continue;
    const auto event = object.find("event"), step = object.find("step");
    if (event == object.end()) continue;
    const bool is_of_step = *event == "step" || *event == "evaluation";
    const bool is_kept = is_of_step && step != object.end() && step->is_number_integer() &&
                         step->get<std::int64_t>() <= done;
    if (*event == "run" || is_kept) kept.push_back(line);
  }
  if (file.bad()) refuse();
  return kept;
}

}  // namespace

RunRecord::RunRecord(const std::filesystem::path& folder, Json start, std::int64_t done)
    : path_(folder / "run.jsonl"), start_(std::move(start)), done_(done) {}

void RunRecord::begin() {
  std::vector<std::string> kept;
  if (done_ > 0) kept = lines_up_to(path_, done_);
  OutputFile whole(path_, OutputFile::Access::Private);
  for (const std::string& line : kept) whole.append(line + '\n');
  whole.append(start_.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n');
  whole.finish();
  file_.open(path_, std::ios::app);
}

std::string RunRecord::add(const nlohmann::json& line) {
  if (path_.empty()) return {};
  try {
    if (!file_.is_open()) begin();
  } catch (const Error& error) {
    path_.clear();
    return error.what();
  }
  return write(line);
}

std::string RunRecord::add_summary(const nlohmann::json& line) {
  return file_.is_open() ? write(line) : std::string();
}

std::string RunRecord::write(const nlohmann::json& line) {
  if (path_.empty()) return {};
  errno = 0;
  file_ << line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << '\n'
        << std::flush;
  if (file_) return {};
  const std::string path = std::exchange(path_, {}).string();
  return path + " is written no further: " + machine::why_not_written(errno == 0 ? EIO : errno);
}

}  // namespace neap::app
