// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The page of neap report, and that of --report of other commands. No LibTorch here.
#pragma once

#include "page/measured_sections.h"
#include "page/run_sections.h"
#include "page/trace_sections.h"

#include <filesystem>
#include <string>
#include <vector>

namespace neap::app {

struct PageContent {
  std::vector<TrainingRun> runs;  // with names
  std::vector<TracedStep> steps;
  std::vector<Measured> measured;
};

// `title`: "neap bench: resnet".
std::string page_of(const std::string& title, const PageContent& content);

// The page of neap train. `lines`: of its record; `folder`: of --out; empty: it has none.
std::string page_of_training(const std::string& lines, const std::filesystem::path& folder);

// For people, behind the name of the page.
inline constexpr const char* kHowToOpen = "; a browser opens it, without a network";

}  // namespace neap::app
