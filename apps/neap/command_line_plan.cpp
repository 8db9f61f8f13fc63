// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "command_options.h"

#include <string>
#include <vector>

namespace neap::app {

const std::vector<std::string> kReportFormats = {"html",        "chrome", "memory-viz",
                                                 "tensorboard", "csv",    "json"};

void add_tracing_options(CLI::App& command, TracingOptions& options) {
  add_run_options(command, options);
  add_input_option(command, options.input);
  command
      .add_option("--batch-size", options.batch_size,
                  "samples of the step; when left out, " + std::to_string(kTracingBatch) +
                      " or what a model of your own names")
      ->check(whole_number(1));
  command
      .add_option("--repetitions", options.repetitions,
                  "traced steps; an operator's time is the median")
      ->check(whole_number(1))
      ->capture_default_str();
}

CLI::App* add_trace(CLI::App& app, TracingOptions& options) {
  CLI::App* const command = app.add_subcommand(
      "trace", "write down one training step: its operators, their times, the life of each byte");
  add_tracing_options(*command, options);
  command
      ->add_option("-o,--out", options.out,
                   "the file to write, packed when it ends in .gz; - for standard output")
      ->type_name("FILE")
      ->check(not_empty("file"))
      ->check(written_path())
      ->required();
  command->footer(
      "Examples:\n"
      "  neap trace --model resnet --batch-size 16 -o step.jsonl && neap plan step.jsonl --budget "
      "40%\n"
      "  neap trace --model gpt --input 128 -o step.jsonl.gz\n"
      "One step comes before it, which makes the optimizer's state.");
  return command;
}

CLI::App* add_plan(CLI::App& app, PlanOptions& options) {
  CLI::App* const command = app.add_subcommand(
      "plan", "choose what a step frees and makes again, so that it fits a budget in least time");
  add_traced_step(*command, options, options.file);
  command->add_option("--budget", options.budget,
                      "for all that the trace counts: 1.5GiB, or 30% of what the plain step needs "
                      "above what is there before it");
  CLI::Option* const frontier =
      command->add_flag("--frontier", options.frontier,
                        "time by budget, from the smallest possible to the plain peak");
  command->add_flag(
      "--min", options.smallest,
      "the smallest budget to train in; with --format-rules, that a plan is found for");
  command->add_flag("--format-rules", options.format_rules,
                    "count with all that a plan may do (docs/formats.md), also what neap cannot "
                    "follow: take from the program what nothing makes again");
  command
      ->add_option("-o,--out", options.out,
                   "write the plan to this file, packed when it ends in .gz; - for standard "
                   "output, and the table goes to "
                   "standard error")
      ->type_name("FILE")
      ->check(not_empty("file"))
      ->check(written_path());
  command
      ->add_option("--time-limit", options.time_limit_seconds,
                   "seconds that each plan's search may take; when left out, a fixed number of "
                   "changes is tried, about a second's worth")
      ->check(seconds());
  command
      ->add_option("--bandwidth", options.bandwidth,
                   "count with copies to a tier, as a file: how fast they go out and come back, "
                   "3GB/s, or each for itself, OUT,IN; when left out, as the trace says")
      ->check(not_empty("bandwidth"));
  command->add_flag("--json", options.json, "one JSON object on standard output, and no table");
  command->add_option("--points", options.points, "budgets of the frontier")
      ->check(whole_number(2, 10000))
      ->capture_default_str()
      ->needs(frontier);
  command->add_option("--csv", options.csv, "write the frontier to this file, as bytes and ns")
      ->type_name("FILE")
      ->check(written_path("file"))
      ->needs(frontier);
  command->add_option("--svg", options.svg, "write a plot of the frontier to this file")
      ->type_name("FILE")
      ->check(written_path("file"))
      ->needs(frontier);
  add_report_option(*command, options.report);
  command->get_option("--seed")->description("of the searches, and of what --model makes");
  command->footer(
      "Examples:\n"
      "  neap plan step.jsonl --budget 40% -o plan.jsonl       # for neap train --policy "
      "./plan.jsonl\n"
      "  neap plan step.jsonl --budget 1.5GiB --time-limit 30 --json\n"
      "  neap plan step.jsonl --frontier --points 20 --csv frontier.csv --svg frontier.svg\n"
      "  neap plan step.jsonl --frontier --bandwidth 3GB/s --svg both.svg  # with copies and "
      "without\n"
      "  neap plan --model resnet --batch-size 16 --min        # traces a step first\n"
      "Exit code 1: no plan was found for the budget; the smallest that works is named.");
  return command;
}

CLI::App* add_advise(CLI::App& app, AdviseOptions& options) {
  CLI::App* const command = app.add_subcommand(
      "advise", "what each budget would cost, from one traced step, and which one to take");
  add_tracing_options(*command, options);
  options.budget = "auto";
  command
      ->add_option("--budget", options.budget,
                   "what there is: 4GiB, or auto, what the machine or its container leaves")
      ->capture_default_str();
  command->add_option("--csv", options.csv, "write the table to this file, as bytes and ns")
      ->type_name("FILE")
      ->check(written_path("file"));
  command->add_flag("--json", options.json, "one JSON object on standard output, and no table");
  command->footer(
      "Examples:\n"
      "  neap advise --model resnet --batch-size 128\n"
      "  neap advise --model gpt --batch-size 16 --budget 2GiB --json\n"
      "The traced step is a plain one, so its batch must fit. Exit code 1: nothing fits in the "
      "budget.");
  return command;
}

CLI::App* add_report(CLI::App& app, ReportOptions& options) {
  CLI::App* const command = app.add_subcommand(
      "report", "draw traced steps and trainings, or write them for other tools");
  command
      ->add_option("files", options.files,
                   "traces that neap trace wrote; folders of neap train --out, or the lines that "
                   "neap train --json printed; what neap bench --json or neap analyze --json "
                   "printed; a table of other ways to train a traced step: way,share,time")
      ->type_name("FILE")
      ->required();
  command
      ->add_option("--format", options.format,
                   "html: one page that needs no network; chrome: one traced step for "
                   "ui.perfetto.dev; memory-viz: one traced step for pytorch.org/memory_viz; "
                   "tensorboard: a folder of trainings; csv: a folder of all tables; json: all "
                   "tables in one file")
      ->check(CLI::IsMember(kReportFormats))
      ->capture_default_str();
  command
      ->add_option("-o,--out", options.out,
                   "the file to write; the folder, where the format has several files")
      ->type_name("PATH")
      ->check(written_path("file"))
      ->required();
  command->add_option("--budget", options.budget,
                      "draw the traced steps inside it too: 1.5GiB, or 30% of what the plain step "
                      "needs above what is there before it");
  command
      ->add_option("--points", options.points,
                   "budgets of the frontier of a traced step, a search each")
      ->check(whole_number(2, 10000))
      ->capture_default_str();
  command->add_flag("--no-frontier", options.no_frontier,
                    "draw no time by budget, which takes longest");
  command->footer(
      "Examples:\n"
      "  neap trace --model resnet -o step.jsonl && neap report step.jsonl --budget 30% -o "
      "step.html\n"
      "  neap report runs/a runs/b -o runs.html    # two trainings side by side\n"
      "  neap report step.jsonl --budget 30% --format chrome -o step.json\n"
      "  neap report runs/a runs/b --format tensorboard -o logs");
  return command;
}

bool takes_frontier(const std::string& format) {
  return format == "html" || format == "csv" || format == "json";
}

void check_report(const CLI::App& command, const ReportOptions& options) {
  if (takes_frontier(options.format)) return;
  for (const char* const name : {"--points", "--no-frontier"}) {
    if (command.get_option(name)->count() == 0) continue;
    throw UsageError(std::string("report: ") + name + " is for the frontier, which --format " +
                     options.format + " does not have; leave it out");
  }
}

void check_plan(const CLI::App& command, const PlanOptions& options) {
  check_traced_step(command, options, options.file);
  std::string modes;
  int count = 0;
  for (const char* const name : {"--budget", "--frontier", "--min"}) {
    if (command.get_option(name)->count() == 0) continue;
    modes += (count++ > 0 ? " and " : "") + std::string(name);
  }
  if (count == 0) {
    throw UsageError(
        "plan: name --budget, --min for the smallest budget that works, or --frontier for time by "
        "budget");
  }
  if (count > 1) throw UsageError("plan: " + modes + " ask for different things; keep one");
  if (options.frontier && !options.out.empty()) {
    throw UsageError(
        "plan: a frontier has no plan that -o could take; name --csv or --svg, or a --budget");
  }
  check_files_differ({{"FILE", options.file},
                      {"-o", options.out},
                      {"--csv", options.csv},
                      {"--svg", options.svg},
                      {"--report", options.report}});
  if (options.json && options.out == "-") {
    throw UsageError(
        "plan: --json and -o - both write to standard output; name a file for the plan");
  }
}

}  // namespace neap::app
