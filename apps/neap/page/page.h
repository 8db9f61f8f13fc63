// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A report as one HTML page: its charts, their libraries and its data are in the file, and it asks
// for nothing from a network. page.js draws the sections. No LibTorch here.
#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <utility>
#include <vector>

namespace neap::app {

using Json = nlohmann::ordered_json;

// A number with a unit that page.js knows ("bytes", "ns", "percent"; empty: none), or a text.
struct Fact {
  std::string name;
  Json value;
  std::string unit = {};
};

class Page {
 public:
  Page(std::string title, std::string subtitle);
  // What follows is of this file, where the page has several.
  void begin_part(const std::string& file);
  void add_fact(Fact fact);
  // A section as page.js reads it; `kind`: area, lines, bars, points or table.
  void add_section(const char* kind, const std::string& title, const std::string& text,
                   const Json& content);
  [[nodiscard]] bool is_empty() const { return sections_.empty(); }
  [[nodiscard]] std::string html() const;

 private:
  std::string title_, subtitle_;
  Json facts_ = Json::array();
  Json sections_ = Json::array();
  std::size_t part_ = 0;  // where the section after its heading is; 0: no part has begun
};

// A series of bars or of a long chart.
Json series(const std::string& name, Json values);
// A column of a table; without a unit it has texts.
Json column(const std::string& name);
Json column(const std::string& name, const char* unit);

}  // namespace neap::app
