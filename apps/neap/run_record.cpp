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
    const auto named = object.find("event"), step = object.find("step");
    if (named == object.end() || !named->is_string()) continue;
    // As a text: where memory runs out, a comparison of Json with a text ends the program.
    const std::string event = named->get<std::string>();
    const bool is_of_step = event == "step" || event == "evaluation";
    const bool is_kept = is_of_step && step != object.end() && step->is_number_integer() &&
                         step->get<std::int64_t>() <= done;
    if (event == "run" || is_kept) kept.push_back(line);
  }
  if (file.bad()) refuse();
  return kept;
}

template <class Object>
std::string text_of(const Object& line) {
  return line.dump(-1, ' ', false, Object::error_handler_t::replace) + '\n';
}

}  // namespace

RunRecord::RunRecord(const std::filesystem::path& folder, Json start, std::int64_t done,
                     bool in_memory)
    : path_(folder.empty() ? folder : folder / "run.jsonl"),
      start_(std::move(start)),
      done_(done),
      in_memory_(in_memory) {}

// Throws: Error, as lines_up_to().
std::vector<std::string> RunRecord::kept() const {
  if (done_ == 0 || path_.empty()) return {};
  return lines_up_to(path_, done_);
}

// Returns why the file cannot be written; what came before is in memory where it can be read.
std::string RunRecord::begin() {
  began_ = true;
  std::string note;
  try {
    const std::vector<std::string> older = kept();
    for (const std::string& line : older) remember(line + '\n');
    if (!path_.empty()) {
      OutputFile whole(path_, OutputFile::Access::Private);
      for (const std::string& line : older) whole.append(line + '\n');
      whole.append(text_of(start_));
      whole.finish();
      file_.open(path_, std::ios::app);
    }
  } catch (const Error& error) {
    path_.clear();
    note = error.what();
  }
  remember(text_of(start_));
  return note;
}

std::string RunRecord::add(const nlohmann::json& line) {
  const std::string note = began_ ? std::string() : begin();
  return note.empty() ? write(line) : (remember(text_of(line)), note);
}

std::string RunRecord::add_summary(const nlohmann::json& line) {
  if (began_) return write(line);
  if (!in_memory_) return {};
  try {
    for (const std::string& older : kept()) remember(older + '\n');
  } catch (const Error&) {  // the file stays as it is, and the page has what is known
  }
  remember(text_of(start_));
  remember(text_of(line));
  return {};
}

std::string RunRecord::write(const nlohmann::json& line) {
  const std::string text = text_of(line);
  remember(text);
  if (path_.empty()) return {};
  errno = 0;
  file_ << text << std::flush;
  if (file_) return {};
  const std::string path = std::exchange(path_, {}).string();
  return path + " is written no further: " + machine::why_not_written(errno == 0 ? EIO : errno);
}

void RunRecord::remember(const std::string& line) {
  if (in_memory_) lines_ += line;
}

}  // namespace neap::app
