// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "config_file.h"

#include "command_line.h"
#include "values.h"

#include <toml++/toml.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <sstream>
#include <string_view>
#include <vector>

namespace neap::app {

void read_config(CLI::App& command, const std::string& path) {
  toml::table table;
  try {
    table = toml::parse_file(path);
  } catch (const toml::parse_error& error) {
    std::ostringstream text;
    text << path << ": line " << error.source().begin.line << ", column "
         << error.source().begin.column << ": " << error.description()
         << "; correct the file, see https://toml.io for the format";
    throw UsageError(text.str());
  }
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) {
      if (name != "help" && name != "config") names.push_back(name);
    }
  }
  for (const auto& [key, value] : table) {
    const std::string name(key.str());
    const std::string where = path + ": line " + std::to_string(value.source().begin.line) + ": ";
    if (std::ranges::find(names, name) == names.end()) {
      throw UsageError(where + "unknown key '" + name + "'" + suggestion(name, names));
    }
    CLI::Option* const option = command.get_option("--" + name);
    if (option->count() > 0) continue;
    std::ostringstream text;
    if (const auto* string = value.as_string()) {
      text << string->get();
    } else if (value.is_integer() || value.is_floating_point() || value.is_boolean()) {
      value.visit([&](const auto& node) {
        if constexpr (toml::is_integer<decltype(node)> || toml::is_floating_point<decltype(node)>) {
          // All digits, so that a rate in the file equals the same rate on the command line.
          std::array<char, 32> digits{};
          const auto [end, error] =
              std::to_chars(digits.data(), digits.data() + digits.size(), node.get());
          text << std::string_view(digits.data(), static_cast<std::size_t>(end - digits.data()));
        } else if constexpr (toml::is_boolean<decltype(node)>) {
          text << (node.get() ? "true" : "false");
        }
      });
    } else {
      throw UsageError(where + "'" + name + "' must be a text, a number, true or false");
    }
    try {
      option->add_result(text.str());
      option->run_callback();
    } catch (const CLI::Error& error) {
      throw UsageError(where + error.what());
    }
  }
}

}  // namespace neap::app
