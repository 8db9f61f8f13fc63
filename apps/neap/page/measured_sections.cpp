// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "page/measured_sections.h"

#include "page/run_sections.h"

#include <neap/base.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <limits>
#include <string_view>
#include <utility>

namespace neap::app {
namespace {

constexpr double kNsOfMs = 1e6;
constexpr std::size_t kMostBars = 20;
const Json kNull;

// Null where the object has no such key, or is none.
const Json& value_of(const Json& object, const char* key) {
  if (!object.is_object()) return kNull;
  const auto found = object.find(key);
  return found == object.end() ? kNull : *found;
}
std::string text_of(const Json& object, const char* key) {
  const Json& value = value_of(object, key);
  return value.is_string() ? value.get<std::string>() : std::string();
}
// The median of quartiles; 0: there is none.
double median_of(const Json& object, const char* key) {
  const Json& median = value_of(value_of(object, key), "median");
  return median.is_number() ? median.get<double>() : 0;
}
double number_or_0(const Json& object, const char* key) {
  const Json& value = value_of(object, key);
  return value.is_number() ? value.get<double>() : 0;
}
Json known(double value) { return value > 0 ? Json(value) : Json(); }
Json ns_of(const Json& row, const char* key) { return known(kNsOfMs * median_of(row, key)); }

bool is_list_of_objects(const Json& value) {
  return value.is_array() && std::ranges::all_of(value, &Json::is_object);
}

Json axis(const char* name, const char* unit) { return {{"name", name}, {"unit", unit}}; }

// ---- neap bench ----

bool has_budget(const Json& row) { return value_of(row, "budget_bytes").is_number(); }
bool fits(const Json& row) { return median_of(row, "against_plain") > 0; }

// Each way is a series; the budgets are one, since they lie on one curve.
void add_bench_points(Page& page, const Json& rows, const std::string& label) {
  std::vector<Json> budgets;
  Json others = Json::array();
  for (const Json& row : rows) {
    if (text_of(row, "label") != label || !fits(row)) continue;
    const Json point = Json::array({number_or_0(row, "peak_live_bytes"),
                                    100 * (median_of(row, "against_plain") - 1),
                                    ns_of(row, "step_ms"), text_of(row, "variant")});
    if (has_budget(row)) {
      budgets.push_back(point);
    } else {
      others.push_back(
          {{"name", text_of(row, "variant")}, {"line", false}, {"points", Json::array({point})}});
    }
  }
  if (budgets.empty() && others.empty()) return;
  std::ranges::sort(budgets, {}, [](const Json& point) { return point[0].get<double>(); });
  Json all = Json::array();
  if (!budgets.empty()) {
    all.push_back({{"name", "inside a budget"}, {"line", true}, {"points", budgets}});
  }
  for (Json& one : others) all.push_back(std::move(one));
  page.add_section(
      "points", "Time against memory, measured",
      label.empty() ? "What a step takes in each way." : "What a step takes in each way: " + label,
      {{"x", axis("largest number of live bytes", "bytes")},
       {"y", axis("extra time", "percent")},
       {"series", all}});
}

void add_bench(Page& page, const Json& content) {
  const Json& rows = value_of(content, "rows");
  std::vector<std::string> labels;
  Json cells = Json::array();
  for (const Json& row : rows) {
    const std::string label = text_of(row, "label");
    if (std::ranges::find(labels, label) == labels.end()) labels.push_back(label);
    const Json& is_equal = value_of(row, "equal_bits");  // null: not known
    const std::string refusal = text_of(row, "refusal");
    const auto if_fits = [&](const char* key) { return fits(row) ? number_of(row, key) : Json(); };
    cells.push_back(
        Json::array({label, text_of(row, "variant"), number_of(row, "budget_bytes"),
                     ns_of(row, "step_ms"), known(median_of(row, "against_plain")),
                     if_fits("peak_live_bytes"), if_fits("peak_reserved_bytes"), if_fits("replays"),
                     !refusal.empty()    ? "does not fit: " + refusal
                     : is_equal == true  ? "equal"
                     : is_equal == false ? "differ: " + text_of(row, "difference")
                                         : ""}));
  }
  for (const std::string& label : labels) add_bench_points(page, rows, label);
  page.add_section(
      "table", "Ways to train a step", "Bits are compared with those of the plain step.",
      {{"columns",
        {column("step"), column("way"), column("budget", "bytes"), column("time of a step", "ns"),
         column("against plain", ""), column("peak", "bytes"), column("reserved", "bytes"),
         column("operators run again", ""), column("bits")}},
       {"rows", cells}});
}

// ---- neap analyze ----

struct Figure {
  const char* name;
  const char* key;
};

// A line for each figure, over the batch sizes that fit.
template <std::size_t count, class Value>
void add_by_batch(Page& page, const Json& rows, const char* title, const char* what,
                  const char* unit, const std::array<Figure, count>& figures, Value value) {
  Json all = Json::array();
  for (const Figure& figure : figures) {
    std::vector<Json> points;
    for (const Json& row : rows) {
      const double y = value(row, figure.key);
      if (y > 0) points.push_back(Json::array({number_or_0(row, "batch_size"), y}));
    }
    if (points.empty()) continue;
    std::ranges::sort(points, {}, [](const Json& point) { return point[0].get<double>(); });
    all.push_back({{"name", figure.name}, {"line", true}, {"points", points}});
  }
  if (all.empty()) return;
  page.add_section("points", title, "",
                   {{"x", axis("batch size", "")}, {"y", axis(what, unit)}, {"series", all}});
}

void add_performance(Page& page, const Json& performance) {
  const Json& rows = value_of(performance, "rows");
  constexpr std::array kParts{Figure{"step", "step_ms"}, Figure{"forward", "forward_ms"},
                              Figure{"backward", "backward_ms"},
                              Figure{"optimizer", "optimizer_ms"}};
  add_by_batch(page, rows, "Time of a step by batch", "time", "ns", kParts,
               [](const Json& row, const char* key) { return kNsOfMs * median_of(row, key); });
  constexpr std::array kPeaks{Figure{"live", "peak_live_bytes"},
                              Figure{"reserved", "peak_reserved_bytes"}};
  add_by_batch(page, rows, "Peak of a step by batch", "bytes", "bytes", kPeaks, number_or_0);
  constexpr std::array kSpeed{Figure{"samples a second", "items_per_second"}};
  add_by_batch(page, rows, "Samples a second by batch", "samples a second", "", kSpeed,
               number_or_0);
  Json cells = Json::array();
  for (const Json& row : rows) {
    const std::string refusal = text_of(row, "refusal");
    const auto if_fits = [&](const char* key) {
      return refusal.empty() ? number_of(row, key) : Json();
    };
    cells.push_back(Json::array(
        {number_of(row, "batch_size"), ns_of(row, "forward_ms"), ns_of(row, "backward_ms"),
         ns_of(row, "optimizer_ms"), ns_of(row, "step_ms"), if_fits("items_per_second"),
         if_fits("peak_live_bytes"), if_fits("peak_reserved_bytes"), if_fits("replays"),
         refusal.empty() ? "" : "does not fit: " + refusal}));
  }
  page.add_section(
      "table", "Steps by batch", "",
      {{"columns",
        {column("batch", ""), column("forward", "ns"), column("backward", "ns"),
         column("optimizer", "ns"), column("step", "ns"), column("samples a second", ""),
         column("peak", "bytes"), column("reserved", "bytes"), column("operators run again", ""),
         column("note")}},
       {"rows", cells}});
}

struct Part {
  const char* name;
  const char* key;
  int colour;  // that of the category in other charts
};
constexpr std::array kParts{
    Part{"parameters", "parameters_bytes", 0},      Part{"gradients", "gradients_bytes", 1},
    Part{"optimizer", "optimizer_states_bytes", 2}, Part{"buffers", "buffers_bytes", 3},
    Part{"activations", "activations_bytes", 4},    Part{"temporaries", "temporaries_bytes", 5}};

void add_usage(Page& page, const Json& usage) {
  std::vector<std::pair<double, const Json*>> layers;
  Json cells = Json::array();
  for (const Json& layer : value_of(usage, "layers")) {
    double sum = 0;
    Json row = Json::array({text_of(layer, "name"), text_of(layer, "kind")});
    for (const Part& part : kParts) {
      sum += number_or_0(layer, part.key);
      row.push_back(number_of(layer, part.key));
    }
    if (sum > 0) layers.emplace_back(sum, &layer);
    cells.push_back(std::move(row));
  }
  std::ranges::stable_sort(layers, std::ranges::greater{}, &std::pair<double, const Json*>::first);
  if (layers.size() > kMostBars) layers.resize(kMostBars);
  Json names = Json::array(), all = Json::array();
  for (const auto& [sum, layer] : layers) names.push_back(text_of(*layer, "name"));
  for (const Part& part : kParts) {
    Json values = Json::array();
    for (const auto& [sum, layer] : layers) values.push_back(number_or_0(*layer, part.key));
    Json one = series(part.name, std::move(values));
    one["colour"] = part.colour;
    all.push_back(std::move(one));
  }
  const std::string batch = number_of(usage, "batch_size").dump();
  if (!names.empty()) {
    page.add_section("bars", "What holds the memory of a step of batch " + batch,
                     "The layers that hold most.",
                     {{"unit", "bytes"}, {"names", names}, {"series", all}});
  }
  if (cells.empty()) return;
  Json columns = Json::array({column("layer"), column("kind")});
  for (const Part& part : kParts) columns.push_back(column(part.name, "bytes"));
  page.add_section("table", "Layers in a step of batch " + batch, "",
                   {{"columns", columns}, {"rows", cells}});
}

void add_analysis(Page& page, const Json& content) {
  const Json& performance = value_of(content, "performance");
  const Json& usage = value_of(content, "memory");
  const auto add_fact = [&](const char* name, Json value, const char* unit) {
    if (!value.is_null() && value != "") page.add_fact({name, std::move(value), unit});
  };
  add_fact("step", text_of(content, "label"), "");
  add_fact("best batch", number_of(performance, "best_batch"), "");
  add_fact("limit", text_of(performance, "limit"), "");
  add_fact("budget", number_of(performance, "budget_bytes"), "bytes");
  add_fact("peak", number_of(usage, "peak_live_bytes"), "bytes");
  add_performance(page, performance);
  add_usage(page, usage);
}

[[noreturn]] void refuse(const std::filesystem::path& file, std::int64_t line,
                         const std::string& what) {
  throw Error(file.string() + ": line " + std::to_string(line) + ": " + what +
              "; a table of other ways has the columns way,share,time: a name, percent of what the "
              "plain step needs, and the time over that of the plain step");
}

// Without the quotes that a cell of CSV may have.
std::string unquoted(const std::string& cell) {
  if (cell.size() < 2 || !cell.starts_with('"') || !cell.ends_with('"')) return cell;
  std::string text;
  for (std::size_t i = 1; i + 1 < cell.size(); ++i) {
    text += cell[i];
    if (cell[i] == '"' && cell[i + 1] == '"') ++i;
  }
  return text;
}

}  // namespace

bool is_of_bench(const Json& content) {
  const Json& rows = value_of(content, "rows");
  return is_list_of_objects(rows) && !rows.empty() && rows.front().contains("variant");
}

bool is_of_analyze(const Json& content) {
  return is_list_of_objects(value_of(value_of(content, "performance"), "rows")) &&
         is_list_of_objects(value_of(value_of(content, "memory"), "layers"));
}

Measured read_measured(const std::filesystem::path& file) {
  std::ifstream in(file);
  Measured measured{file.string(), parsed(in)};
  if (is_of_bench(measured.content) || is_of_analyze(measured.content)) return measured;
  throw Error(file.string() +
              ": it is no whole object of neap bench --json or neap analyze --json");
}

void add_measured_sections(Page& page, const Measured& measured) {
  if (is_of_bench(measured.content)) {
    add_bench(page, measured.content);
  } else {
    add_analysis(page, measured.content);
  }
}

std::vector<std::string> labels_of(const Measured& bench) {
  std::vector<std::string> labels;
  for (const Json& row : value_of(bench.content, "rows")) {
    const std::string label = text_of(row, "label");
    if (!label.empty() && std::ranges::find(labels, label) == labels.end()) labels.push_back(label);
  }
  return labels;
}

std::vector<OtherWay> ways_of(const Measured& bench, const std::string& label) {
  const Json& rows = value_of(bench.content, "rows");
  const auto above_base = [](const Json& row) {
    return number_or_0(row, "peak_live_bytes") - number_or_0(row, "base_bytes");
  };
  const auto plain = std::ranges::find_if(rows, [&](const Json& row) {
    return text_of(row, "label") == label && text_of(row, "variant") == "plain" && fits(row);
  });
  std::vector<OtherWay> ways;
  if (plain == rows.end() || above_base(*plain) <= 0) return ways;
  for (const Json& row : rows) {
    if (text_of(row, "label") != label || !fits(row)) continue;
    const std::string variant = text_of(row, "variant");
    ways.push_back({has_budget(row) ? "neap, " + variant + ", measured" : variant + ", measured",
                    above_base(row) / above_base(*plain), median_of(row, "against_plain"),
                    ns_of(row, "step_ms")});
  }
  return ways;
}

bool is_table_of_ways(const std::filesystem::path& file) {
  std::ifstream in(file);
  while (in.peek() == '#') in.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  std::array<char, 17> line{};
  in.get(line.data(), line.size());
  const std::string_view first(line.data());
  return first == "way,share,time" || first == "way,share,time\r";
}

std::vector<OtherWay> read_ways(const std::filesystem::path& file) {
  std::ifstream in(file);
  std::vector<OtherWay> ways;
  std::string line;
  bool has_columns = false;
  for (std::int64_t number = 1; std::getline(in, line); ++number) {
    if (line.ends_with('\r')) line.pop_back();
    if (line.empty() || line.starts_with('#')) continue;
    if (!std::exchange(has_columns, true)) continue;
    const std::size_t time = line.rfind(',');
    const std::size_t share =
        time == std::string::npos || time == 0 ? std::string::npos : line.rfind(',', time - 1);
    if (share == std::string::npos) refuse(file, number, "it has fewer than three cells");
    // JSON's numbers, without a locale.
    const auto number_in = [&](std::size_t from, std::size_t to, double least, const char* what) {
      const Json value = Json::parse(line.substr(from, to - from), nullptr, false);
      constexpr double kMost = 1e6;
      if (value.is_number() && value.get<double>() >= least && value.get<double>() <= kMost) {
        return value.get<double>();
      }
      refuse(file, number, std::string("its ") + what + " is none");
    };
    ways.push_back({unquoted(line.substr(0, share)),
                    number_in(share + 1, time, 0, "share") / 100,
                    number_in(time + 1, line.size(), 1e-6, "time"),
                    {}});
  }
  if (in.bad()) throw Error(file.string() + ": it cannot be read to its end; check the disk");
  if (ways.empty()) refuse(file, 1, "no row follows");
  return ways;
}

}  // namespace neap::app
