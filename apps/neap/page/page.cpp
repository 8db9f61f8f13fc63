// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "page/page.h"

#include "page/assets.h"

#include <neap/version.h>

namespace neap::app {

Page::Page(std::string title, std::string subtitle)
    : title_(std::move(title)), subtitle_(std::move(subtitle)) {}

void Page::begin_part(const std::string& file) {
  add_section("part", file, "", {{"facts", Json::array()}});
  part_ = sections_.size();
}

void Page::add_fact(Fact fact) {
  Json& facts = part_ == 0 ? facts_ : sections_[part_ - 1]["facts"];
  facts.push_back(Json::array({std::move(fact.name), std::move(fact.value), std::move(fact.unit)}));
}

void Page::add_section(const char* kind, const std::string& title, const std::string& text,
                       const Json& content) {
  Json section{{"kind", kind}, {"title", title}, {"text", text}};
  section.update(content);
  sections_.push_back(std::move(section));
}

namespace {

// Inside a script element only `</script` and `<!--` end it or change how it is read. In JSON a `<`
// stands in texts alone, where its escape means the same.
std::string as_script(const Json& data) {
  std::string text;
  for (const char c : data.dump(-1, ' ', false, Json::error_handler_t::replace)) {
    if (c == '<') {
      text += "\\u003c";
    } else {
      text += c;
    }
  }
  return text;
}

std::string escaped(const std::string& text) {
  std::string html;
  for (const char c : text) {
    switch (c) {
      case '<':
        html += "&lt;";
        break;
      case '&':
        html += "&amp;";
        break;
      default:
        html += c;
    }
  }
  return html;
}

}  // namespace

std::string Page::html() const {
  const Json data{{"title", title_},
                  {"subtitle", subtitle_},
                  {"facts", facts_},
                  {"sections", sections_},
                  {"footer", std::string("Made by neap ") + NEAP_VERSION +
                                 ". Charts: dygraphs and Chart.js, both under the MIT licence."}};
  std::string html =
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      // The browser then refuses any request.
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src "
      "'unsafe-inline'; style-src 'unsafe-inline'; img-src data:\">\n"
      "<link rel=\"icon\" href=\"data:,\">\n";
  html += "<title>" + escaped(title_) + "</title>\n";
  html += "<style>\n";
  html += assets::kDygraphCss;
  html += assets::kPageCss;
  html += "</style>\n</head>\n<body>\n<script id=\"data\" type=\"application/json\">";
  html += as_script(data);
  html += "</script>\n";
  for (const std::string_view script : {assets::kDygraphJs, assets::kChartJs, assets::kPageJs}) {
    html += "<script>\n";
    html += script;
    html += "</script>\n";
  }
  html += "</body>\n</html>\n";
  return html;
}

Json series(const std::string& name, Json values) {
  return {{"name", name}, {"values", std::move(values)}};
}
Json column(const std::string& name) { return {{"name", name}}; }
Json column(const std::string& name, const char* unit) { return {{"name", name}, {"unit", unit}}; }

}  // namespace neap::app
