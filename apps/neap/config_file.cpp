// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "config_file.h"

#include "command_options.h"

#include <toml++/toml.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <optional>
#include <sstream>
#include <system_error>
#include <vector>

namespace neap::app {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kColumns = 96;  // of a comment

// The name in a file; empty: the option cannot stand in one.
std::string key_of(const CLI::Option& option) {
  const std::vector<std::string>& names = option.get_lnames();
  if (names.empty() || names.front() == "help" || names.front() == "config" ||
      names.front() == "write-config") {
    return {};
  }
  return names.front();
}

bool is_among(const CLI::Option& option, const std::vector<std::string>& words) {
  return std::ranges::any_of(words, [&](const std::string& word) {
    const bool by_long_name = std::ranges::any_of(option.get_lnames(), [&](const auto& name) {
      return word == "--" + name || word.starts_with("--" + name + '=');
    });
    return by_long_name || std::ranges::any_of(option.get_snames(), [&](const auto& name) {
             return word.starts_with("-" + name);
           });
  });
}

// As it would stand on the command line. Nullopt: a flag, a table, a date, or a list.
std::optional<std::string> word_of(const toml::node& value) {
  if (const auto* text = value.as_string()) return text->get();
  std::array<char, 32> digits{};
  std::to_chars_result end{};
  // All digits, so that a rate in the file equals the same rate on the command line.
  if (const auto* whole = value.as_integer()) {
    end = std::to_chars(digits.data(), digits.data() + digits.size(), whole->get());
  } else if (const auto* real = value.as_floating_point()) {
    end = std::to_chars(digits.data(), digits.data() + digits.size(), real->get());
  } else {
    return std::nullopt;
  }
  return std::string(digits.data(), end.ptr);
}

std::optional<std::vector<std::string>> words_of(const toml::node& value) {
  std::vector<std::string> words;
  if (const auto* list = value.as_array()) {
    for (const toml::node& item : *list) {
      const std::optional<std::string> word = word_of(item);
      if (!word) return std::nullopt;
      words.push_back(*word);
    }
    return words;
  }
  const std::optional<std::string> word = word_of(value);
  if (!word) return std::nullopt;
  return std::vector{*word};
}

// Links are followed. One to nothing may lead anywhere: what is written through it is made there.
bool leads_out_of_here(const std::string& path) {
  if (path.empty() || path == "-") return false;
  std::error_code error;
  fs::path part;
  for (const fs::path& name : fs::path(path)) {
    part /= name;
    if (fs::is_symlink(part, error) && !fs::exists(part, error)) return true;
  }
  const fs::path here = fs::current_path(error);
  const fs::path from = error ? here : fs::canonical(here, error);
  const fs::path to = error ? here : fs::weakly_canonical(fs::absolute(path), error);
  return error || std::ranges::mismatch(from, to).in1 != from.end();
}

// Why a file may not say this, and the command line alone may; empty: it may. Whoever gives a file
// away must not choose what runs here, nor what is overwritten elsewhere.
std::string why_not_in_file(CLI::Option& option, const std::vector<std::string>& words) {
  if (key_of(option) == "model" && std::ranges::any_of(words, names_library)) {
    return "names a library, whose code would run";
  }
  if (is_written(option) && std::ranges::any_of(words, leads_out_of_here)) {
    return "leads out of the folder that neap runs in, and is written";
  }
  return {};
}

bool is_flag(const CLI::Option& option) { return option.get_items_expected_max() == 0; }

// A number as it is, anything else as a text in quotes.
std::string toml_of(const std::string& word) {
  double real = 0;
  const char* const end = word.data() + word.size();
  const auto [stop, error] = std::from_chars(word.data(), end, real);
  // TOML has no 1., no .5 and no 007.
  const bool plain = error == std::errc() && stop == end && !word.starts_with('0') &&
                     word.find_first_not_of("0123456789") == std::string::npos;
  if (plain || word == "0") return word;
  std::ostringstream text;
  text.exceptions(std::ios::badbit);  // as in ReportFile::write()
  text << toml::value<std::string>(word);
  return text.str();
}

std::string toml_of(const CLI::Option& option, const std::vector<std::string>& words) {
  if (is_flag(option)) return words.front();
  if (option.get_delimiter() == '\0') return toml_of(words.front());
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + toml_of(word);
  return '[' + text + ']';
}

// What CLI11 shows of the default, one text for each item.
std::vector<std::string> default_of(const CLI::Option& option) {
  const std::string& shown = option.get_default_str();
  if (option.get_delimiter() == '\0') return {shown};
  return CLI::detail::split_up(shown);
}

std::string comment(const std::string& text) {
  std::istringstream words(text);
  std::string all, line = "#";
  for (std::string word; words >> word;) {
    if (line.size() + 1 + word.size() > kColumns) {
      all += line + '\n';
      line = "#";
    }
    line += ' ' + word;
  }
  return all + line + '\n';
}

}  // namespace

void read_config(CLI::App& command, const std::string& path,
                 const std::vector<std::string>& words) {
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
  std::vector<std::string> keys;
  for (const CLI::Option* option : command.get_options()) {
    if (std::string key = key_of(*option); !key.empty()) keys.push_back(std::move(key));
  }
  for (const auto& [key, value] : table) {
    const std::string name(key.str());
    const std::string where = path + ": line " + std::to_string(value.source().begin.line) + ": ";
    if (std::ranges::find(keys, name) == keys.end()) {
      throw UsageError(where + "unknown key '" + name + "'" + suggestion(name, keys));
    }
    CLI::Option* const option = command.get_option("--" + name);
    if (is_among(*option, words)) continue;
    if (value.is_boolean() != is_flag(*option)) {
      throw UsageError(where + "'" + name +
                       (is_flag(*option) ? "' must be true or false" : "' is not true or false"));
    }
    if (is_flag(*option)) {
      if (value.as_boolean()->get()) option->add_result("true")->run_callback();
      continue;
    }
    const std::optional<std::vector<std::string>> given = words_of(value);
    if (!given) {
      throw UsageError(where + "'" + name + "' must be a text, a number, or a list of them");
    }
    if (const std::string why = why_not_in_file(*option, *given); !why.empty()) {
      throw UsageError(where + "'" + name + "' " + why +
                       ", so no file may say it; do so on the command line: --" + name + ' ' +
                       given->front());
    }
    try {
      for (const std::string& word : *given) {
        if (option->get_delimiter() == ',') refuse_empty_item(name, word);
        option->add_result(word);
      }
      option->run_callback();
    } catch (const CLI::Error& error) {
      throw UsageError(where + error.what());
    } catch (const UsageError& error) {
      throw UsageError(where + error.what());
    }
  }
}

void check_config_stays(CLI::App& command, const std::string& config) {
  for (CLI::Option* const option : command.get_options({})) {
    if (!is_written(*option)) continue;
    const std::string name = "--" + option->get_lnames().front();
    for (const std::string& path : option->results()) {
      check_files_differ({{"--config", config}, {name.c_str(), path}});
    }
  }
}

std::string config_text(CLI::App& command) {
  std::string text = comment("For neap " + command.get_name() + " --config FILE");
  for (const CLI::Option* const option : command.get_options()) {
    if (option->get_positional() && option->count() > 0) {
      text += comment("Beside it the command line names " + option->get_name() + ": " +
                      CLI::detail::join(option->results(), " "));
    }
  }
  for (CLI::Option* const option : command.get_options({})) {
    const std::string key = key_of(*option);
    if (key.empty()) continue;
    text += '\n' + comment(option->get_description());
    if (!why_not_in_file(*option, option->results()).empty()) {
      text +=
          comment("Beside it the command line names --" + key + ' ' + option->results().front());
    } else if (option->count() > 0) {
      text += key + " = " + toml_of(*option, option->results()) + '\n';
    } else {
      const bool has_default = !option->get_default_str().empty();
      text += "# " + key + " = " +
              (is_flag(*option) ? "false"
               : has_default    ? toml_of(*option, default_of(*option))
                                : "...") +
              '\n';
    }
  }
  return text;
}

}  // namespace neap::app
