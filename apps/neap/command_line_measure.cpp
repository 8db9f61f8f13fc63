// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "command_options.h"

namespace neap::app {
namespace {

void add_measuring_options(CLI::App& command, MeasuringOptions& options) {
  add_run_options(command, options);
  add_input_option(command, options.input);
  command.add_flag("--json", options.json, "one JSON object on standard output, and no table");
}

void add_table_options(CLI::App& command, MeasuringOptions& options) {
  add_measuring_options(command, options);
  command.add_option("--batch-sizes", options.batch_sizes, "samples a step, one row each")
      ->delimiter(',')
      ->check(whole_number(1))
      ->capture_default_str();
  command.add_option("--repetitions", options.repetitions, "measured steps of each row")
      ->check(whole_number(1))
      ->capture_default_str();
  command
      .add_option(
          "--csv", options.csv,
          "write the table to this file, as bytes and milliseconds; packed when it ends in .gz")
      ->type_name("FILE")
      ->check(written_path("file"));
  command
      .add_option("--svg", options.svg,
                  "write a plot of the peaks by batch to this file; packed when it ends in .gz")
      ->type_name("FILE")
      ->check(written_path("file"));
  add_report_option(command, options.report);
}

}  // namespace

CLI::App* add_analyze(CLI::App& app, MeasuringOptions& options) {
  CLI::App* const command = app.add_subcommand(
      "analyze", "measure time and memory of training by batch, and what holds the memory");
  add_table_options(*command, options);
  command
      ->add_option("--budget", options.budget,
                   "of every step: 1.5GiB, or 30% of what a plain step of the largest batch needs, "
                   "or none")
      ->capture_default_str();
  command->footer(
      "Examples:\n"
      "  neap analyze --model resnet --batch-sizes 8,16,32\n"
      "  neap analyze --model gpt --input 128 --budget 50% --csv gpt.csv --svg gpt.svg\n"
      "A batch that does not fit has a row that says so.");
  return command;
}

CLI::App* add_bench(CLI::App& app, MeasuringOptions& options) {
  CLI::App* const command = app.add_subcommand(
      "bench", "compare plain training, checkpoints around each block, and budgets");
  add_table_options(*command, options);
  command
      ->add_option("--budgets", options.budgets,
                   "a row each: 1.5GiB, or 30% of what a plain step needs")
      ->delimiter(',')
      ->capture_default_str();
  command->footer(
      "Examples:\n"
      "  neap bench --model resnet --batch-sizes 16,32 --budgets 50%,30%\n"
      "  neap bench --model transformer --input 3,64,64 --json > bench.json\n"
      "Exit code 1: bits differ from the plain step's, and the first difference is printed.");
  return command;
}

void check_measuring(const MeasuringOptions& options) {
  check_files_differ(
      {{"--csv", options.csv}, {"--svg", options.svg}, {"--report", options.report}});
}

CLI::App* add_max_batch(CLI::App& app, MeasuringOptions& options) {
  CLI::App* const command = app.add_subcommand(
      "max-batch", "find the largest batch that trains in a budget, plain and with neap");
  add_measuring_options(*command, options);
  command->add_option("--budget", options.budget, "what LibTorch may hold, as 4GiB")->required();
  command->add_option("--margin", options.margin, "of the budget, left free")
      ->capture_default_str();
  command
      ->add_option("--time-limit", options.time_limit_seconds,
                   "seconds; after that no step begins, and what was proved by then is the answer")
      ->check(seconds());
  command->footer(
      "Examples:\n"
      "  neap max-batch --model resnet --input 3,64,64 --budget 1GiB\n"
      "  neap max-batch --model gpt --budget 500MiB --margin 2% --time-limit 60 --json\n"
      "Exit code 1: not even one sample trains in the budget, or none was tried in the time.");
  return command;
}

}  // namespace neap::app
