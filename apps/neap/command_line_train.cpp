// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The options of train and verify, and of evaluate, which predict has too.
#include "command_options.h"
#include "data_options.h"

#include <set>
#include <string>
#include <utility>

namespace neap::app {
namespace {

constexpr double kMostBeta = 0.999999999;  // Adam divides by one less a beta
const std::set<std::string> kSchedules{"cosine", "linear", "step", "constant"};

}  // namespace

void add_shared_options(CLI::App& command, TrainingOptions& options) {
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
      ->type_name("{planned,online} or FILE")
      ->capture_default_str();
  command
      .add_option("--plan-cache", options.plan_cache,
                  "keep plans in this directory, and take those that are there, so that the "
                  "first steps follow them already")
      ->type_name("DIR")
      ->check(written_path("folder"));
  CLI::Option* const offload =
      command
          .add_option("--offload", options.offload,
                      "also copy what does not fit to a file in this directory, and back, where "
                      "that costs less than to compute it again or nothing else is left")
          ->type_name("DIR")
          ->check(written_path("folder"));
  command
      .add_option("--offload-limit", options.offload_limit,
                  "the most that the file may hold, as 4GiB; when left out, what the disk gives")
      ->check(not_empty("limit"))
      ->needs(offload);
  command
      .add_option("--accumulate", options.accumulate,
                  "cut each batch into so many parts and add up their gradients")
      ->check(whole_number(1))
      ->capture_default_str();
}

void add_train_options(CLI::App& command, TrainingOptions& options) {
  add_shared_options(command, options);
  command
      .add_option_function<std::string>(
          "--batch-size",
          [&options](const std::string& text) {
            options.batch_size = text == "auto" ? kAutomaticBatch : std::stoll(text);
          },
          "samples a step; when left out, " + std::to_string(kTrainingBatch) +
              " or what a model of your own names; auto: the largest that trains in the budget, "
              "less a twentieth, sought for a minute")
      ->check(whole_number_or_auto());
  command.get_option("--budget")
      ->description(
          "what LibTorch may hold: 1.5GiB, or 30% of what a plain step needs above what stays "
          "between "
          "steps, or auto, what the machine leaves, or min, the smallest that works, or none");
  command
      .add_option(
          "--data", options.data,
          "fashion-mnist, which is taken when this is left out; a folder with the four IDX files, "
          "plain or .gz, or idx:DIR:47 with so many classes; pictures:DIR or "
          "pictures:DIR:3x64x64, PNG and JPEG in a folder a class; "
          "csv:FILE, or csv:FILE:COLUMN with the column of the labels; npy:X,Y, two arrays of "
          "numpy; safetensors:FILE with tensors x and y, or safetensors:FILE:images:labels; "
          "cifar10:DIR or cifar100:DIR, the binary version; text:FILE, or text:FILE:ISO-8859-1 "
          "with an encoding that iconv knows; "
          "synthetic:3x224x224:1000[:COUNT], noise of a shape and so many classes. A model of "
          "your own that makes its batches needs none")
      ->check(not_empty("data set"));
  add_data_options(command, options);
  add_augment_option(command, options);
  command.add_option("--steps", options.steps, "so many steps; 0: as many as the epochs have")
      ->check(whole_number(0))
      ->capture_default_str();
  command.add_option("--epochs", options.epochs, "passes over the training samples")
      ->check(whole_number(1))
      ->capture_default_str();
  command
      .add_option("--lr", options.lr,
                  "learning rate; 0: what a model of your own names for its optimizer, or 0.05 for "
                  "sgd, 0.001 for adam, 0.002 for adamw")
      ->check(number(0, 1e6))
      ->capture_default_str();
  command
      .add_option("--out", options.out,
                  "save the training into this folder when it ends or is interrupted: weights, "
                  "optimizer, generator, position")
      ->type_name("DIR")
      ->check(written_path("folder"));
  command
      .add_option("--save-every", options.save_every,
                  "save also after so many steps, or so much time: 200, 30s, 10m, 2h")
      ->type_name("N|TIME")
      ->check(not_empty("interval"));
  command.add_option("--keep", options.keep, "so many saved states, the newest; 0: all")
      ->check(whole_number(0))
      ->capture_default_str();
  CLI::Option* const resume =
      command
          .add_option(
              "--resume", options.resume,
              "go on from the newest saved state in DIR, from DIR if it is one, or from the "
              "newest in the folder of --out, with the same bits; where --out has none yet, "
              "begin")
          ->type_name("DIR")
          ->expected(0, 1)
          ->check(written_path());
  const auto add_allowed = [&](const char* name, bool& allowed, const char* what) {
    command
        .add_flag(name, allowed,
                  std::string("let --resume go on with ") + what +
                      " than the training was saved with; its bits are others then, and the "
                      "record says so")
        ->needs(resume);
  };
  add_allowed("--allow-other-threads", options.allow_other_threads, "another number of threads");
  add_allowed("--allow-other-torch", options.allow_other_torch, "another LibTorch");
  add_allowed("--allow-other-kernels", options.allow_other_kernels,
              "LibTorch's kernels for another processor");
  command
      .add_option("--init", options.init,
                  "begin with these weights: a safetensors file, a saved state, or the folder of "
                  "another --out")
      ->type_name("FILE|DIR")
      ->check(not_empty("file"));
  command
      .add_option("--schedule", options.schedule,
                  "of the learning rate after its rise: cosine, linear, step (to a tenth after "
                  "each third) or constant")
      ->check(CLI::IsMember(kSchedules))
      ->capture_default_str();
  command
      .add_option("--warmup", options.warmup,
                  "steps in which the learning rate rises; when left out, a twentieth of all")
      ->check(whole_number(0));
  command
      .add_option("--clip-norm", options.clip_norm,
                  "scale the gradient down to this norm where it is larger; 0: never")
      ->check(number(0, 1e12))
      ->capture_default_str();
  command
      .add_option("--weight-decay", options.weight_decay,
                  "of the optimizer; when left out, 0.0005 for sgd, 0 for adam, 0.01 for adamw")
      ->check(number(0, 1e6));
  command
      .add_option("--betas", options.betas,
                  "of adam and adamw: of the mean of gradients, and of that of their squares; when "
                  "left out, 0.9,0.999")
      ->delimiter(',')
      ->expected(2)
      ->check(number(0, kMostBeta));
  command
      .add_option("--label-smoothing", options.label_smoothing,
                  "the share of each label that goes to all classes alike, in the loss of neap's "
                  "own models")
      ->check(number(0, 1))
      ->capture_default_str();
  CLI::Option* const eval_every =
      command
          .add_option("--eval-every", options.eval_every,
                      "look at the test set after so many steps, and keep the best weights as "
                      "best.safetensors in the folder of --out; 0: at the end only")
          ->check(whole_number(0))
          ->capture_default_str();
  command
      .add_option("--early-stop", options.early_stop,
                  "end after so many of --eval-every without a better one; 0: never")
      ->check(whole_number(0))
      ->capture_default_str()
      ->needs(eval_every);
  command.add_flag("--verify", options.verify,
                   "compare what operators make again with what was given back, and stop at the "
                   "first difference");
  command.add_flag("--no-test", options.no_test,
                   "end after the last step: the test set is not looked at");
  add_report_option(command, options.report);
  command.add_flag("--json", options.json,
                   "one JSON object a line on standard output, the last one a summary");
  command.add_flag("--quiet", options.quiet,
                   "no progress, the table only; with --json, nothing but its lines");
  command.footer(
      "Examples:\n"
      "  neap train --model resnet --budget 30% --epochs 3\n"
      "  neap train --model transformer --budget 200MiB --batch-size 256 --optimizer adamw\n"
      "  neap train --model mlp --data ~/pictures --steps 500 --json > steps.jsonl\n"
      "  neap train --data pictures:cats:3x32x32 --split 20% --augment crop:4,flip\n"
      "  neap train --model gpt --data text:book.txt --batch-size 16 --budget 40%\n"
      "  neap train --model ./libmymodel.so --steps 500 --budget 2GiB\n"
      "  neap train --out run --save-every 10m --resume\n"
      "  neap train --config job.toml --seed 7      # an option beats the file");
}

void check_train(const TrainingOptions& options) {
  const std::string folder = options.out.empty() ? options.resume.value_or("") : options.out;
  const std::string record = folder.empty() ? "" : folder + "/run.jsonl";
  const bool is_file = options.policy.find_first_of("./") != std::string::npos;
  const std::string plan = is_file ? options.policy : "";
  const std::size_t colon = options.data.find(':');
  const std::string data = colon == std::string::npos ? "" : options.data.substr(colon + 1);
  for (const auto& [option, file] :
       {std::pair("--data", &data), std::pair("--init", &options.init),
        std::pair("--policy", &plan), std::pair("--plan-cache", &options.plan_cache),
        std::pair("--out", &folder), std::pair("--out", &record)}) {
    check_files_differ({{option, *file}, {"--report", options.report}});
  }
}

void add_test_set_options(CLI::App& command, TrainingOptions& options) {
  command
      .add_option("--weights", options.weights,
                  "a safetensors file, a saved state, or the folder of --out: its newest state")
      ->type_name("FILE|DIR")
      ->check(not_empty("file"))
      ->required();
  add_run_options(command, options);
  command
      .add_option("--data", options.data,
                  "as for neap train; fashion-mnist, which is taken when this is left out. With "
                  "weights of a saved state, --normalize is that of the training, and with its "
                  "data --split too")
      ->check(not_empty("data set"));
  add_data_options(command, options);
  command.add_option("--batch-size", options.batch_size, "samples at once")->check(whole_number(1));
  command.add_option("--budget", options.budget, "what LibTorch may hold: 1.5GiB, auto or none")
      ->capture_default_str();
  command.add_flag("--json", options.json, "one JSON object on standard output");
  command.add_flag("--quiet", options.quiet, "no progress");
}

void add_evaluate_options(CLI::App& command, TrainingOptions& options) {
  add_test_set_options(command, options);
  command.footer("Example:\n  neap evaluate --model resnet --weights run");
}

}  // namespace neap::app
