// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The options of the commands that look at one traced step.
#include "command_options.h"

#include <string>

namespace neap::app {
namespace {

constexpr const char* kBudget =
    "for all that the trace counts: 1.5GiB, or 30% of what the plain step needs above what is "
    "there before it";

}  // namespace

void add_traced_step(CLI::App& command, TracingOptions& options, std::string& file) {
  command.add_option("file", file, "a trace that neap trace wrote, also packed")->type_name("FILE");
  options.model.clear();
  add_tracing_options(command, options);
  CLI::Option* const model = command.get_option("--model");
  for (const char* const name :
       {"--input", "--batch-size", "--optimizer", "--repetitions", "--threads", "--bf16",
        "--layers", "--blocks", "--width", "--heads"}) {
    command.get_option(name)->needs(model);
  }
}

void check_traced_step(const CLI::App& command, const TracingOptions& options,
                       const std::string& file) {
  const std::string& name = command.get_name();
  if (file.empty() && options.model.empty()) {
    throw UsageError(name + ": there is no step to " + (name == "plan" ? "plan for" : name) +
                     "; name a trace, as neap trace writes one, or --model");
  }
  if (!file.empty() && !options.model.empty()) {
    throw UsageError(name + ": " + file + " and --model " + options.model +
                     " are two steps; leave one of them out");
  }
}

CLI::App* add_profile(CLI::App& app, ViewOptions& options) {
  CLI::App* const command = app.add_subcommand(
      "profile", "draw the memory of one training step in the terminal, and what holds its peak");
  options.budget.clear();
  add_traced_step(*command, options, options.file);
  command
      ->add_option("--budget", options.budget,
                   std::string("draw the step inside it too; ") + kBudget)
      ->check(not_empty("budget"));
  command->add_flag("--json", options.json, "one JSON object on standard output, and no drawing");
  command->footer(
      "Examples:\n"
      "  neap profile --model resnet --batch-size 16\n"
      "  neap profile step.jsonl --budget 30%     # of neap trace; beside it the step by a plan\n"
      "It is as wide as the terminal, or as COLUMNS says, and plain ASCII where LANG names no "
      "UTF-8.");
  return command;
}

CLI::App* add_summary(CLI::App& app, ViewOptions& options) {
  CLI::App* const command = app.add_subcommand(
      "summary", "the layers of a model: outputs, parameters, activations, FLOPs, times");
  add_tracing_options(*command, options);
  command
      ->add_option("--sort", options.sort,
                   "tree: as the model has them; or the largest first inside each layer, by "
                   "activations, parameters, time of the forward, or flops")
      ->check(CLI::IsMember({"tree", "activations", "parameters", "time", "flops"}))
      ->capture_default_str();
  command->add_flag("--json", options.json, "one JSON object on standard output, and no table");
  command->footer(
      "Examples:\n"
      "  neap summary --model gpt --batch-size 8\n"
      "  neap summary --model ./libmymodel.so --sort activations\n"
      "FLOPs are those of the forward; a multiply-add is 2. One training step is traced for the "
      "activations and times.");
  return command;
}

CLI::App* add_explain(CLI::App& app, ViewOptions& options) {
  CLI::App* const command = app.add_subcommand(
      "explain", "say of each storage at the peak whether a plan keeps it, and why");
  options.budget.clear();
  add_traced_step(*command, options, options.file);
  command->add_option("--budget", options.budget, kBudget)->required();
  command->add_flag("--json", options.json, "one JSON object on standard output, and no table");
  command->footer(
      "Examples:\n"
      "  neap explain step.jsonl --budget 30%\n"
      "  neap explain --model gpt --batch-size 8 --budget 40%\n"
      "Exit code 1: no plan was found for the budget; the smallest that works is named.");
  return command;
}

}  // namespace neap::app
