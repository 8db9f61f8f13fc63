// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "command_line.h"

#include "command_options.h"
#include "config_file.h"
#include "data_options.h"
#include "manual.h"
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

// The command that the words name; nullptr: none.
CLI::App* command_of(CLI::App& app, const std::vector<std::string>& words) {
  const auto name =
      std::ranges::find_if(words, [](const std::string& one) { return !one.starts_with('-'); });
  if (name == words.end()) return nullptr;
  const std::vector<CLI::App*> commands =
      app.get_subcommands([&](const CLI::App* one) { return one->get_name() == *name; });
  return commands.empty() ? nullptr : commands.front();
}

// The value of an option that stands among the words; empty: it does not.
std::string value_of(const std::string& option, const std::vector<std::string>& words) {
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i] == option && i + 1 < words.size()) return words[i + 1];
    if (words[i].starts_with(option + '=')) return words[i].substr(option.size() + 1);
  }
  return {};
}

// --config and --write-config of a command.
struct ConfigFiles {
  std::string read, written;

  void add_to(CLI::App& command) {
    command.add_option("--config", read, "a TOML file with these options as keys")
        ->type_name("FILE")
        ->check(existing_file());
    command
        .add_option("--write-config", written,
                    "write the options of this line to a file for --config, and end")
        ->type_name("FILE")
        ->check(written_path("file"));
  }
};

// Throws: UsageError, as refuse_empty_item(), for the lists among the words.
void refuse_empty_items(const CLI::App& command, const std::vector<std::string>& words) {
  for (const CLI::Option* const option : command.get_options()) {
    if (option->get_delimiter() != ',') continue;
    const std::string& name = option->get_lnames().front();
    refuse_empty_item(name, value_of("--" + name, words));
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

void refuse_empty_item(const std::string& name, const std::string& list) {
  if (!list.starts_with(',') && !list.ends_with(',') && list.find(",,") == std::string::npos) {
    return;
  }
  throw UsageError("--" + name + ": '" + list + "' has an empty item; leave out one of its commas");
}

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
                  "mlp, resnet, transformer, gpt for text, or the path of a library "
                  "with a model of your own, as ./libmymodel.so; see neap/plugin.h")
      ->check(CLI::Validator(check_model, "{gpt,mlp,resnet,transformer} or ./LIBRARY.so"))
      ->capture_default_str();
  command
      .add_option("--optimizer", options.optimizer,
                  "sgd (momentum 0.9), adam or adamw; when left out, adamw or what a model of your "
                  "own names")
      ->check(CLI::IsMember(kOptimizers));
  command.add_flag("--bf16", options.bf16,
                   "the forward by autocast to bfloat16; weights, gradients and loss stay float");
  const auto add_size = [&](const char* name, std::optional<std::int64_t>& size, const char* help) {
    command.add_option(name, size, help)->check(whole_number(1, kMostOfASize));
  };
  add_size("--layers", options.sizes.layers,
           "of mlp, transformer and gpt; when left out, 6, 4 and 4");
  add_size("--blocks", options.sizes.blocks, "of resnet; when left out, 16");
  add_size("--width", options.sizes.width,
           "features of mlp, transformer and gpt, or the first channels of resnet; when left out, "
           "512, 64, 128 and 16");
  add_size("--heads", options.sizes.heads,
           "of transformer and gpt, a divisor of the width; when left out, 4");
  command.add_option("--seed", options.seed, "of weights, order, noise and dropout")
      ->check(whole_number(std::numeric_limits<std::int64_t>::min(),
                           std::numeric_limits<std::int64_t>::max()))
      ->capture_default_str();
  command.add_option("--threads", options.threads, "of LibTorch; 0: its default")
      ->check(whole_number(0, 1024))
      ->capture_default_str();
}

void add_report_option(CLI::App& command, std::string& report) {
  command
      .add_option("--report", report,
                  "draw what was done as one page of HTML that needs no network, as neap report "
                  "does")
      ->type_name("FILE")
      ->check(written_path("file"));
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
      "  neap predict --model resnet --weights run   # what a trained model says of each sample\n"
      "  neap verify --model resnet --budget 30%     # prove that the bits are the same\n"
      "  neap analyze --model resnet                 # time and memory by batch\n"
      "  neap bench --model resnet                   # plain, checkpoints and budgets side by "
      "side\n"
      "  neap advise --model resnet                  # which budget to take\n"
      "  neap max-batch --model resnet --budget 1GiB # the largest batch that trains\n"
      "  neap trace --model resnet -o step.jsonl     # write down what a step does\n"
      "  neap plan step.jsonl --budget 30%           # what to free and to make again in it\n"
      "  neap profile --model resnet                 # its memory over time, and what holds it\n"
      "  neap summary --model resnet                 # layers, parameters, activations, FLOPs\n"
      "  neap explain step.jsonl --budget 30%        # what the plan does at the peak, and why\n"
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

  CLI::App* const predict = add_predict(app, line.predicting);
  CLI::App* const export_weights = add_export(app, line.exporting);
  TrainingOptions import_options;
  CLI::App* const import_weights = add_import(app, import_options);

  TrainingOptions verify_options;
  verify_options.budget = "30%";
  verify_options.steps = 3;
  CLI::App* const verify = app.add_subcommand(
      "verify", "train twice from one seed, plain and inside a budget, and compare all bits");
  add_shared_options(*verify, verify_options);
  add_context_option(*verify, verify_options);
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
  ViewOptions profile_options, summary_options, explain_options;
  CLI::App* const profile = add_profile(app, profile_options);
  CLI::App* const summary = add_summary(app, summary_options);
  CLI::App* const explain = add_explain(app, explain_options);
  CLI::App* const report = add_report(app, line.reporting);
  CLI::App* const runs = add_runs(app, line.listing);

  CLI::App* const doctor = add_doctor(app, line.examining);

  ConfigFiles configs;
  for (CLI::App* const command : app.get_subcommands({})) {
    if (command != doctor) configs.add_to(*command);
  }
  std::string shell;
  CLI::App* const completion =
      app.add_subcommand("completion", "print what completes these words on a command line");
  completion->add_option("shell", shell, "bash")->required()->check(CLI::IsMember({"bash"}));
  completion->footer("Example:\n  source <(neap completion bash)");
  CLI::App* const man = app.add_subcommand("man", "print this help as a page for man");
  man->footer("Example:\n  neap man | man -l -");

  try {
    const std::vector<std::string> words(argv + 1, argv + argc);
    CLI::App* const named = command_of(app, words);
    if (named != nullptr) refuse_empty_items(*named, words);
    const std::string config = value_of("--config", words);
    std::error_code error;
    if (named != nullptr && std::filesystem::is_regular_file(config, error)) {
      read_config(*named, config, words);  // any other file is refused by parse()
    }
    app.parse(argc, argv);
    if (named != nullptr) check_config_stays(*named, configs.read);
    if (!configs.written.empty()) {
      ReportFile file("--write-config", configs.written);
      file.write([&](std::ostream& out) { out << config_text(*named); });
    } else if (*completion) {
      Output().text(bash_completion(app));
    } else if (*man) {
      Output().text(man_page(app));
    } else if (*train) {
      check_train(line.training);
      line.command = Command::Train;
    } else if (*evaluate) {
      line.command = Command::Evaluate;
      line.training = evaluate_options;
    } else if (*predict) {
      line.command = Command::Predict;
    } else if (*export_weights) {
      line.command = Command::Export;
    } else if (*import_weights) {
      line.command = Command::Import;
      line.training = import_options;
    } else if (*verify) {
      line.command = Command::Verify;
      line.training = verify_options;
    } else if (*analyze) {
      check_measuring(analyze_options);
      line.command = Command::Analyze;
      line.measuring = analyze_options;
    } else if (*bench) {
      check_measuring(bench_options);
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
    } else if (*profile) {
      check_traced_step(*profile, profile_options, profile_options.file);
      line.command = Command::Profile;
      line.viewing = profile_options;
    } else if (*summary) {
      line.command = Command::Summary;
      line.viewing = summary_options;
    } else if (*explain) {
      check_traced_step(*explain, explain_options, explain_options.file);
      line.command = Command::Explain;
      line.viewing = explain_options;
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
  } catch (const Error& error) {  // a file that cannot be written
    say(std::string("neap: ") + error.what());
    line.command = Command::None;
    line.exit_code = 1;
  }
  return line;
}

}  // namespace neap::app
