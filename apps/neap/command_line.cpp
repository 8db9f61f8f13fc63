// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "command_line.h"

#include "command_options.h"
#include "config_file.h"
#include "output.h"

#include <neap/version.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <limits>
#include <set>
#include <sstream>
#include <vector>

namespace neap::app {
namespace {

const std::set<std::string> kModels{"gpt", "mlp", "resnet", "transformer"};
const std::set<std::string> kOptimizers{"sgd", "adam", "adamw"};

// A CLI11 check: returns an empty text for a model, or else what is wrong.
std::string check_model(std::string& name) {
  if (names_library(name)) return {};
  std::string wrong = CLI::IsMember(kModels)(name);
  if (!wrong.empty()) wrong += ", and no path of a library, as ./libmymodel.so";
  return wrong;
}

// Describes the first word that should be a command or an option and is neither, with the nearest
// one that exists. Empty: there is no such word.
std::string what_is_unknown(CLI::App& app, int argc, char** argv) {
  const CLI::App* command = nullptr;
  const std::vector<CLI::App*> commands = app.get_subcommands({});
  std::vector<std::string> names;
  for (const CLI::App* const one : commands) names.push_back(one->get_name());
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (command == nullptr) {
      if (word.starts_with('-')) continue;
      const auto found = std::ranges::find(names, word);
      if (found == names.end()) {
        return "'" + word + "' is no command" + suggestion(word, names) + "; see neap --help";
      }
      command = commands[static_cast<std::size_t>(found - names.begin())];
      names.clear();
      for (const CLI::Option* const option : command->get_options()) {
        for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
      }
    } else if (word.starts_with("--")) {
      const std::string name = word.substr(0, word.find('='));
      if (command->get_option_no_throw(name) != nullptr) continue;
      return "'" + name + "' is no option of neap " + command->get_name() +
             suggestion(name, names) + "; see neap " + command->get_name() + " --help";
    }
  }
  return {};
}

// CLI11 ignores empty items. So 8,,16 would be two batches, and the loss of a mistyped third one
// would go unseen.
void refuse_empty_items(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    for (const std::string name : {"--batch-sizes", "--budgets", "--input"}) {
      std::string list;
      if (word == name && i + 1 < argc) list = argv[i + 1];
      if (word.starts_with(name + '=')) list = word.substr(name.size() + 1);
      if (!list.starts_with(',') && !list.ends_with(',') && list.find(",,") == std::string::npos) {
        continue;
      }
      throw UsageError(name + ": '" + list + "' has an empty item; leave out one of its commas");
    }
  }
}

bool is_same_file(const std::filesystem::path& a, const std::filesystem::path& b) {
  std::error_code error;
  if (std::filesystem::equivalent(a, b, error)) {
    return std::filesystem::is_regular_file(a, error);  // several outputs may go to /dev/null
  }
  return std::filesystem::weakly_canonical(std::filesystem::absolute(a), error) ==
             std::filesystem::weakly_canonical(std::filesystem::absolute(b), error) &&
         !std::filesystem::exists(a, error);
}

}  // namespace

void check_files_differ(const std::vector<NamedFile>& files) {
  for (std::size_t i = 0; i < files.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      if (files[i].path.empty() || files[j].path.empty() || files[i].path == "-") continue;
      if (!is_same_file(files[i].path, files[j].path)) continue;
      throw UsageError(std::string(files[j].option) + " and " + files[i].option +
                       " name the same file, " + files[i].path +
                       ", and one would be lost; name two");
    }
  }
}

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
      ->check(whole_number(std::numeric_limits<std::int64_t>::min(),
                           std::numeric_limits<std::int64_t>::max()))
      ->capture_default_str();
  command.add_option("--threads", options.threads, "of LibTorch; 0: its default")
      ->check(whole_number(0, 1024))
      ->capture_default_str();
}

CLI::Option* add_input_option(CLI::App& command, std::vector<std::int64_t>& input) {
  return command
      .add_option("--input", input,
                  "of a sample: channels, height and width, or the tokens of gpt; when left out, "
                  "3,32,32 or 256, or what a model of your own names")
      ->delimiter(',')
      ->check(whole_number(1));
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
      "  neap advise --model resnet                  # which budget to take\n"
      "  neap max-batch --model resnet --budget 1GiB # the largest batch that trains\n"
      "  neap trace --model resnet -o step.jsonl     # write down what a step does\n"
      "  neap plan step.jsonl --budget 30%           # what to free and to make again in it\n"
      "  neap report runs/a step.jsonl -o page.html  # draw a training and a step\n"
      "  neap runs list runs                         # which trainings there are\n"
      "  neap doctor                                 # is this machine fit for it?\n"
      "Exit codes: 0 done, 1 failed, 2 wrong use, 130 interrupted.");

  CLI::App* const train =
      app.add_subcommand("train", "train a model on data, or on the batches that it brings along");
  add_train_options(*train, line.training);

  TrainingOptions evaluate_options;
  CLI::App* const evaluate =
      app.add_subcommand("evaluate", "the test accuracy of weights that neap train has saved");
  add_evaluate_options(*evaluate, evaluate_options);

  TrainingOptions verify_options;
  verify_options.budget = "30%";
  verify_options.steps = 3;
  CLI::App* const verify = app.add_subcommand(
      "verify", "train twice from one seed, plain and inside a budget, and compare all bits");
  add_shared_options(*verify, verify_options);
  verify
      ->add_option("--batch-size", verify_options.batch_size,
                   "samples a step; when left out, " + std::to_string(kVerifyingBatch) +
                       " or what a model of your own names")
      ->check(whole_number(1));
  verify->add_option("--steps", verify_options.steps, "so many steps of each")
      ->check(whole_number(1))
      ->capture_default_str();
  verify->footer(
      "Examples:\n"
      "  neap verify --model resnet --budget 30%\n"
      "  neap verify --model transformer --budget 40MiB --steps 10 --optimizer adam\n"
      "Exit code 0: equal. 1: the first difference is printed, or the budget does not fit, or the "
      "plan of --policy FILE is not one for these steps.");

  MeasuringOptions analyze_options, bench_options, max_batch_options;
  CLI::App* const analyze = add_analyze(app, analyze_options);
  CLI::App* const bench = add_bench(app, bench_options);
  CLI::App* const max_batch = add_max_batch(app, max_batch_options);
  CLI::App* const trace = add_trace(app, line.tracing);
  CLI::App* const plan = add_plan(app, line.planning);
  CLI::App* const advise = add_advise(app, line.advising);
  CLI::App* const report = add_report(app, line.reporting);
  CLI::App* const runs = add_runs(app, line.listing);

  CLI::App* const doctor =
      app.add_subcommand("doctor", "say what neap found here, and whether its promise holds");
  doctor->footer("Example:\n  neap doctor && neap train --budget 30%");

  try {
    refuse_empty_items(argc, argv);
    app.parse(argc, argv);
    if (*train) {
      line.command = Command::Train;
      if (!line.training.config.empty()) read_config(*train, line.training.config);
    } else if (*evaluate) {
      line.command = Command::Evaluate;
      line.training = evaluate_options;
    } else if (*verify) {
      line.command = Command::Verify;
      line.training = verify_options;
    } else if (*analyze) {
      check_files_differ({{"--csv", analyze_options.csv}, {"--svg", analyze_options.svg}});
      line.command = Command::Analyze;
      line.measuring = analyze_options;
    } else if (*bench) {
      check_files_differ({{"--csv", bench_options.csv}, {"--svg", bench_options.svg}});
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
    } else if (*advise) {
      line.command = Command::Advise;
    } else if (*report) {
      check_report(*report, line.reporting);
      line.command = Command::Report;
    } else if (*runs) {
      line.command = Command::Runs;
    } else if (*doctor) {
      line.command = Command::Doctor;
    }
  } catch (const CLI::ParseError& error) {
    line.command = Command::None;
    std::ostringstream shown;
    line.exit_code = app.exit(error, std::cout, shown) == 0 ? 0 : 2;
    const std::string unknown = line.exit_code == 0 ? "" : what_is_unknown(app, argc, argv);
    if (!unknown.empty()) {
      say("neap: " + unknown);
    } else if (line.exit_code != 0) {
      std::cerr << printable(shown.str());
    }
  } catch (const UsageError& error) {
    say(std::string("neap: ") + error.what());
    line.command = Command::None;
    line.exit_code = 2;
  }
  return line;
}

}  // namespace neap::app
