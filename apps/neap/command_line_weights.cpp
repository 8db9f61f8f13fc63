// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The options of the commands for weights that were saved: predict, export, import.
#include "command_options.h"
#include "data_options.h"

#include <string>

namespace neap::app {

CLI::App* add_predict(CLI::App& app, PredictOptions& options) {
  constexpr std::int64_t kMostTokens = 1'000'000;
  CLI::App* const command = app.add_subcommand(
      "predict", "what a trained model says of each sample, or how it goes on with a text");
  add_test_set_options(*command, options);
  command
      ->add_flag("--all", options.whole,
                 "each sample of data that have no test set of their own, not a part of them; "
                 "pictures may then lie in the folder itself, where their class is not known, "
                 "and labels of a table may be any texts")
      ->excludes(command->get_option("--split"));
  command
      ->add_option("-o,--out", options.file,
                   "write all predictions into this file as CSV, or with - to standard output; "
                   "when left out, a table of the first ones is printed")
      ->type_name("FILE")
      ->check(not_empty("file"))
      ->check(written_path());
  CLI::Option* const top =
      command->add_option("--top", options.top, "so many of the most likely classes")
          ->check(whole_number(1))
          ->capture_default_str();
  CLI::Option* const prompt =
      command
          ->add_option("--prompt", options.prompt,
                       "for a model of text: go on with these words, each time with the byte that "
                       "is the most likely one")
          ->type_name("TEXT")
          ->check(not_empty("text"))
          ->excludes(top);
  command->add_option("--tokens", options.tokens, "bytes to add to the prompt")
      ->check(whole_number(1, kMostTokens))
      ->capture_default_str()
      ->needs(prompt);
  command->footer(
      "A probability is the softmax of the model's scores. A model that gives other numbers than a "
      "score for each class has them in the columns output_1 and so on.\n"
      "Examples:\n"
      "  neap predict --model resnet --weights run --top 3\n"
      "  neap predict --model resnet --weights run --data pictures:new:3x32x32 --all -o new.csv\n"
      "  neap predict --model gpt --weights run --prompt \"Once upon a time\"");
  return command;
}

CLI::App* add_export(CLI::App& app, ExportOptions& options) {
  CLI::App* const command = app.add_subcommand(
      "export", "write the weights of a training into one safetensors file, for other programs");
  command
      ->add_option("where", options.from,
                   "the folder of neap train --out: its newest whole state, a saved state, or a "
                   "safetensors file")
      ->type_name("DIR|FILE")
      ->check(not_empty("file"))
      ->required();
  command->add_flag("--best", options.best,
                    "not the newest weights, but the best that --eval-every has seen");
  command->add_option("-o,--out", options.out, "the file, as weights.safetensors")
      ->type_name("FILE")
      ->check(written_path("file"))
      ->required();
  command->footer(
      "Python reads it with safetensors.torch.load_file and model.load_state_dict.\n"
      "Examples:\n"
      "  neap export run -o weights.safetensors\n"
      "  neap export run --best -o best.safetensors");
  return command;
}

CLI::App* add_import(CLI::App& app, TrainingOptions& options) {
  CLI::App* const command = app.add_subcommand(
      "import", "check weights against a model, and make a saved state to begin a training with");
  command
      ->add_option("weights", options.weights,
                   "a safetensors file, as Python's safetensors.torch.save_file writes it, a saved "
                   "state, or the folder of --out")
      ->type_name("FILE|DIR")
      ->check(not_empty("file"))
      ->required();
  add_run_options(*command, options);
  command
      ->add_option("--data", options.data,
                   "as for neap train: the samples that the model reads, and their classes; noise "
                   "of the same shape will do, as synthetic:3x32x32:10")
      ->check(not_empty("data set"));
  add_data_options(*command, options);
  command->add_option("-o,--out", options.out, "a new folder, as that of neap train --out")
      ->type_name("DIR")
      ->check(written_path("folder"))
      ->required();
  command->footer(
      "Example:\n"
      "  neap import resnet.safetensors --model resnet --data cifar10:data -o run\n"
      "  neap train --model resnet --data cifar10:data --out run --resume");
  return command;
}

}  // namespace neap::app
