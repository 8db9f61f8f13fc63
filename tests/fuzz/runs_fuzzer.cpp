// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Any bytes are the lines of a training, or are refused with an Error that names the file. Those of
// a training have a row in SQLite, and their sections in a report.
#include "fuzz/memory_file.h"
#include "fuzz/round_trip.h"
#include "page/run_sections.h"
#include "run_database.h"

#include <neap/base.h>

#include <set>
#include <string>
#include <vector>

namespace neap::app {
namespace {

using fuzz::expect;

void check(const unsigned char* bytes, std::size_t count) {
  const fuzz::MemoryFile file(bytes, count);
  std::vector<TrainingRun> runs;
  try {
    runs.push_back(read_run(file.path()));
  } catch (const Error& error) {
    expect(std::string(error.what()).find(file.path() + ": ") == 0, "a refusal names the file");
    return;
  }
  name_runs(runs);
  const RunColumns columns = columns_of(runs[0]);
  std::set<std::string> names;
  for (const auto& [name, value] : columns) {
    expect(name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") == std::string::npos,
           "a column has a name that SQL needs no quotes for");
    expect(names.insert(name).second, "each column is there once");
    expect(value.is_primitive(), "a cell has one value");
  }
  const RunDatabase database({columns, columns});
  expect(database.select("", "").size() == 2, "each training has a row");
  expect(database.select("steps >= 0", "steps desc").size() == 2, "and a number of steps");
  Page page("trainings", "");
  add_run_sections(page, runs);
  expect(!page.is_empty(), "a report has a section");
  const std::string html = page.html();
  expect(html.find("</html>") != std::string::npos, "a report is whole");
}

}  // namespace
}  // namespace neap::app

// NOLINTNEXTLINE(readability-identifier-naming): the name that libFuzzer calls.
extern "C" int LLVMFuzzerTestOneInput(const unsigned char* bytes, std::size_t count) {
  try {
    neap::app::check(bytes, count);
  } catch (const neap::Error&) {  // more columns than SQLite takes
  }
  return 0;
}
