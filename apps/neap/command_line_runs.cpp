// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "command_options.h"

#include <string>
#include <vector>

namespace neap::app {
namespace {

const std::vector<std::string> kActions = {"list", "show", "compare"};

}  // namespace

CLI::App* add_runs(CLI::App& app, RunsOptions& options) {
  CLI::App* const command =
      app.add_subcommand("runs", "list, show and compare the trainings of neap train --out");
  command
      ->add_option("action", options.action,
                   "list: a line for each; show: all that is known of one; compare: what differs "
                   "between them")
      ->check(CLI::IsMember(kActions))
      ->required();
  command
      ->add_option("folders", options.folders,
                   "folders of neap train --out, or folders that have such ones below them")
      ->type_name("DIR")
      ->check(not_empty("folder"))
      ->required();
  command
      ->add_option("--where", options.where,
                   "those of which this is true, as SQL: \"loss < 0.5 and model = 'mlp'\"; the "
                   "columns are the names that show prints")
      ->type_name("SQL")
      ->check(not_empty("condition"));
  command
      ->add_option("--sort", options.sort, "by this column, as SQL: loss, or \"peak_bytes desc\"")
      ->type_name("SQL")
      ->check(not_empty("column"));
  command->add_flag("--json", options.json, "one JSON object on standard output, and no table");
  command->footer(
      "Examples:\n"
      "  neap runs list runs --where \"model = 'resnet'\" --sort loss\n"
      "  neap runs show runs/a\n"
      "  neap runs compare runs/a runs/b");
  return command;
}

CLI::App* add_doctor(CLI::App& app, DoctorOptions& options) {
  CLI::App* const command =
      app.add_subcommand("doctor", "say what neap found here, and whether its promise holds");
  command
      ->add_option("--offload", options.offload,
                   "also say what this directory is like for storages that are offloaded: how much "
                   "it holds, how fast it is each way, and which way is taken")
      ->type_name("DIR")
      ->check(not_empty("directory"));
  command->add_flag("--json", options.json, "one JSON object on standard output, and no table");
  command->footer(
      "Examples:\n"
      "  neap doctor && neap train --budget 30%\n"
      "  neap doctor --offload /var/tmp\n"
      "Exit code 1: something breaks neap's promise here, or the directory is of no use.");
  return command;
}

}  // namespace neap::app
