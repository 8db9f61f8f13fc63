// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "page/whole_page.h"

#include <sstream>

namespace neap::app {

std::string page_of(const std::string& title, const PageContent& content) {
  Page page(title, "Sizes are in bytes, as KiB of 1,024.");
  std::vector<std::filesystem::path> files;
  for (const Measured& measured : content.measured) files.emplace_back(measured.file);
  for (const TracedStep& step : content.steps) files.emplace_back(step.file);
  const std::vector<std::string> names = names_of(files);
  const bool has_parts = files.size() + (content.runs.empty() ? 0 : 1) > 1;
  auto name = names.begin();
  const auto begin_part = [&] {
    if (has_parts) page.begin_part(*name++);
  };
  if (has_parts && !content.runs.empty()) {
    page.begin_part(content.runs.size() == 1 ? content.runs.front().name : "trainings");
  }
  add_run_sections(page, content.runs);
  for (const Measured& measured : content.measured) {
    begin_part();
    add_measured_sections(page, measured);
  }
  for (const TracedStep& step : content.steps) {
    begin_part();
    add_trace_sections(page, step);
  }
  return page.html();
}

std::string page_of_training(const std::string& lines, const std::filesystem::path& folder) {
  std::istringstream in(lines);
  PageContent content;
  content.runs.push_back(read_run(in, "the training"));
  TrainingRun& run = content.runs.front();
  run.file = "training";
  if (!folder.empty()) {
    run.file = std::filesystem::absolute(folder / "run.jsonl").lexically_normal().parent_path();
  }
  name_runs(content.runs);
  return page_of("neap train: " + run.name, content);
}

}  // namespace neap::app
