// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "command_line.h"

#include "command_options.h"

#include <neap/version.h>

#include <toml++/toml.h>

#include <algorithm>
#include <iostream>
#include <numeric>
#include <set>
#include <sstream>
#include <string_view>
#include <vector>

namespace neap::app {
namespace {

const std::set<std::string> kModels{"gpt", "mlp", "resnet", "transformer"};
const std::set<std::string> kOptimizers{"sgd", "adam", "adamw"};

// Empty when it is one, else what is wrong; as CLI11 wants it.
std::string check_model(std::string& name) {
  if (names_library(name)) return {};
  std::string wrong = CLI::IsMember(kModels)(name);
  if (!wrong.empty()) wrong += ", and no path of a library, as ./libmymodel.so";
  return wrong;
}

void add_shared_options(CLI::App& command, TrainingOptions& options, std::int64_t batch_size) {
  add_run_options(command, options);
  command
      .add_option("--budget", options.budget,
                  "what LibTorch may hold: 1.5GiB, or 30% of what a plain step needs above what "
                  "stays between steps, or none")
      ->capture_default_str();
  command
      .add_option("--policy", options.policy,
                  "who says what goes when the budget is full: planned (the first steps are "
                  "traced, those after them follow a plan), online, or a file that neap plan made")
      ->capture_default_str();
  command
      .add_option("--plan-cache", options.plan_cache,
                  "keep plans in this directory, and take those that are there, so that the "
                  "first steps follow them already")
      ->type_name("DIR");
  command
      .add_option("--batch-size", options.batch_size,
                  "samples a step; when left out, " + std::to_string(batch_size) +
                      " or what a model of your own names")
      ->check(CLI::Range(std::int64_t{1}, kMost));
  command
      .add_option("--accumulate", options.accumulate,
                  "cut each batch into so many parts and add up their gradients")
      ->check(CLI::Range(std::int64_t{1}, kMost))
      ->capture_default_str();
}

void add_measuring_options(CLI::App& command, MeasuringOptions& options) {
  add_run_options(command, options);
  add_input_option(command, options.input);
  command.add_flag("--json", options.json, "one JSON object on standard output, and no table");
}

void add_table_options(CLI::App& command, MeasuringOptions& options) {
  add_measuring_options(command, options);
  command.add_option("--batch-sizes", options.batch_sizes, "samples a step, one row each")
      ->delimiter(',')
      ->check(CLI::Range(std::int64_t{1}, kMost))
      ->capture_default_str();
  command.add_option("--repetitions", options.repetitions, "measured steps of each row")
      ->check(CLI::Range(std::int64_t{1}, kMost))
      ->capture_default_str();
  command.add_option("--csv", options.csv,
                     "write the table to this file, as bytes and milliseconds");
  command.add_option("--svg", options.svg, "write a plot of the peaks by batch to this file");
}

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
      ->check(CLI::PositiveNumber);
  command->footer(
      "Examples:\n"
      "  neap max-batch --model resnet --input 3,64,64 --budget 1GiB\n"
      "  neap max-batch --model gpt --budget 500MiB --margin 2% --time-limit 60 --json\n"
      "Exit code 1: not even one sample trains in the budget, or none was tried in the time.");
  return command;
}

void add_train_options(CLI::App& command, TrainingOptions& options) {
  add_shared_options(command, options, kTrainingBatch);
  command.add_option(
      "--data", options.data,
      "fashion-mnist, which is taken when this is left out; a folder with the four IDX files, "
      "plain or .gz; cifar10:DIR or "
      "cifar100:DIR, the binary version; text:FILE; "
      "synthetic:3x224x224:1000[:COUNT], noise of a shape and so many classes. A model of "
      "your own that makes its batches needs none");
  command.add_option("--steps", options.steps, "so many steps; 0: as many as the epochs have")
      ->check(CLI::Range(std::int64_t{0}, kMost))
      ->capture_default_str();
  command.add_option("--epochs", options.epochs, "passes over the training samples")
      ->check(CLI::Range(std::int64_t{1}, kMost))
      ->capture_default_str();
  command
      .add_option("--lr", options.lr,
                  "learning rate; 0: what a model of your own names for its optimizer, or 0.05 for "
                  "sgd, 0.001 for adam, 0.002 for adamw")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  command.add_option("--config", options.config, "a TOML file with these options as keys")
      ->check(CLI::ExistingFile);
  command.add_flag("--no-test", options.no_test,
                   "end after the last step: the test set is not looked at");
  command.add_flag("--json", options.json,
                   "one JSON object a line on standard output, the last one a summary");
  command.add_flag("--quiet", options.quiet,
                   "no progress, the table only; with --json, nothing but its lines");
  command.footer(
      "Examples:\n"
      "  neap train --model resnet --budget 30% --epochs 3\n"
      "  neap train --model transformer --budget 200MiB --batch-size 256 --optimizer adamw\n"
      "  neap train --model mlp --data ~/pictures --steps 500 --json > steps.jsonl\n"
      "  neap train --model gpt --data text:book.txt --batch-size 16 --budget 40%\n"
      "  neap train --model ./libmymodel.so --steps 500 --budget 2GiB\n"
      "  neap train --config job.toml --seed 7      # an option beats the file");
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

// The keys of the file are the long options; what the command line names stays as it is.
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
      const std::string nearest = *std::ranges::min_element(
          names, {}, [&](const std::string& valid) { return edit_distance(name, valid); });
      throw UsageError(where + "unknown key '" + name + "'; did you mean '" + nearest + "'?");
    }
    CLI::Option* const option = command.get_option("--" + name);
    if (option->count() > 0) continue;
    std::ostringstream text;
    if (const auto* string = value.as_string()) {
      text << string->get();
    } else if (value.is_integer() || value.is_floating_point() || value.is_boolean()) {
      value.visit([&](const auto& node) {
        if constexpr (toml::is_integer<decltype(node)> || toml::is_floating_point<decltype(node)>) {
          text << node.get();
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

}  // namespace

void add_run_options(CLI::App& command, RunOptions& options) {
  command
      .add_option("--model", options.model,
                  "mlp, resnet (16 blocks), transformer, gpt for text, or the path of a library "
                  "with a model of your own, as ./libmymodel.so; see neap/plugin.h")
      ->check(CLI::Validator(check_model, "NAME"))
      ->capture_default_str();
  command
      .add_option("--optimizer", options.optimizer,
                  "sgd (momentum 0.9), adam or adamw; when left out, adamw or what a model of your "
                  "own names")
      ->check(CLI::IsMember(kOptimizers));
  command.add_option("--seed", options.seed, "of weights, order, noise and dropout")
      ->capture_default_str();
  command.add_option("--threads", options.threads, "of LibTorch; 0: its default")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1024}))
      ->capture_default_str();
}

CLI::Option* add_input_option(CLI::App& command, std::vector<std::int64_t>& input) {
  return command
      .add_option("--input", input,
                  "of a sample: channels, height and width, or the tokens of gpt; when left out, "
                  "3,32,32 or 256, or what a model of your own names")
      ->delimiter(',')
      ->check(CLI::Range(std::int64_t{1}, kMost));
}

bool names_library(const std::string& model) {
  return model.find('/') != std::string::npos || model.ends_with(".so");
}

bool is_optimizer(const std::string& name) { return kOptimizers.contains(name); }

CommandLine parse_command_line(int argc, char** argv) {
  CommandLine line;
  CLI::App app{"neap trains models inside a memory budget, with the same bits as plain LibTorch.",
               "neap"};
  app.require_subcommand(1);
  app.set_version_flag("--version", "neap " NEAP_VERSION);
  app.footer(
      "Examples:\n"
      "  neap train --model resnet --budget 30%      # train, and say what it took\n"
      "  neap verify --model resnet --budget 30%     # prove that the bits are the same\n"
      "  neap analyze --model resnet                 # time and memory by batch\n"
      "  neap bench --model resnet                   # plain, checkpoints and budgets side by "
      "side\n"
      "  neap max-batch --model resnet --budget 1GiB # the largest batch that trains\n"
      "  neap trace --model resnet -o step.jsonl     # write down what a step does\n"
      "  neap plan step.jsonl --budget 30%           # what to free and to make again in it\n"
      "  neap doctor                                 # is this machine fit for it?\n"
      "Exit codes: 0 done, 1 failed, 2 wrong use, 130 interrupted.");

  CLI::App* const train =
      app.add_subcommand("train", "train a model on data, or on the batches that it brings along");
  add_train_options(*train, line.training);

  TrainingOptions verify_options;
  verify_options.budget = "30%";
  verify_options.steps = 3;
  CLI::App* const verify = app.add_subcommand(
      "verify", "train twice from one seed, plain and inside a budget, and compare all bits");
  add_shared_options(*verify, verify_options, kVerifyingBatch);
  verify->add_option("--steps", verify_options.steps, "so many steps of each")
      ->check(CLI::Range(std::int64_t{1}, kMost))
      ->capture_default_str();
  verify->footer(
      "Examples:\n"
      "  neap verify --model resnet --budget 30%\n"
      "  neap verify --model transformer --budget 40MiB --steps 10 --optimizer adam\n"
      "Exit code 0: equal. 1: the first difference is printed, or the budget does not fit.");

  MeasuringOptions analyze_options, bench_options, max_batch_options;
  CLI::App* const analyze = add_analyze(app, analyze_options);
  CLI::App* const bench = add_bench(app, bench_options);
  CLI::App* const max_batch = add_max_batch(app, max_batch_options);
  CLI::App* const trace = add_trace(app, line.tracing);
  CLI::App* const plan = add_plan(app, line.planning);

  CLI::App* const doctor =
      app.add_subcommand("doctor", "say what neap found here, and whether its promise holds");
  doctor->footer("Example:\n  neap doctor && neap train --budget 30%");

  try {
    app.parse(argc, argv);
    if (*train) {
      line.command = Command::Train;
      if (!line.training.config.empty()) read_config(*train, line.training.config);
    } else if (*verify) {
      line.command = Command::Verify;
      line.training = verify_options;
    } else if (*analyze) {
      line.command = Command::Analyze;
      line.measuring = analyze_options;
    } else if (*bench) {
      line.command = Command::Bench;
      line.measuring = bench_options;
    } else if (*max_batch) {
      line.command = Command::MaxBatch;
      line.measuring = max_batch_options;
    } else if (*trace) {
      line.command = Command::Trace;
    } else if (*plan) {
      check_plan(*plan, line.planning);
      line.command = Command::Plan;
    } else if (*doctor) {
      line.command = Command::Doctor;
    }
  } catch (const CLI::ParseError& error) {
    line.command = Command::None;
    line.exit_code = app.exit(error, std::cout, std::cerr) == 0 ? 0 : 2;
  } catch (const UsageError& error) {
    std::cerr << "neap: " << error.what() << '\n';
    line.command = Command::None;
    line.exit_code = 2;
  }
  return line;
}

}  // namespace neap::app
