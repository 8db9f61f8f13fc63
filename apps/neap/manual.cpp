// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "manual.h"

#include <neap/version.h>

#include <sstream>
#include <string_view>

namespace neap::app {
namespace {

bool takes_value(const CLI::Option& option) { return option.get_items_expected_max() > 0; }

// The words of "TEXT:{adam,sgd}", with blanks between them; empty: the value is not one of a few.
std::string values_of(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const std::size_t begin = type.find('{');
  const std::size_t end = type.find('}', begin);
  if (begin == std::string::npos || end == std::string::npos) return {};
  std::string words = type.substr(begin + 1, end - begin - 1);
  for (char& one : words) one = one == ',' ? ' ' : one;
  return words;
}

std::string dashed(const CLI::Option& option) {
  std::string words;
  for (const std::string& name : option.get_lnames()) words += " --" + name;
  for (const std::string& name : option.get_snames()) words += " -" + name;
  return words.substr(words.empty() ? 0 : 1);
}

std::string joined(const std::string& words, std::string_view separator) {
  std::string text;
  for (const char one : words) {
    if (one == ' ') {
      text += separator;
    } else {
      text += one;
    }
  }
  return text;
}

// No byte of it means anything to roff.
std::string roff(const std::string& text) {
  std::string safe;
  bool begins = true;
  for (const char one : text) {
    if (begins && (one == '.' || one == '\'')) safe += "\\&";
    begins = one == '\n';
    if (one == '\\') {
      safe += "\\e";
    } else if (one == '-') {
      safe += "\\-";
    } else {
      safe += one;
    }
  }
  return safe;
}

void add_command(std::ostringstream& page, const CLI::App& command) {
  page << ".SS " << roff("neap " + command.get_name()) << '\n'
       << roff(command.get_description()) << ".\n";
  for (const CLI::Option* const option : command.get_options()) {
    const std::string names = dashed(*option);
    page << ".TP\n\\fB" << roff(names.empty() ? option->get_name() : joined(names, ", ")) << "\\fR";
    if (takes_value(*option) && !option->get_type_name().empty()) {
      page << " \\fI" << roff(option->get_type_name()) << "\\fR";
    }
    page << '\n' << roff(option->get_description());
    if (!option->get_default_str().empty()) page << roff(" [" + option->get_default_str() + "]");
    page << '\n';
  }
  if (!command.get_footer().empty()) {
    page << ".PP\n.nf\n" << roff(command.get_footer()) << "\n.fi\n";
  }
}

}  // namespace

std::string bash_completion(const CLI::App& app) {
  std::string commands;
  std::ostringstream values, options;
  for (const CLI::App* const command : app.get_subcommands({})) {
    const std::string& name = command->get_name();
    commands += (commands.empty() ? "" : " ") + name;
    std::string all;
    for (const CLI::Option* const option : command->get_options()) {
      const std::string names = dashed(*option);
      if (names.empty()) continue;
      all += (all.empty() ? "" : " ") + names;
      if (!takes_value(*option)) continue;
      const std::string words = values_of(*option);
      values << "    '" << name << ' ' << joined(names, "'|'" + name + ' ') << "') "
             << (words.empty() ? "return" : "words='" + words + '\'') << " ;;\n";
    }
    options << "      " << name << ") words='" << all << "' ;;\n";
  }
  return "# bash completion for neap " NEAP_VERSION
         "\n"
         "_neap() {\n"
         "  local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n"
         "  local command=${COMP_WORDS[1]} words=\n"
         "  COMPREPLY=()\n"
         "  case \"$command $before\" in\n"
         "    # A value that is not one of a few words: readline completes the names of files.\n" +
         values.str() + "    *) case $command in\n" + options.str() +
         "      esac ;;\n"
         "  esac\n"
         "  ((COMP_CWORD > 1)) || words='" +
         commands +
         " --help --version'\n"
         "  [[ $words != -* || $current == -* ]] || return\n"
         "  mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$current\")\n"
         "}\n"
         "complete -o default -F _neap neap\n";
}

std::string man_page(const CLI::App& app) {
  std::ostringstream page;
  page << ".TH NEAP 1 \"\" \"neap " NEAP_VERSION
          "\" \"User Commands\"\n"
          ".SH NAME\nneap \\- train models inside a memory budget, with the same bits\n"
          ".SH SYNOPSIS\n.B neap\n.I COMMAND\n[\\fIOPTION\\fR...]\n"
          ".SH DESCRIPTION\n"
       << roff(app.get_description()) << "\n.SH COMMANDS\n";
  for (const CLI::App* const command : app.get_subcommands({})) add_command(page, *command);
  page << ".SH EXAMPLES AND EXIT STATUS\n.nf\n" << roff(app.get_footer()) << "\n.fi\n";
  return page.str();
}

}  // namespace neap::app
